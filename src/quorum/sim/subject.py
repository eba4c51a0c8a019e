"""What a simulation is about: a replicated class, or a state machine, and the words to ask it and speak of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from inspect import Parameter, signature
from random import Random
from typing import Any, Protocol

import msgspec

from quorum.apps.batch import Refused
from quorum.apps.catalogue import OBJECTS_APP
from quorum.apps.log_clock import LogClock
from quorum.apps.objects import (
    Ask,
    Call,
    Done,
    Raise,
    Raised,
    decode_results,
    encode_batch,
    encode_query,
    encode_raise,
    error_of,
)
from quorum.apps.objects_machine import Objects
from quorum.apps.replicated_method import Method, is_invariant
from quorum.apps.replicated_schema import ClassSchema, MethodSchema, name_of, schema_of
from quorum.apps.state_machine import StateMachine
from quorum.entry import COMMAND, Buffer
from quorum.errors import ApplicationError, ConfigurationError, LocalProtocolError
from quorum.header import Header
from quorum.sim.draw import ObjectWorkload

MACHINE_APP = 100
SHOWN = 60
"""Characters of an argument or a result in a report."""
NO_ENTRY = Header(0, 0, COMMAND, OBJECTS_APP, 0, 0, 0, 0, 0, 0, 1, b"")
"""Stands for the entry of what is in no log."""
Claim = Callable[[Any], bool | None]
_CALLS = msgspec.msgpack.Decoder(list[Call])


class Question(Awaitable[Any]):
    """One call that a client is about to make; awaited in a workload it gives the answer."""

    __slots__ = ("body", "consistency", "decode", "is_query", "text")

    def __init__(
        self, text: str, body: bytes, decode: Callable[[bytes], Any], is_query: bool, consistency: str
    ) -> None:
        self.text = text
        self.body = body
        self.decode = decode
        self.is_query = is_query
        self.consistency = consistency

    def __await__(self) -> Generator[Question, Any, Any]:
        return (yield self)


class RefusedCall(Exception):
    """The machinery refused a call; no workload can bring that about by its arguments."""


class Subject(Protocol):
    """`app` is the application's number, `name` what people call the subject, `claims` what must always hold, by
    their names."""

    name: str
    app: int
    claims: dict[str, Claim]

    def make(self, clock: LogClock) -> StateMachine:
        """A fresh one, as every replica begins."""
        ...

    def handle(self, stale: bool) -> Any:
        """What a workload calls. With `stale`, every query asks for what the node at hand has applied."""
        ...

    def workload(self) -> Callable[[Any, Random], Any]:
        """The one that is used where none is given."""
        ...

    def describe(self, body: Buffer) -> str:
        """The commands in a batch."""
        ...

    def look(self, machine: Any, claim: Claim) -> bool | None:
        """What a claim says of a replica."""
        ...


class ObjectSubject:
    """A replicated class, in its newest version."""

    app = OBJECTS_APP

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.schema: ClassSchema = schema_of(kind)
        self.name = self.schema.text
        self.object = name_of(self.schema.cls).rpartition(".")[2].lower()
        self.claims: dict[str, Claim] = {}
        for name in dir(self.schema.cls):
            found = getattr(self.schema.cls, name, None)
            if is_invariant(found):
                assert callable(found)
                self.claims[f"{self.name}.{name}"] = found

    def make(self, clock: LogClock) -> Objects:
        machine = Objects({self.object: self.kind})
        version = self.schema.version
        order = Raise(self.object, version, self.schema.fingerprint(version))
        (made,) = decode_results(machine.apply(NO_ENTRY, encode_raise(order)).reply)
        if isinstance(made, Raised):
            raise error_of(made)
        return machine

    def handle(self, stale: bool) -> Any:
        handle: Any = object.__new__(self.schema.cls)
        object.__setattr__(handle, "_face", _ObjectFace(self.schema, self.object, stale))
        return handle

    def workload(self) -> Callable[[Any, Random], Any]:
        return ObjectWorkload(self.schema)

    def describe(self, body: Buffer) -> str:
        return ", ".join(self._describe(call) for call in _CALLS.decode(body))

    def _describe(self, call: Call) -> str:
        spec = self.schema.methods[call.method]
        return _called(spec, msgspec.structs.astuple(spec.decode(call.arguments)))

    def look(self, machine: Objects, claim: Claim) -> bool | None:
        return machine.look(self.object, claim)


class _ObjectFace:
    """Stands behind the instance that a workload calls (apps.replicated_method.Face)."""

    def __init__(self, schema: ClassSchema, name: str, stale: bool) -> None:
        self._schema = schema
        self._name = name
        self._stale = stale

    def call(
        self, method: Method[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], consistency: str
    ) -> Question:
        spec = self._schema.methods[method.name]
        arguments = spec.encode(args, kwargs)
        text = _called(spec, msgspec.structs.astuple(spec.decode(arguments)))
        if spec.is_command:
            body = encode_batch([Call(self._name, spec.name, spec.since, arguments)])
        else:
            body = encode_query([Ask(self._name, spec.name, spec.since, arguments)])
            consistency = "stale" if self._stale else consistency
        return Question(text, body, lambda reply: _result(spec, reply), not spec.is_command, consistency)

    def call_sync(self, method: Method[Any, Any], *_: Any) -> Any:
        raise LocalProtocolError(
            f"{method.name}.sync was called in a workload, but a simulated client cannot wait in a thread. Write "
            f"`async def` and `await`, or return the call {method.name}(...)."
        )

    def read(self, name: str) -> Any:
        raise AttributeError(
            f"{self._schema.text}.{name} was read in a workload, but the state is on the nodes. Ask a @query."
        )

    def assign(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{self._schema.text}.{name} was assigned in a workload, but the state is on the nodes. Call a "
            "@command."
        )

    def context(self) -> Any:
        raise LocalProtocolError(
            "self.context was asked for in a workload, but only a command has a place in the log. Draw from the "
            "random.Random that the workload is given."
        )


def _called(spec: MethodSchema, values: tuple[Any, ...]) -> str:
    return f"{spec.name}({', '.join(map(shown, values))})"


def _result(spec: MethodSchema, reply: bytes) -> Any:
    (result,) = decode_results(reply)
    if isinstance(result, Refused):
        raise RefusedCall(f"{result.reason}: {result.message}")
    if isinstance(result, Done):
        return spec.result.decode(result.result)
    raise error_of(result)


class MachineSubject:
    """A state machine: what `make` gives, to which a clock of lease time is passed if it takes an argument."""

    app = MACHINE_APP

    def __init__(self, make: Callable[..., StateMachine]) -> None:
        self._make = make
        self._takes_clock = _takes_argument(make)
        self.name = getattr(make, "__qualname__", repr(make)).rpartition("<locals>.")[2]
        self.claims: dict[str, Claim] = {}
        machine = self.make(LogClock())
        missing = [
            name
            for name in ("apply", "query", "digest", "snapshot", "restore")
            if not callable(getattr(machine, name, None))
        ]
        if missing:
            raise ConfigurationError(
                f"{self.name} was to be simulated, but it is neither a replicated class nor a state machine: it "
                f"has no {missing[0]}. Derive it from quorum.Replicated, or write the methods of a StateMachine."
            )
        for name in dir(type(machine)):
            if is_invariant(getattr(type(machine), name, None)):
                self.claims[f"{self.name}.{name}"] = getattr(type(machine), name)

    def make(self, clock: LogClock) -> StateMachine:
        return self._make(clock) if self._takes_clock else self._make()

    def handle(self, stale: bool) -> MachineHandle:
        return MachineHandle(stale)

    def workload(self) -> Callable[[Any, Random], Any]:
        raise ConfigurationError(
            f"{self.name} was to be simulated without a workload, but the commands of a state machine are bytes "
            "of its own. Give workload=lambda machine, random: machine.command(b'...')."
        )

    def describe(self, body: Buffer) -> str:
        return shown(bytes(body))

    def look(self, machine: StateMachine, claim: Claim) -> bool | None:
        return claim(machine)


class MachineHandle:
    """What a workload calls where the subject is a state machine."""

    def __init__(self, stale: bool) -> None:
        self._stale = stale

    def command(self, body: bytes) -> Question:
        """Send a batch of one command through the log; gives the reply."""
        return Question(f"command {shown(body)}", body, _as_it_is, False, "linearizable")

    def query(self, body: bytes, consistency: str = "linearizable") -> Question:
        """Ask; gives the answer."""
        consistency = "stale" if self._stale else consistency
        return Question(f"query {shown(body)}", body, _as_it_is, True, consistency)


def _as_it_is(reply: bytes) -> bytes:
    return reply


def _takes_argument(make: Callable[..., Any]) -> bool:
    try:
        parameters = signature(make).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.default is Parameter.empty and each.kind is not Parameter.VAR_POSITIONAL
        for each in parameters
        if each.kind is not Parameter.VAR_KEYWORD
    )


def subject_of(what: Any) -> ObjectSubject | MachineSubject:
    """What is to be simulated. Raises NotReplicable and ConfigurationError."""
    origin = getattr(what, "__origin__", what)
    if isinstance(origin, type) and hasattr(origin, "_quorum_defaults"):
        return ObjectSubject(what)
    if not callable(what):
        raise ConfigurationError(
            f"{shown(what)} was to be simulated, but every replica needs a fresh one. Give the class."
        )
    return MachineSubject(what)


def shown(value: Any) -> str:
    """A value in a report, short."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def error_text(error: BaseException) -> str:
    """An exception in a report."""
    if isinstance(error, ApplicationError):
        return f"{error.kind}: {error.message}"
    return f"{type(error).__name__}: {error}"
