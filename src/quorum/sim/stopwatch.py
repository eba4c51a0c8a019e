"""How long puts take, one after the other, in simulated time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorum.apps import kv
from quorum.apps.answer import OK
from quorum.apps.catalogue import KV_APP
from quorum.errors import QuorumError

if TYPE_CHECKING:
    from quorum.sim.world import World

TIMEOUT_US = 10_000_000


class Stopwatch:
    """A client beside the leader: what it waits for is the decision. `took_us` has each put that was answered."""

    def __init__(self, world: World, name: str = "stopwatch") -> None:
        self._world = world
        self._client = world.make_client(name, self._answered, None)
        self._began_us = 0
        self.took_us: list[int] = []

    def run(self, count: int, within_us: int) -> float:
        """Let so many more puts be answered; the mean time of one, in microseconds. Raises TimeoutError if that
        takes longer than `within_us`."""
        before = len(self.took_us)
        if before == 0 and not self._began_us:
            self._client.start()
        self._ask()
        if not self._world.run_until(lambda: len(self.took_us) >= before + count, within_us):
            raise TimeoutError(
                f"{count} puts were to be decided, but {len(self.took_us) - before} were within {within_us} us of "
                "simulated time. Allow more, or look who leads."
            )
        return sum(self.took_us[before:]) / (len(self.took_us) - before)

    def _ask(self) -> None:
        self._began_us = self._world.now_us
        body = kv.encode_batch([kv.Put(b"key", b"value")])
        self._client.session.submit(self._world.now_us, KV_APP, 1, body, TIMEOUT_US)

    def _answered(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        if error is None and status == OK:
            self.took_us.append(self._world.now_us - self._began_us)
        self._ask()
