"""Simulated clients of a subject: each runs its workload again and again, and writes down what it was told."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from random import Random
from typing import Any

import msgspec

from quorum.apps.answer import FAILED, FORGOTTEN, OK, decode_failure
from quorum.checkers.violation import Violation
from quorum.errors import ApplicationError, OutcomeUnknown, QuorumError
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.client import SimClient
from quorum.sim.subject import Question, RefusedCall, error_text, shown
from quorum.sim.watched import WatchedWorld

TIMEOUT_US = 5_000_000
WORKLOAD = "a workload awaits the calls of the object it is given"
MEANT = "methods raise only what they are meant to"
Workload = Callable[[Any, Random], Any]


class Operation(msgspec.Struct):
    """One call as its client saw it. Ranks count the events of all clients; `completed` is None while nobody knows
    whether it happened.

    `result` is what it returned, `error` what it raised, as text. `reply` are the bytes that said so, `request` is
    its number at the client.
    """

    client: str
    text: str
    body: bytes
    is_query: bool
    consistency: str
    invoked: int
    invoked_us: int
    request: int = 0
    completed: int | None = None
    completed_us: int | None = None
    reply: bytes = b""
    status: int = OK
    result: Any = None
    error: str = ""

    @property
    def outcome(self) -> str:
        """What the client knows: "ok", "raised", or "unknown"."""
        if self.completed is None:
            return "unknown"
        return "raised" if self.error else "ok"

    def __str__(self) -> str:
        told = {"ok": shown(self.result), "raised": self.error, "unknown": "nobody knows"}[self.outcome]
        return f"{self.client}: {self.text} -> {told}"


class Expected:
    """Which exceptions of commands and queries are answers, and which are mistakes.

    Without a list: ValueError and LookupError, with what derives from them, and every class of the user's own.
    """

    def __init__(self, raises: tuple[type[BaseException], ...] | None) -> None:
        self._own = raises is None
        self._kinds = (ValueError, LookupError) if raises is None else raises
        self._names = {name for kind in self._kinds for name in _names(kind)}

    def fits(self, kind: str) -> bool:
        if kind in self._names:
            return True
        return self._own and not isinstance(getattr(builtins, kind, None), type)


def _names(kind: type[BaseException]) -> set[str]:
    return {kind.__name__}.union(*(_names(each) for each in kind.__subclasses__()))


class Actor:
    """One client, which does one thing at a time."""

    def __init__(
        self,
        world: WatchedWorld,
        name: str,
        workload: Workload,
        handle: Any,
        history: list[Operation],
        expected: Expected,
        stop_us: int,
        pause_us: int,
        patience_us: int,
    ) -> None:
        self.world = world
        self.name = name
        self._workload = workload
        self._handle = handle
        self._history = history
        self._expected = expected
        self._stop_us = stop_us
        self._pause_us = pause_us
        self.random = world.random(f"workload/{name}")
        self._pauses = world.random(f"pauses/{name}")
        self.client = SimClient(world, name, self._on_answer, SessionSettings(silence_us=patience_us))
        self.answered = self.unknown = 0
        self._script: Coroutine[Any, Any, Any] | None = None
        self._asked: tuple[Question, Operation] | None = None

    def start(self) -> None:
        self.client.start()
        self._rest()

    def _rest(self) -> None:
        self.world.schedule(self._pauses.randrange(2 * self._pause_us) + 1, self._next)

    def _next(self) -> None:
        if self.world.now_us >= self._stop_us:
            return
        try:
            made = self._workload(self._handle, self.random)
        except Exception as error:
            raise self._mistake(error) from error
        if made is None:
            self._rest()
            return
        if isinstance(made, Question):
            made = _only(made)
        if not iscoroutine(made):
            raise Violation(
                WORKLOAD,
                f"it returned {shown(made)}. Return one call, such as `it.add(1)`, or write `async def` and await",
            )
        self._script = made
        self._go_on(None, None)

    def _mistake(self, error: Exception) -> Violation:
        return Violation("the workload ends without an exception", f"{self.name} raised {error_text(error)}")

    def _go_on(self, value: Any, error: Exception | None) -> None:
        """Run the script up to its next question."""
        assert self._script is not None
        try:
            asked = self._script.throw(error) if error is not None else self._script.send(value)
        except StopIteration:
            self._rest()
            return
        except (ApplicationError, OutcomeUnknown) as told:
            if told is not error:
                raise self._mistake(told) from told
            self._rest()  # an answer like another
            return
        except QuorumError as told:
            if told is not error:
                raise self._mistake(told) from told
            self._rest()
            return
        except Exception as raised:
            raise self._mistake(raised) from raised
        if not isinstance(asked, Question):
            raise Violation(
                WORKLOAD,
                f"it awaits {shown(asked)}. Leave asyncio out of it: time is simulated, and each client does one "
                "thing at a time. More clients= give concurrency",
            )
        self._ask(asked)

    def _ask(self, asked: Question) -> None:
        world, session = self.world, self.client.session
        operation = Operation(
            self.name,
            asked.text,
            asked.body,
            asked.is_query,
            asked.consistency,
            world.trace.events,
            world.now_us,
        )
        world.count(("call", self.name, asked.body))
        self._history.append(operation)
        self._asked = asked, operation
        app = world.subject.app
        if asked.is_query:
            stale, here = asked.consistency == "stale", asked.consistency == "nearest"
            operation.request = session.query(world.now_us, app, asked.body, stale, TIMEOUT_US, here)
        else:
            operation.request = session.submit(world.now_us, app, 1, asked.body, TIMEOUT_US)

    def _on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        assert self._asked is not None, "one question at a time is open"
        (asked, operation), self._asked = self._asked, None
        world = self.world
        if error is not None or status not in (OK, FAILED):
            self.unknown += 1
            world.count(("unknown", self.name))
            world.tell(str(operation))
            text = "the outcome is unknown" if status != FORGOTTEN else "the answer is no longer kept"
            self._go_on(
                None, error or OutcomeUnknown(f"{asked.text} was asked, but {text}. Ask what is true now.")
            )
            return
        operation.completed, operation.completed_us = world.trace.events, world.now_us
        operation.reply, operation.status = body, status
        self.answered += 1
        world.count(("told", self.name, status, body))
        value, raised = self._read(asked, operation)
        world.tell(str(operation))
        self._go_on(value, raised)

    def _read(self, asked: Question, operation: Operation) -> tuple[Any, Exception | None]:
        """What an answer says. Raises Violation for an exception that is a mistake."""
        try:
            if operation.status == FAILED:
                failed = decode_failure(operation.reply)
                raise ApplicationError(failed.kind, failed.message)
            operation.result = asked.decode(operation.reply)
        except ApplicationError as error:
            operation.error = error_text(error)
            if self._expected.fits(error.kind):
                return None, error
            self.world.tell(str(operation))
            raise Violation(
                MEANT,
                f"{self.world.subject.name}.{asked.text} raised {operation.error}. Mend it, or say that it is "
                f"meant: raises=({error.kind}, ...)",
            ) from None
        except RefusedCall as error:
            raise Violation(MEANT, f"{self.world.subject.name}.{asked.text} was refused: {error}") from None
        return operation.result, None


async def _only(question: Question) -> Any:
    return await question
