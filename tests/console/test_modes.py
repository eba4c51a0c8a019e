"""What belongs to crash mode is refused where members may lie: at once, with 2, and with what does it there."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("promote", "n1"), "quorum approve NODES"),
        (("demote", "n1"), "quorum approve NODES"),
        (("prefer", "n1", "2"), "members take the primary's place in turn"),
        (("transfer",), "members take the primary's place in turn"),
        (("quorums", "--writes", "n1"), "quorum approve NODES --faults T"),
        (("kv", "watch", "a"), "one member alone tells is not believed"),
        (("kv", "get", "a", "--stale"), "one node alone was to be asked"),
        (("kv", "range", "--stale"), "one node alone was to be asked"),
        (("elect", "name", "--observe"), "Read it again, now and then"),
        (("evict", "n1"), "quorum approve"),
        (("recover", "--yes"), "one survivor's word proves nothing"),
    ],
)
def test_a_command_of_crash_mode_is_refused_before_anything_is_sent(arguments, says, run, tmp_path):
    """No node of the cluster runs."""
    folder = tmp_path / "c"
    assert run("init", "--folder", folder, "--nodes", 4, "--model", "byzantine").exit_code == 0
    refused = run(*arguments, "--config", folder / "cluster.toml")
    assert refused.exit_code == 2 and says in refused.stderr, refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_help_of_what_is_of_crash_mode_alone_says_so(run):
    for command in (("promote",), ("demote",), ("prefer",), ("quorums",), ("transfer",), ("kv", "watch")):
        assert "crash mode" in " ".join(run(*command, "--help").stdout.split()), command
    assert "quorum approve" in run("admit", "--help").stdout
