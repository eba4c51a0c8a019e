"""Every command has its help, its example and --json; every error its exit code, and none a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from quorum import errors
from quorum.console.cli import _COMMANDS, main
from quorum.console.command import Command, command, exit_code, explain


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each command below `quorum`, groups included, by its full name."""

    def below(prefix: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield f"{prefix} {name}", found
            if isinstance(found, click.Group):
                yield from below(f"{prefix} {name}", found)

    yield from below("quorum", main)


COMMANDS = dict(every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself_by_an_example_that_begins_with_its_name(name, run):
    result = run(*name.split()[1:], "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert f"Example: {name}" in text
    found = COMMANDS[name]
    assert isinstance(found, click.Group) or "--json" in text
    assert found.help, name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name):
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name


def test_the_list_of_commands_says_of_each_what_its_own_help_says():
    for name, (_, text) in _COMMANDS.items():
        assert (COMMANDS[f"quorum {name}"].help or "").replace("\n", " ").startswith(text[:-1]), name


def test_help_and_import_load_nothing_heavy():
    code = (
        "import sys, quorum; from quorum.console.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'rich', 'numpy', 'cryptography', 'asyncio', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), 2),
        (errors.LocalProtocolError("x"), 2),
        (errors.ApplicationError("key", "x"), 2),
        (errors.NoQuorum("x"), 1),
        (errors.NotLeader(), 1),
        (errors.Overloaded("x"), 1),
        (errors.OutcomeUnknown("x"), 1),
        (errors.SessionExpired("x"), 1),
        (errors.QuorumError("x"), 1),
        (errors.StorageCorrupt("x"), 3),
        (errors.StorageError("x"), 4),
        (errors.StorageFullError("x"), 4),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exit_code(error) == code


def test_an_unknown_outcome_is_never_told_as_a_failure():
    assert explain(errors.OutcomeUnknown("it may yet be applied")).startswith("outcome unknown: ")
    assert explain(errors.SessionExpired("x")).startswith("outcome unknown: ")
    assert "nothing was changed" in explain(errors.NotLeader())


def test_the_word_for_programs_of_a_refusal_stands_in_json_and_not_before_the_text():
    @command("fail", "quorum fail")
    def fail(as_json: bool) -> None:
        """Fail."""
        raise errors.ApplicationError("taken", "a key was to be put, but it is there. Choose another.")

    result = click.testing.CliRunner().invoke(fail, ["--json"])
    assert result.stderr == "Error: a key was to be put, but it is there. Choose another.\n"
    told = json.loads(result.stdout)["error"]
    assert (told["kind"], told["reason"]) == ("ApplicationError", "taken") and told["text"].startswith("a key")
    assert explain(errors.ApplicationError("KeyError", "'x'")) == "the application raised KeyError: 'x'"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_text_on_stderr_and_with_json_one_object_on_stdout(as_json):
    @command("fail", "quorum fail")
    def fail(as_json: bool) -> None:
        """Fail."""
        raise errors.NoQuorum("a, b. c.")

    assert isinstance(fail, Command)
    result = click.testing.CliRunner().invoke(fail, ["--json"] if as_json else [])
    assert result.exit_code == 1
    assert result.stderr == "Error: a, b. c.\n"
    assert result.stdout == ('{"error":{"kind":"NoQuorum","text":"a, b. c."}}\n' if as_json else "")


def test_an_unknown_command_is_asked_wrongly(run):
    result = run("vanish")
    assert result.exit_code == 2
    assert "No such command" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("vanish",), "No such command"),
        (("kv", "vanish"), "No such command"),
        ((), "No such option"),
        (("kv", "get"), "Missing argument"),
        (("kv", "get", "a", "b"), "unexpected extra argument"),
        (("kv", "get", "a", "--timeout", "x"), "is not a number"),
        (("kv", "cas", "a", "b"), "Give: KEY EXPECTED VALUE"),
    ],
)
def test_a_usage_error_is_told_in_json_too_where_that_was_asked_for(arguments, says, run, run_json, here):
    code, told = run_json(*arguments)
    assert code == 2 and told["error"]["kind"] == "UsageError"
    assert says in told["error"]["text"]
    assert run(*arguments, "--json").stderr.startswith("Usage: ")


def test_an_argument_that_is_no_text_is_told_all_the_same(run, run_json, here):
    assert run("init", "--nodes", 1, "--folder", "b\udcff").exit_code == 0
    assert run("down", "--folder", "b\udcff").stdout_bytes.endswith(b"b\xff runs\n")
    code, made = run_json("init", "--nodes", 1, "--folder", "a\udcff")
    assert code == 0 and made["cluster"] == "a\\udcff/cluster.toml"
    assert (here / "a\udcff" / "cluster.toml").exists()


@pytest.mark.parametrize("arguments", [("status", "--config"), ("down", "--folder"), ("up", "--folder")])
def test_a_name_that_no_file_can_have_is_asked_wrongly_and_not_repeated_at_length(arguments, run, here):
    result = run(*arguments, "x" * 5000)
    assert result.exit_code == 2 and len(result.stderr) < 800
    assert "xxx..." in result.stderr


def test_version_is_that_of_the_package(run, run_json):
    import quorum

    assert run("version").stdout.startswith(f"quorum {quorum.__version__} (")
    found = run_json("version")[1]
    assert run("--version").stdout == f"quorum {quorum.__version__}\n"
    assert found["version"] == quorum.__version__ and isinstance(found["compiled"], bool)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "1e9"])
def test_a_time_that_is_none_is_refused(value, run, here):
    result = run("kv", "get", "a", f"--timeout={value}")
    assert result.exit_code == 2
    assert "Change it" in result.stderr


def test_a_refusal_of_the_system_is_told_without_a_traceback(run, here):
    (here / "folder").mkdir()
    result = run("judge", here / "folder")
    assert result.exit_code == 2 and "Traceback" not in result.output

    @command("refused", "quorum refused")
    def refused(as_json: bool) -> None:
        """Fail."""
        raise PermissionError(13, "Permission denied", "/x")

    told = click.testing.CliRunner().invoke(refused, [])
    assert told.exit_code == 1 and "/x: permission denied" in told.stderr
