"""Replicated objects as a state machine: several, of several classes, on every node of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain, islice
from typing import Any, TypeVar

import msgspec

from quorum.apps.answer import failure_of
from quorum.apps.batch import MESSAGE_CHARS_MAX, BatchDecoder, Refused
from quorum.apps.call_depth import at_full_depth
from quorum.apps.leaves import DIGEST_BYTES, View
from quorum.apps.object_state import Context, ObjectState, ResultTooLarge
from quorum.apps.objects import (
    COMMAND_RESULTS_BYTES_MAX,
    DESCRIBE,
    NAME_CHARACTERS_MAX,
    QUERY_RESULTS_BYTES_MAX,
    Ask,
    Call,
    Description,
    Done,
    Raise,
    Raised,
    Result,
)
from quorum.apps.pieces import digests_of
from quorum.apps.replicated_schema import ClassSchema, MethodSchema, schema_of
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.errors import ConfigurationError, IncompatibleProgram, LocalProtocolError, QuorumError
from quorum.header import Header


class ObjectHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One object in the first chunk of a snapshot."""

    object: str
    version: int
    fingerprint: bytes
    revision: int
    leaves: int


class ObjectsHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First chunk of a snapshot; the leaves of the objects follow, in the same order."""

    format: int
    objects: list[ObjectHead]


T = TypeVar("T")
_FORMAT = 1
_REMEDY = "Fetch another snapshot."
_TOO_MANY_RESULTS = Refused(
    "read", "a result has no room beside the others of its batch, and nothing was done. Send it in another batch."
)
_CALLS: BatchDecoder[Call] = BatchDecoder(Call)
_QUESTIONS: BatchDecoder[Ask] = BatchDecoder(Ask)
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_RAISE = msgspec.msgpack.Decoder(Raise)
_DECODE_HEAD = msgspec.msgpack.Decoder(ObjectsHead)


class Objects:
    """Objects by name; `classes` are replicated classes, generic ones with their arguments.

    The names, and what the classes do, must be the same on every node. Raises ConfigurationError for a name that
    is none, NotReplicable for a class that cannot be replicated.
    """

    def __init__(self, classes: Mapping[str, Any]) -> None:
        for name in classes:
            if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
                raise ConfigurationError(
                    f"an object was to be named {name!r}, but a name has 1 to {NAME_CHARACTERS_MAX} printable "
                    "characters. Choose another."
                )
        self._schemas: dict[str, ClassSchema] = {name: schema_of(classes[name]) for name in sorted(classes)}
        self._objects: dict[str, ObjectState] = {}
        self._result_bytes_max = self._result_bytes_left = 0

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """As `apply_from`, of a caller for whom nobody vouches."""
        return self.apply_from(header, body, "")

    def apply_from(self, header: Header, body: Buffer, caller: str) -> Outputs:
        """Apply a batch. Raises msgspec.DecodeError if it is none, IncompatibleProgram if this node must stop."""
        self._result_bytes_max = self._result_bytes_left = COMMAND_RESULTS_BYTES_MAX
        if _is_raise(body):
            return Outputs(_ENCODE([self._raise(header, _DECODE_RAISE.decode(body))]))
        results = [
            call if isinstance(call, Refused) else self._call(call, header, place, caller)
            for place, call in enumerate(_CALLS.decode(body))
        ]
        return Outputs(_ENCODE(results))

    def query(self, body: Buffer) -> bytes:
        """Answer a batch of questions. Raises msgspec.DecodeError if it is none."""
        if bytes(body) == DESCRIBE:
            return _ENCODE([self._describe(name) for name in self._schemas])
        self._result_bytes_max = self._result_bytes_left = QUERY_RESULTS_BYTES_MAX
        questions = _QUESTIONS.decode(body)
        return _ENCODE([each if isinstance(each, Refused) else self._ask(each) for each in questions])

    def vet(self, body: Buffer) -> None:
        """Judge a batch before it is proposed, cheaply. Raises LocalProtocolError for a Raise that would stop
        nodes: of an object that is not hosted here, to a version not known here, of another class."""
        if not _is_raise(body):
            return
        try:
            order = _DECODE_RAISE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LocalProtocolError(
                f"a version was to be raised, but the order cannot be read: {error}. Send it as encode_raise "
                "writes it."
            ) from None
        try:
            self._check_raise(order)
        except QuorumError as error:
            raise LocalProtocolError(str(error)) from None

    def digest(self) -> bytes:
        """The root over all objects: 32 bytes. Costs what changed since the last time."""
        root = blake2b(digest_size=DIGEST_BYTES)
        for name in self._schemas:
            state = self._objects.get(name)
            if state is not None:
                root.update(len(name.encode()).to_bytes(4, "little") + name.encode())
                root.update(state.schema.fingerprint(state.version))
                root.update(state.digest())
        return root.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present state; return its chunks, to be read at leisure."""
        head, views = self._views()
        return chain((head,), *(view.chunks() for view in views))

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; give `pieces.digests_of` each chunk of `snapshot`, and b"" after slices."""
        head, views = self._views()
        return chain((digests_of(head),), *(view.chunk_digests() for view in views))

    def _views(self) -> tuple[bytes, list[View]]:
        """The first chunk of a snapshot, and what the others are read from."""
        present = [(name, self._objects[name]) for name in self._schemas if name in self._objects]
        views = [state.cells.leaves.view() for _, state in present]
        heads = [
            ObjectHead(
                name,
                state.version,
                state.schema.fingerprint(state.version),
                state.cells.revision,
                state.cells.leaves.leaf_count,
            )
            for name, state in present
        ]
        return _ENCODE(ObjectsHead(_FORMAT, heads)), views

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by one that `snapshot` wrote; no chunks are no objects. Raises ValueError, state
        unchanged, if it is damaged or this node's program cannot run it."""
        rest = iter(chunks)
        head = read_head(next(rest, None))
        restored = {each.object: self._restored(each, list(islice(rest, each.leaves))) for each in head.objects}
        if next(rest, None) is not None:
            raise ValueError(f"objects were to be restored, but something follows them. {_REMEDY}")
        self._objects = restored

    def let_go(self) -> Iterator[object]:
        """Free the state part by part, one for each step; live values go with the object that has them."""
        while self._objects:
            _, state = self._objects.popitem()
            yield from state.cells.leaves.let_go()

    def look(self, name: str, look: Callable[[Any], T]) -> T:
        """What a plain function finds in the instance of an object, which must exist and which it may not change.
        Raises whatever it raises."""
        return self._objects[name].look(look)

    # One command, question, version.

    def _call(self, call: Call, header: Header, place: int, caller: str) -> Result:
        found = self._find(call, is_command=True)
        if isinstance(found, Refused):
            return found
        state, method, arguments = found
        seed = (header.entropy, place)
        context = Context(header.time_us, header.index, header.client, state.version, seed, caller)
        return self._result(lambda: state.execute(method, arguments, context, self._result_bytes_left))

    def _ask(self, question: Ask) -> Result:
        found = self._find(question, is_command=False)
        if isinstance(found, Refused):
            return found
        state, method, arguments = found
        return self._result(lambda: state.ask(method, arguments, self._result_bytes_left))

    def _find(self, request: Call | Ask, is_command: bool) -> tuple[ObjectState, MethodSchema, Any] | Refused:
        """The object, the method and its arguments. Why a command is refused depends on the log alone, not on how
        new this program is."""
        state = self._objects.get(request.object)
        if state is None:
            return Refused(
                "absent",
                f"object {request.object[:80]!r} was called, but it does not exist here yet. Its first "
                "command, or linearizable query, by a handle brings it into existence.",
            )
        where = f"{request.object}.{request.method[:80]}"
        if request.since > state.version:
            return Refused(
                "version",
                f"{where} was called as of version {request.since}, but the object is at version {state.version}. "
                "Raise its version once every node runs the newer program.",
            )
        method = state.schema.methods.get(request.method)
        if method is None or method.since > state.version or method.is_command != is_command:
            what = "command" if is_command else "query"
            return Refused(
                "method",
                f"{where} was to be run as a {what}, but version {state.version} of the object has no such "
                f"{what}. Call one that it has.",
            )
        try:
            return state, method, method.decode(request.arguments)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            what = f"{where} was called with arguments that do not fit: {error}. Correct them."
            return Refused("arguments", what[:MESSAGE_CHARS_MAX])

    def _result(self, run: Callable[[], bytes]) -> Result:
        """What becomes of running a method. Whatever it raises is its caller's, but for a lack of memory."""
        if self._result_bytes_left <= 0:
            return _TOO_MANY_RESULTS
        try:
            result = at_full_depth(run)
        except (MemoryError, KeyboardInterrupt):
            raise
        except ResultTooLarge as error:
            return _TOO_MANY_RESULTS if error.size <= self._result_bytes_max else _raised(error)
        except BaseException as error:
            return _raised(error)
        self._result_bytes_left -= len(result)
        return Done(result)

    def _raise(self, header: Header, order: Raise) -> Result:
        state = self._objects.get(order.object)
        if state is not None and order.version <= state.version:
            return Done(_ENCODE(state.version))
        if order.version < 1:
            return Refused(
                "version", f"version {order.version} was to be raised to, but versions begin at 1. Name one."
            )
        schema = self._check_raise(order)
        if state is None:
            state = ObjectState(schema)
        context = Context(header.time_us, header.index, header.client, order.version, (header.entropy, 0))
        try:
            at_full_depth(lambda: state.raise_version(order.version, context))
        except (MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            return _raised(error)
        self._objects[order.object] = state
        return Done(_ENCODE(order.version))

    def _check_raise(self, order: Raise) -> ClassSchema:
        """The class of an object that is to be raised. Raises IncompatibleProgram if this program lacks it."""
        schema = self._schemas.get(order.object)
        what = f"object {order.object[:80]!r} was to be raised to version {order.version}, but this node's program"
        if schema is None:
            hosted = ", ".join(sorted(self._schemas))[:200] or "none"
            raise IncompatibleProgram(
                f"{what} hosts no such object; it hosts {hosted}. Start it with the objects of the others."
            )
        self._check_program(schema, order.version, order.fingerprint, what)
        return schema

    def _check_program(self, schema: ClassSchema, version: int, fingerprint: bytes, what: str) -> None:
        if not schema.oldest <= version <= schema.version:
            raise IncompatibleProgram(
                f"{what} knows {schema.text} from version {schema.oldest} to {schema.version}. Start this node "
                f"with a program that knows version {version}."
            )
        if schema.fingerprint(version) != fingerprint:
            raise IncompatibleProgram(
                f"{what} has another {schema.text} of version {version}: a field, a default, or a command with "
                "its arguments and result differs. Leave what a version consists of as it is, add fields and "
                "commands with `since`, and start this node with the program of the others."
            )

    def _restored(self, head: ObjectHead, chunks: list[bytes]) -> ObjectState:
        schema = self._schemas.get(head.object)
        what = f"object {head.object[:80]!r} of version {head.version} was to be restored, but this node's program"
        if schema is None:
            raise ValueError(f"{what} hosts no such object. Start it with the objects of the others.")
        try:
            self._check_program(schema, head.version, head.fingerprint, what)
        except IncompatibleProgram as error:
            raise ValueError(str(error)) from None
        state = ObjectState(schema)
        try:
            state.load(head.version, head.revision, chunks)
        except ValueError as error:
            raise ValueError(f"{what} cannot read it: {error}. {_REMEDY}") from None
        return state

    def _describe(self, name: str) -> Description:
        schema, state = self._schemas[name], self._objects.get(name)
        version = 0 if state is None else state.version
        versions = range(schema.oldest, schema.version + 1)
        return Description(name, schema.text, version, schema.oldest, list(map(schema.fingerprint, versions)))


def read_head(data: bytes | None) -> ObjectsHead:
    """The first chunk of a snapshot; None: there are no objects. Raises ValueError if it is damaged."""
    if data is None:
        return ObjectsHead(_FORMAT, [])
    try:
        head = _DECODE_HEAD.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"objects were to be restored, but the head is damaged: {error}. {_REMEDY}") from None
    if head.format != _FORMAT:
        raise ValueError(f"objects of format {head.format} were to be restored by {_FORMAT}. {_REMEDY}")
    names = [each.object for each in head.objects]
    for each in head.objects:
        if names.count(each.object) > 1 or min(each.revision, each.leaves) < 0:
            raise ValueError(f"object {each.object!r} was to be restored, but it is damaged. {_REMEDY}")
    return head


def _is_raise(body: Buffer) -> bool:
    """Whether the body is a map, as `Raise` alone is."""
    return len(body) > 0 and (0x80 <= body[0] <= 0x8F or body[0] in (0xDE, 0xDF))


def _raised(error: BaseException) -> Raised:
    told = failure_of(error)
    return Raised(told.kind, told.message)
