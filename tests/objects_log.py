"""A log for tests of replicated objects: calls by name, and replicas that are fed the same entries."""

from __future__ import annotations

from typing import Any

import msgspec

from apps_log import header
from quorum.apps.batch import Refused
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
)
from quorum.apps.objects_machine import Objects
from quorum.apps.replicated_schema import schema_of
from quorum.header import Header

OBJECTS = 16


class ObjectLog:
    """Entries in order, each applied to `machine` as it is appended; `replay` applies them to another one."""

    def __init__(self, **classes: Any) -> None:
        self.classes = classes
        self.machine = Objects(classes)
        self.entries: list[tuple[Header, bytes]] = []
        for name in classes:
            self.raise_version(name)

    def append(self, body: bytes) -> list[Any]:
        index = len(self.entries) + 1
        entry = (header(index, app=OBJECTS, client=5, first_sequence=index), body)
        self.entries.append(entry)
        return decode_results(self.machine.apply(*entry).reply)

    def raise_version(self, name: str, version: int | None = None) -> Any:
        schema = schema_of(self.classes[name])
        version = version or schema.version
        (result,) = self.append(encode_raise(Raise(name, version, schema.fingerprint(version))))
        return msgspec.msgpack.decode(result.result) if isinstance(result, Done) else result

    def call(self, name: str, method: str, *args: Any, **kwargs: Any) -> Any:
        (result,) = self.append(encode_batch([self.encode(name, method, *args, **kwargs)]))
        return self.read(name, method, result)

    def ask(self, name: str, method: str, *args: Any, **kwargs: Any) -> Any:
        spec = schema_of(self.classes[name]).methods[method]
        body = encode_query([Ask(name, method, spec.since, spec.encode(args, kwargs))])
        (result,) = decode_results(self.machine.query(body))
        return self.read(name, method, result)

    def encode(self, name: str, method: str, *args: Any, **kwargs: Any) -> Call:
        spec = schema_of(self.classes[name]).methods[method]
        return Call(name, method, spec.since, spec.encode(args, kwargs))

    def read(self, name: str, method: str, result: Done | Raised | Refused) -> Any:
        if isinstance(result, Done):
            return schema_of(self.classes[name]).methods[method].result.decode(result.result)
        return result

    def replay(self, **classes: Any) -> Objects:
        machine = Objects(classes or self.classes)
        for entry in self.entries:
            machine.apply(*entry)
        return machine

    def restored(self) -> Objects:
        machine = Objects(self.classes)
        machine.restore(list(self.machine.snapshot()))
        return machine
