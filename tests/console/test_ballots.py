"""Ballots on a real cluster: commands, programs, voters beside the nodes, a lost leader, certificates."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import quorum
from quorum.certificate.ballot_audit import verify_ballot
from quorum.console.ballot_read import voter_of
from quorum.console.inquiry import ask_all, leader_of
from quorum.errors import ApplicationError, LocalProtocolError
from quorum.runtime.connect import at_config
from quorum.runtime.local import LocalCluster

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def voters(folder, run) -> dict[str, str]:
    """Clients with keys of their own; what `quorum ballot key` says of each."""
    return issued(folder, run, "ann", "bob", "cat")


def issued(folder: Path, run, *names: str) -> dict[str, str]:
    keys = {}
    for name in names:
        assert run("keys", "issue", name, "--folder", folder / "keys").exit_code == 0
        keys[name] = key_of(folder, f"client.{name}")
    return keys


def key_of(folder: Path, identity: str) -> str:
    told = as_client(folder, identity, "ballot", "key")
    return told.stdout.strip()


def as_client(
    folder: Path, identity: str, *arguments: object, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """A command as another client than the admin."""
    return subprocess.run(
        [sys.executable, "-m", "quorum", *map(str, arguments), "--config", str(folder / "cluster.toml")],
        env={"QUORUM_IDENTITY": identity, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_voters_decide_and_the_certificate_convinces_who_trusts_no_node(
    folder, run, run_json, at, voters, tmp_path
):
    asked = [part for key in voters.values() for part in ("--voter", key)]
    code, opened = run_json("ballot", "open", "ship", "--question", "Ship it?", *asked, "--transferable", *at)
    assert code == 0 and opened["standing"]["state"] == "pending"
    assert as_client(folder, "client.ann", "ballot", "vote", "ship", "approve").returncode == 0
    assert run("ballot", "certificate", "ship", *at).exit_code == 2
    assert as_client(folder, "client.bob", "ballot", "vote", "ship", "approve").returncode == 0
    late = as_client(folder, "client.cat", "ballot", "vote", "ship", "reject")
    assert late.returncode == 2 and "no more votes count" in late.stderr
    file = tmp_path / "ship.json"
    assert run("ballot", "certificate", "ship", "-o", file, *at).exit_code == 0
    told = run("verify", file)
    assert told.exit_code == 0 and "won: approve" in told.stdout and "their signatures prove it" in told.stdout
    file.write_text(file.read_text().replace('"opinion":"approve"', '"opinion":"reject"'))
    forged = run("verify", file)
    assert forged.exit_code == 1 and "did not sign" in forged.stdout


def test_nobody_votes_in_the_name_of_somebody_else(folder, run, at, voters):
    asked = [part for name in voters for part in ("--voter", f"client.{name}")]
    assert run("ballot", "open", "names", "--question", "Who?", *asked, *at).exit_code == 0
    connection = quorum.connect(config=folder / "cluster.toml", identity="client.ann")
    with connection.sync as ann, pytest.raises(ApplicationError, match=r"came from client\.ann"):
        ann.ballot.vote("names", "approve", voter="client.bob")
    own = as_client(folder, "client.ann", "ballot", "vote", "names", "approve", "--as", "client.bob")
    assert own.returncode == 0 and "client.bob voted" in own.stdout, "the keys of both are in this folder"
    unknown = run("ballot", "open", "short", "--question", "?", "--voter", "ann", *at)
    assert unknown.exit_code == 2 and "'client.ann'" in unknown.stderr
    foreign = as_client(folder, "client.ann", "ballot", "close", "names")
    assert foreign.returncode == 2 and "'client.admin' opened it" in foreign.stderr
    assert run("ballot", "close", "names", *at).exit_code == 1
    assert run("ballot", "show", "names", *at).exit_code == 1


def test_a_secret_ballot_is_revealed_by_keys_alone(folder, run, run_json, at, voters):
    asked = [part for key in voters.values() for part in ("--voter", key)]
    options = ("--secret", "--reveal-time", 60)
    assert run("ballot", "open", "secret", "--question", "Raise?", *asked, *options, *at).exit_code == 0
    for name, opinion in zip(voters, ("approve", "reject", "approve"), strict=True):
        as_client(folder, f"client.{name}", "ballot", "vote", "secret", opinion)
    code, shown = run_json("ballot", "show", "secret", *at)
    assert (
        code == 0 and shown["phase"] == "revealing" and shown["standing"]["weights"] == {"approve": 0, "reject": 0}
    )
    for name in voters:
        assert as_client(folder, f"client.{name}", "ballot", "reveal", "secret").returncode == 0
    _, shown = run_json("ballot", "show", "secret", *at)
    assert (shown["phase"], shown["outcome"]["standing"]["opinion"]) == ("ended", "approve")


def test_the_json_of_a_secret_vote_has_the_nonce_by_which_it_is_revealed(folder, run, run_json, at):
    options = ("--voter", "client.admin", "--voter", "client.ann", "--secret", "--reveal-time", 60)
    assert run("ballot", "open", "hidden", "--question", "?", *options, *at).exit_code == 0
    code, receipt = run_json("ballot", "vote", "hidden", "approve", *at)
    assert code == 0 and receipt["standing"]["state"] == "pending"
    assert run("ballot", "close", "hidden", *at).exit_code == 0
    code, counted = run_json("ballot", "reveal", "hidden", "approve", "--nonce", receipt["nonce"], *at)
    assert code == 0 and counted["weights"] == {"approve": 1, "reject": 0}


async def leader_now(cluster: Path) -> str:
    place = at_config(cluster)
    leader = leader_of(await ask_all(place), place)
    assert leader is not None
    return leader.node


class Approver(BaseHTTPRequestHandler):
    """Approves of every ballot, and remembers what it was asked."""

    asked: list[dict] = []

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(question)
        body = json.dumps({"opinion": 21.5 if question["kind"] == "value" else "approve"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


CAREFUL = """
async def opinion(view):
    return None if "risk" in view.opening.terms.question else "approve"
"""


def test_a_webhook_and_a_callable_vote_when_they_are_asked(folder, run, at, voters, tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Approver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "careful.py").write_text(CAREFUL)
    programs = [
        ("client.ann", "--webhook", f"http://127.0.0.1:{server.server_port}/vote"),
        ("client.bob", "--call", "careful:opinion"),
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "quorum", "ballot", "attend", "--as", name, *how, *at],
            env={"QUORUM_IDENTITY": name, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, *how in programs
    ]
    asked = ("--voter", "client.ann", "--voter", "client.bob")
    try:
        run("ballot", "open", "easy", "--question", "Tidy up?", *asked, *at)
        assert "won: approve" in run("ballot", "watch", "easy", "--timeout", 30, *at).stdout
        run("ballot", "open", "hard", "--question", "A risk?", *asked, *at)
        assert any("voted: client.ann" in run("ballot", "show", "hard", *at).stdout for _ in range(500))
        assert run("ballot", "close", "hard", *at).exit_code == 1
    finally:
        for each in running:
            each.send_signal(signal.SIGTERM)
        told = [each.communicate(timeout=30)[0] for each in running]
        server.shutdown()
        server.server_close()
    assert told == ["easy: approve\nhard: approve\n", "easy: approve\n"]
    assert [question["ballot"] for question in Approver.asked] == ["easy", "hard"]


def test_a_program_follows_a_ballot_whose_leader_dies_and_whose_voter_is_silent(folder, run, at, voters):
    async def main() -> tuple[str, int]:
        url = folder / "cluster.toml"
        async with quorum.connect(config=url) as client:
            async with quorum.connect(config=url, identity="client.ann") as ann:
                await ann.decision("nothing")  # connected before the time of the round runs
                await client.ballot.open(
                    "long",
                    "Go on?",
                    [voter_of(key, True) for key in voters.values()],
                    participants=2,
                    faults=1,
                    round_time=2.0,
                )
                await ann.ballot.vote("long", "approve")
            leader = await leader_now(url)
            os.kill(LocalCluster(url).running()[leader], signal.SIGKILL)
            async with quorum.connect(config=url, identity="client.cat") as cat:
                async for view in cat.ballot.watch("long"):
                    if "client.cat" in view.rounds[-1].participants and view.phase == "voting":
                        await cat.ballot.vote("long", "approve")
            outcome = await client.ballot.outcome("long")
            certificate = await client.ballot.certificate("long")
            assert verify_ballot(certificate).valid
            return outcome.standing.opinion, len(certificate.rounds)

    assert asyncio.run(main()) == ("approve", 2)
    assert run("up", "--folder", folder).exit_code == 0


def test_code_without_an_event_loop_has_the_same_calls(folder):
    with quorum.connect(config=folder / "cluster.toml").sync as client:
        client.ballot.open("plain", "How warm?", ["client.admin"], kind="value")
        assert client.ballot.vote("plain", 21).standing.opinion == 21.0
        assert client.ballot.outcome("plain").standing.state == "won"
        assert [view.phase for view in client.ballot.watch("plain")] == ["ended"]
        assert "plain" in [line.name for line in client.ballot.list()]
        with pytest.raises(ApplicationError, match="no more votes"):
            client.ballot.vote("plain", 22)
        with pytest.raises(LocalProtocolError, match="no finite number"):
            client.ballot.vote("plain", "warm")
        assert client.ballot.forget("plain") and not client.ballot.forget("plain")


def test_where_members_may_lie_voters_are_known_by_their_keys(committee, run, run_json, tmp_path):
    at = ("--config", committee / "cluster.toml")
    keys = issued(committee, run, "ann", "bob")
    refused = run("ballot", "open", "b", "--question", "?", "--voter", "client.ann", *at)
    assert refused.exit_code == 2 and "known by its key" in refused.stderr
    asked = [part for key in keys.values() for part in ("--voter", key)]
    assert run("ballot", "open", "b", "--question", "?", *asked, "--transferable", *at).exit_code == 0
    for name in keys:
        assert as_client(committee, f"client.{name}", "ballot", "vote", "b", "approve").returncode == 0
    assert "won: approve" in run("ballot", "watch", "b", *at).stdout
    file = tmp_path / "b.json"
    assert run("ballot", "certificate", "b", "-o", file, *at).exit_code == 0
    code, audit = run_json("verify", file)
    assert code == 0 and audit["signed"] and audit["outcome"] == "won"
