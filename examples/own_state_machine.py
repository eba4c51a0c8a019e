"""A state machine of your own, replicated in the simulator: a counter that survives crashes.

Run: python examples/own_state_machine.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from quorum.apps.answer import OK
from quorum.apps.host import Host
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.errors import QuorumError
from quorum.header import Header
from quorum.model import Configuration
from quorum.sim.client import SimClient
from quorum.sim.world import World

COUNTER_APP = 100
SECOND_US = 1_000_000


class Counter:
    """Adds numbers. A command is the decimal text of a number; the reply and every read are the total."""

    def __init__(self) -> None:
        self.total = 0

    def apply(self, header: Header, body: Buffer) -> Outputs:
        self.total += int(bytes(body))  # a ValueError goes back to the caller and changes nothing
        return Outputs(str(self.total).encode())

    def query(self, body: Buffer) -> bytes:
        return str(self.total).encode()

    def digest(self) -> bytes:
        return blake2b(str(self.total).encode(), digest_size=32).digest()

    def snapshot(self) -> Iterator[bytes]:
        yield str(self.total).encode()

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.total = int(b"".join(chunks))


class CounterWorld(World):
    """A simulated cluster whose nodes host the counter."""

    def make_host(self) -> Host:
        return Host({COUNTER_APP: Counter()})


answers: list[tuple[int, bytes]] = []


def on_answer(handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
    answers.append((status, body))


world = CounterWorld(seed=1, configuration=Configuration(epoch=1, voters=("n1", "n2", "n3")))
world.boot()
client = SimClient(world, "c1", on_answer)
client.start()

for number in (1, 2, 3, 4):
    client.session.submit(world.now_us, COUNTER_APP, 1, str(number).encode())
    world.run_until(lambda wanted=number: len(answers) == wanted, 10 * SECOND_US)
    if number == 2:
        leader = world.leader()
        assert leader is not None
        print(f"total {answers[-1][1].decode()}; the leader {leader} crashes")
        world.crash(leader)

print(f"total {answers[-1][1].decode()} under the leader {world.leader()}")
assert answers == [(OK, b"1"), (OK, b"3"), (OK, b"6"), (OK, b"10")]
