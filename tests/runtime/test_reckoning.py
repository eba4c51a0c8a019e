"""Work that takes long leaves the event loop free, and its outcome comes back to it."""

from __future__ import annotations

import asyncio
from threading import Event, get_ident

from quorum.runtime.reckoning import Reckoner

PATIENCE_S = 20


def test_the_loop_goes_on_meanwhile_and_hears_of_the_outcome_in_its_own_thread() -> None:
    async def main() -> None:
        said: list[str] = []
        may_end, has_ended = Event(), asyncio.Event()
        reckon = Reckoner(lambda: (said.append("woken"), has_ended.set()))  # type: ignore[arg-type, func-returns-value]

        def work() -> int:
            assert may_end.wait(PATIENCE_S)
            return get_ident()

        def done(worker: int) -> None:
            assert worker != get_ident()
            said.append("done")

        reckon(work, done)
        said.append("the loop goes on")
        may_end.set()
        async with asyncio.timeout(PATIENCE_S):
            await has_ended.wait()
        assert said == ["the loop goes on", "done", "woken"]

    asyncio.run(main())


def test_an_outcome_that_comes_when_the_loop_is_closed_is_dropped() -> None:
    may_end, said = Event(), []
    left: list[object] = []

    class Watched(Reckoner):
        def _run(self, *given: object) -> None:
            try:
                super()._run(*given)  # type: ignore[arg-type]
            except BaseException as error:
                left.append(error)
            ended.set()

    ended = Event()

    async def main() -> None:
        Watched(lambda: said.append("woken"))(lambda: may_end.wait(PATIENCE_S), lambda _: said.append("done"))

    asyncio.run(main())
    may_end.set()
    assert ended.wait(PATIENCE_S)
    assert said == [] and left == []
