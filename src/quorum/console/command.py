"""What every command has in common: `--json`, its example, and how errors reach a person or a program.

Exit codes: 0 done; 1 the answer is no; 2 asked wrongly; 3 a node found damaged data; 4 the disk refused.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn
from unicodedata import category

import click

from quorum.errors import (
    ApplicationError,
    ConfigurationError,
    LocalProtocolError,
    NoStrategy,
    NotLeader,
    OutcomeUnknown,
    QuorumError,
    SessionExpired,
    StorageError,
)

DONE, NO, ASKED_WRONGLY = 0, 1, 2
Decorated = Callable[..., Any]


class AnswerNo(QuorumError):
    """The command did what it should, and the answer is no: exit 1, with nothing more to say than was said."""

    def __init__(self) -> None:
        super().__init__("the answer is no")


def exit_code(error: QuorumError) -> int:
    """The exit code that an error stands for."""
    match error:
        case StorageError():
            return error.exit_code
        case ConfigurationError() | LocalProtocolError() | ApplicationError():
            return ASKED_WRONGLY
    return NO


def is_code(kind: str) -> bool:
    """Whether the kind of a refusal is a word for programs, not the name of an exception."""
    return bool(kind) and kind[0].islower() and all(each.isalnum() or each in "-_" for each in kind)


def explain(error: QuorumError) -> str:
    """An error as a person reads it: an outcome that is not known is never taken for a failure."""
    match error:
        case OutcomeUnknown() | SessionExpired():
            return f"outcome unknown: {error}"
        case ApplicationError(kind=kind, message=message):
            return message if is_code(kind) else f"the application raised {kind}: {message}"
        case NotLeader(leader=None):
            return (
                "the request needs a leader, and no node that was reached knows one. See `quorum status`; nothing "
                "was changed, so retry."
            )
    return str(error)


_PLAINER = (
    ("a valid integer range", "a whole number"),
    ("a valid integer", "a whole number"),
    ("a valid float range", "a number"),
    ("a valid float", "a number"),
)


def _plainer(error: click.UsageError) -> str:
    """What click says, in words of people who do not program."""
    text = error.message
    for theirs, ours in _PLAINER:
        text = text.replace(theirs, ours)
    if isinstance(error, click.NoSuchOption) and error.option_name[1:2].isdigit() and "--" not in text:
        text += f" Before a value that begins with -, write --, as in: -- {error.option_name}"
    return text


@contextmanager
def _usage_errors_in_json(is_asked: bool) -> Iterator[None]:
    """With `--json` a wrong option is told in JSON, too, before click says it to people and exits with 2."""
    try:
        yield
    except click.UsageError as error:
        error.message = _plainer(error)  # type: ignore[misc]
        if is_asked:
            print_json({"error": {"kind": "UsageError", "text": error.format_message()}})
        raise


class Group(click.Group):
    """A group of commands; a name that it does not know is a usage error. `elsewhere` has what to write instead of
    names that people know from other programs."""

    def __init__(self, *args: Any, elsewhere: Mapping[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._elsewhere = elsewhere or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _usage_errors_in_json("--json" in args):
            return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        with _usage_errors_in_json("--json" in args):
            if args and args[0] in self._elsewhere and self.get_command(ctx, args[0]) is None:
                ctx.fail(f"No such command '{args[0]}'. Write `{self._elsewhere[args[0]]}`.")
            return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command that turns every error of the package into text on stderr and an exit code, without traceback.

    With `--json` the error is one JSON object on stdout, too.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _usage_errors_in_json("--json" in args):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _usage_errors_in_json(bool(ctx.params.get("as_json"))):
                return super().invoke(ctx)
        except AnswerNo:
            ctx.exit(NO)
        except QuorumError as error:
            more: dict[str, object] = {"reason": error.kind} if isinstance(error, ApplicationError) else {}
            if isinstance(error, NoStrategy):
                more["binding"] = list(error.binding)
            _fail(ctx, type(error).__name__, explain(error), exit_code(error), more)
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read our output has seen enough
                raise
            where = f" {str(error.filename)[:300]}:" if error.filename is not None else ""
            reason = (error.strerror or str(error)).lower()
            text = f"`{ctx.info_name}` was to run, but the system refuses:{where} {reason}. Check path and rights."
            _fail(ctx, "OSError", text, NO)


def _fail(
    ctx: click.Context, kind: str, text: str, code: int, more: Mapping[str, object] = MappingProxyType({})
) -> NoReturn:
    click.echo(f"Error: {text}", err=True)
    if ctx.params.get("as_json"):
        print_json({"error": {"kind": kind, "text": text, **more}})
    ctx.exit(code)


def command(name: str, example: str, **settings: Any) -> Callable[[Decorated], click.Command]:
    """A command called `name` with `--json` and, at the end of its help, the example."""

    def decorate(function: Decorated) -> click.Command:
        with_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)
        epilog = f"Example: {example}"
        return click.command(name, cls=Command, epilog=epilog, **settings)(with_json)

    return decorate


SECONDS_MAX = 86_400.0


def seconds_option(name: str, default: float, text: str) -> Callable[[Decorated], Decorated]:
    """An option that is a time in seconds: above 0, at most a day, and a number."""

    def check(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
        if not 0 < value <= SECONDS_MAX:
            raise click.BadParameter(
                f"{value:g} s was given, but a time lies above 0 and is at most {SECONDS_MAX:g} s. Change it."
            )
        return value

    return click.option(name, type=float, default=default, callback=check, help=text)


CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The cluster.toml. Else QUORUM_CONFIG, else .quorum/cluster.toml.",
)
"""Which cluster a command is about."""


def with_cluster(function: Decorated) -> Decorated:
    """Options of a command that is about a running cluster."""
    function = seconds_option("--timeout", 10.0, "Seconds to wait for an answer.")(function)
    return CONFIG(function)


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout. Half characters, as in an argument that is no UTF-8, are escaped."""
    import msgspec

    try:
        click.echo(msgspec.json.encode(value))
    except UnicodeEncodeError:
        click.echo(msgspec.json.encode(_whole(msgspec.to_builtins(value))))


def _whole(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_whole(key): _whole(item) for key, item in value.items()}
        case list() | tuple():
            return [_whole(item) for item in value]
    return value


_IN_TEXT = "\t\n\r\x1b"


def text_of(data: bytes) -> tuple[str, str]:
    """Bytes as they are shown, and how: as text, or hexadecimal where they are no UTF-8, or have characters that
    no text has. ESC is none of those: what a terminal would obey is text, and is escaped."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data.hex(), "hex"
    is_binary = any(category(each) == "Cc" and each not in _IN_TEXT for each in text)
    return (data.hex(), "hex") if is_binary else (text, "text")


def bytes_of(text: str, as_hex: bool, option: str = "--hex") -> bytes:
    """An argument as bytes; `option` is what says that it is hexadecimal. Raises ConfigurationError for what is
    not, where it should be."""
    if not as_hex:
        return text.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ConfigurationError(
            f"{text[:60]!r} was given with {option}, but it is not hexadecimal. Write two digits 0-9 a-f for a "
            "byte."
        ) from None


def plain(text: str, chars_max: int = 1200) -> str:
    """Text without anything that moves a cursor or sets a colour."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text[:chars_max])
