"""Plays the scripts of scenarios/*.txt: commands above `----`, below it the same commands with what they did.

Before the first event: `nodes n1 n2 ...`, `reads EXPRESSION`, `writes EXPRESSION`, `set SETTING NUMBER`,
`log NODE TERM ...` (the terms of its entries, the first one the configuration), `term NODE NUMBER`.
Events: `campaign N` (its election timeout runs out), `lost N PEER` (its connection closed), `propose N A B`,
`read N TOKEN`, `beat N`, `store [N ...]`, `checkpoint N` and `install N` (a snapshot is durable), `crash N`,
`restart N [damaged]`.
Messages: `deliver [FROM->TO ...]`, `drop [FROM->TO ...]` (what is on the way now), `cut N ...`, `join N ...`,
`settle` (deliver and store until nothing moves). `quietly COMMAND` prints nothing. `state` prints every node.
`3@2` is entry 3 of term 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from protocols.raft.members import QUICK, Cluster, Member, Packet
from quorum.errors import NotLeader, RemoteProtocolError
from quorum.model import Configuration
from quorum.protocols import effects
from quorum.protocols.raft.messages import Append, AppendReply, RequestVote, SnapshotOffer, VoteReply
from quorum.protocols.raft.state import FOLLOWER

SCENARIOS = Path(__file__).parent / "scenarios"
DIVIDER = "----"


def read_script(path: Path) -> tuple[list[str], list[str]]:
    """The commands of a file, and the output that it expects."""
    above, _, below = path.read_text().partition(f"{DIVIDER}\n")
    return above.splitlines(), below.splitlines()


def rewrite(path: Path) -> None:
    """Put what the script does now below its divider."""
    commands, _ = read_script(path)
    path.write_text("\n".join([*commands, DIVIDER, *play(commands)]) + "\n")


def play(commands: list[str]) -> list[str]:
    """Run a script; return its output."""
    return Script().play(commands)


class Script:
    """One cluster, and what it printed."""

    def __init__(self) -> None:
        self.output: list[str] = []
        self.nodes: tuple[str, ...] = ()
        self.rules = {"reads": "", "writes": ""}
        self.settings = QUICK
        self.logs: dict[str, list[int]] = {}
        self.terms: dict[str, int] = {}
        self._cluster: Cluster | None = None

    def play(self, commands: list[str]) -> list[str]:
        for line in commands:
            if line and not line.startswith("#"):
                self.output.append(f"> {line}")
                quiet = line.startswith("quietly ")
                kept = len(self.output)
                name, *arguments = line.removeprefix("quietly ").split()
                getattr(self, f"do_{name}")(*arguments)
                self.show()
                if quiet:
                    del self.output[kept:]
        return self.output

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            configuration = Configuration(epoch=1, voters=self.nodes, **self.rules)
            self._cluster = Cluster(configuration, self.settings)
            for node, terms in self.logs.items():
                term = self.terms.get(node)
                self._cluster.members[node] = Member(node, configuration, self.settings, terms, term)
            for member in self._cluster.members.values():
                member.did.clear()
        return self._cluster

    # Before the first event.

    def do_nodes(self, *nodes: str) -> None:
        self.nodes = nodes

    def do_reads(self, *words: str) -> None:
        self.rules["reads"] = " ".join(words)

    def do_writes(self, *words: str) -> None:
        self.rules["writes"] = " ".join(words)

    def do_set(self, name: str, value: str) -> None:
        self.settings = replace(self.settings, **{name: int(value)})

    def do_log(self, node: str, *terms: str) -> None:
        self.logs[node] = [int(term) for term in terms]

    def do_term(self, node: str, term: str) -> None:
        self.terms[node] = int(term)

    # Events.

    def do_campaign(self, node: str) -> None:
        self.cluster.campaign(node)

    def do_lost(self, node: str, peer: str) -> None:
        self.cluster[node].lose(peer)

    def do_propose(self, node: str, *bodies: str) -> None:
        self.cluster[node].propose(*[body.encode() for body in bodies])

    def do_read(self, node: str, *tokens: str) -> None:
        self.cluster[node].read(*[int(token) for token in tokens])

    def do_beat(self, node: str) -> None:
        self.cluster.beat(node)

    def do_store(self, *nodes: str) -> None:
        for node in nodes or self.nodes:
            if self.cluster[node].up:
                self.cluster[node].store()
                self.show()

    def do_checkpoint(self, node: str) -> None:
        self.cluster[node].take_checkpoint()

    def do_install(self, node: str) -> None:
        self.cluster[node].install()

    def do_crash(self, node: str) -> None:
        self.cluster[node].crash()

    def do_restart(self, node: str, *how: str) -> None:
        member = self.cluster[node]
        if how == ("damaged",):
            member.disk.entries.pop()
        member.start(tail_damaged=how == ("damaged",))

    # Messages.

    def do_deliver(self, *ways: str) -> None:
        for packet in self._taken(ways):
            member = self.cluster[packet.to]
            if not member.up or self.cluster.cut & {packet.sender, packet.to}:
                continue
            try:
                member.receive(packet.sender, packet.message, *packet.attached)
            except RemoteProtocolError as error:
                self.output.append(f"  {packet.to} accuses {error.sender}: {error.what}")
            self.show()

    def do_drop(self, *ways: str) -> None:
        for packet in self._taken(ways):
            self.output.append(f"  lost: {packet.sender} -> {packet.to} {_message(packet.message)}")

    def do_cut(self, *nodes: str) -> None:
        self.cluster.cut |= set(nodes)

    def do_join(self, *nodes: str) -> None:
        self.cluster.cut -= set(nodes)

    def do_settle(self) -> None:
        for _ in range(1000):
            self.do_store()
            self.cluster.collect()
            if not self.cluster.packets:
                return
            self.do_deliver()
        raise AssertionError("the cluster does not come to rest")

    def _taken(self, ways: tuple[str, ...]) -> list[Packet]:
        taken: list[Packet] = []
        for way in ways or ("->",):
            sender, to = way.split("->")
            taken += self.cluster.take(sender or None, to or None)
        return taken

    # What is printed.

    def do_state(self) -> None:
        for node in self.nodes:
            member = self.cluster[node]
            state = member.state
            base = [f"snapshot {state.log.base_index}@{state.log.base_term}"] if state.log.base_index else []
            terms = enumerate(member.terms(), state.log.base_index + 1)
            log = " ".join([*base, *(f"{index}@{term}" for index, term in terms)])
            role = state.role if member.up else "down"
            doubt = "" if state.may_vote else ", may not vote"
            self.output.append(f"  {node} {role} term {state.term}, commit {state.commit_index}{doubt}: {log}")

    def show(self) -> None:
        """Print what members did since."""
        if self._cluster is None:
            return
        for member in self._cluster.members.values():
            for effect in member.did:
                text = _effect(member, effect)
                if text:
                    self.output.append(f"  {member.node} {text}")
            member.did.clear()


def _effect(member: Member, effect: effects.Effect) -> str:
    match effect:
        case effects.Send(to, message, first, last):
            entries = f" with {_range(first, last)}" if first <= last else ""
            return f"-> {to} {_message(message)}{entries}"
        case effects.Persist(record):
            return f"writes {_record(record)}"
        case effects.RoleChanged(role, term, leader):
            follows = f" of {leader}" if role == FOLLOWER and leader else ""
            return f"is {role}{follows} in term {term}"
        case effects.Commit(first, last):
            return f"commits {_range(first, last)}"
        case effects.Admitted(tokens, first, term):
            return f"orders {_range(first, first + len(tokens) - 1)} in term {term}"
        case effects.Refused(tokens, error):
            where = f", ask {error.leader}" if isinstance(error, NotLeader) and error.leader else ""
            return f"refuses {', '.join(map(str, tokens))}: {type(error).__name__}{where}"
        case effects.Completed(tokens):
            return f"completes {', '.join(map(str, tokens))}"
        case effects.ReadReady(tokens, index):
            return f"serves reads {', '.join(map(str, tokens))} at {index}"
        case effects.Checkpoint(mark):
            return f"wants a snapshot at {mark.index}@{mark.term}"
        case effects.Compacted(first_kept):
            return f"drops its log below {first_kept}"
        case effects.FetchSnapshot(source, mark):
            return f"fetches snapshot {mark.index}@{mark.term} from {source}"
        case effects.SetTimer() | effects.CancelTimer():
            return ""
    raise AssertionError(f"{member.node} did {effect}")


def _record(record: object) -> str:
    match record:
        case effects.HardState(term, vote):
            return f"term {term}, vote {vote or 'none'}"
        case effects.Entries(first, entries):
            return _range(first, first + len(entries) - 1)
        case effects.Reset(mark):
            return f"a log after snapshot {mark.index}@{mark.term}"
    raise AssertionError(f"persisted {record}")


_WRITERS: dict[type, Callable[..., str]] = {
    RequestVote: lambda m: f"{'pre-vote' if m.pre else 'vote'} in {m.term}? log {m.last_index}@{m.last_term}",
    VoteReply: lambda m: f"{'granted' if m.granted else 'refused'} {'pre-vote' if m.pre else 'vote'} in {m.term}",
    Append: lambda m: (
        f"append in {m.term} after {m.previous_index}@{m.previous_term}, commit {m.commit_index}"
        + (f", round {m.round}" if m.round else "")
    ),
    AppendReply: lambda m: (
        (
            f"stored {m.index} in {m.term}"
            if m.matched
            else f"no {m.previous_index} in {m.term}, try {m.index}@{m.hint_term}"
        )
        + (f", round {m.round}" if m.round else "")
    ),
    SnapshotOffer: lambda m: f"offer in {m.term} of snapshot {m.mark.index}@{m.mark.term}",
}


def _message(message: object) -> str:
    return _WRITERS[type(message)](message)


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
