"""What a replicated class consists of: fields and methods, with their types resolved, and since which version.

A schema belongs to a class, or to a generic class with its arguments: `ReplicatedDict[str, int]`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from inspect import Parameter, signature
from types import FunctionType
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from quorum.apps.replicated_check import check_code
from quorum.apps.replicated_method import Command, Method
from quorum.apps.replicated_sets import check_sets
from quorum.apps.value_codec import ValueCodec
from quorum.entry import Buffer
from quorum.errors import NotReplicable

FINGERPRINT_BYTES = 16
VERSION_MAX = 1_000_000
_MISSING: Any = object()
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)


class Since(msgspec.Struct, frozen=True):
    """A default of a field that a later version of a class brought."""

    since: int
    default: Any


class FieldSchema:
    """One field of the state. `key`, `element` and `value` are set for a dict, a list or set, and a dict."""

    def __init__(self, name: str, hint: Any, default: Any, since: int, owner: str) -> None:
        self.name = name
        self.since = since
        what = f"{owner}.{name}"
        self.whole = ValueCodec(hint, what)
        self.key: ValueCodec | None = None
        self.element: ValueCodec | None = None
        self.value: ValueCodec | None = None
        origin, arguments = get_origin(hint) or hint, get_args(hint)
        if origin in (dict, collections.abc.MutableMapping):
            key, value = arguments or (Any, Any)
            self.key = ValueCodec(key, f"a key of {what}")
            self.value = ValueCodec(value, f"a value of {what}")
        elif origin in (list, collections.abc.MutableSequence) or origin in _SETS:
            self.element = ValueCodec(arguments[0] if arguments else Any, f"an element of {what}")
        self.is_set = origin in _SETS
        try:
            self.default = self.whole.settle(default, what)[0]
        except (TypeError, ValueError, OverflowError) as error:
            raise NotReplicable(
                f"{what} begins as {default!r}, but that does not fit its annotation: {error} Correct one of them."
            ) from None

    @property
    def is_container(self) -> bool:
        """Whether its parts have cells of their own."""
        return self.element is not None or self.key is not None


class MethodSchema:
    """A method with the codecs of its arguments and its result."""

    def __init__(self, method: Method[Any, Any], hints: dict[str, Any], owner: str) -> None:
        self.name = method.name
        self.function = method.function
        self.since = method.since
        self.is_command = isinstance(method, Command)
        self.what = f"{owner}.{method.name}"
        self.hints = hints
        """The types of the parameters and of the result, by their names."""
        self._signature = signature(method.function)
        parameters = list(self._signature.parameters.values())[1:]
        self._keyword_only = [each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY]
        self._positional = [each.name for each in parameters if each.kind is not Parameter.KEYWORD_ONLY]
        fields = [self._field(each, hints) for each in parameters]
        arguments = msgspec.defstruct(
            f"{method.name} arguments",
            fields,
            array_like=True,
            forbid_unknown_fields=True,
            kw_only=bool(self._keyword_only),
        )
        self._arguments = arguments
        self.arguments = ValueCodec(arguments, self.what, is_replicated=False)
        self.result = ValueCodec(hints["return"], f"the result of {self.what}", is_replicated=self.is_command)
        self.text = f"({', '.join(_text_of_parameter(each, hints, self.what) for each in parameters)})"
        """Names, types and defaults of the parameters, for people."""
        self.form = f"({', '.join(_form_of_parameter(each, hints, self.what) for each in parameters)})"
        """The same for fingerprints: defaults by their bytes, since what is shown of them differs by process."""

    @property
    def parameters(self) -> list[tuple[str, bool]]:
        """The names of the parameters, and whether they have defaults."""
        described = list(self._signature.parameters.values())[1:]
        return [(each.name, each.default is not Parameter.empty) for each in described]

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The bytes of a call's arguments. Raises TypeError where they do not fit the method."""
        try:
            if self._keyword_only:
                bound = self._signature.bind(None, *args, **kwargs).arguments
                kwargs, args = {name: value for name, value in bound.items() if name != self._self_name}, ()
            given = self._arguments(*args, **kwargs)
            data = self.arguments.encode(given)
            self.arguments.decode(data)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
            raise TypeError(
                f"{self.what} was called with arguments that do not fit: {self._named(str(error))}. It takes "
                f"{self.text}."
            ) from None
        return data

    def decode(self, data: Buffer) -> Any:
        """The arguments in `data`, for `run`. Raises msgspec.DecodeError or UnicodeDecodeError."""
        return self.arguments.decode(data)

    def run(self, instance: object, arguments: Any) -> Any:
        """Call the method with decoded arguments."""
        values = msgspec.structs.astuple(arguments)
        if not self._keyword_only:
            return self.function(instance, *values)
        cut = len(self._positional)
        named = dict(zip(self._keyword_only, values[cut:], strict=True))
        return self.function(instance, *values[:cut], **named)

    @property
    def _self_name(self) -> str:
        return next(iter(self._signature.parameters))

    def _named(self, text: str) -> str:
        """msgspec counts the arguments; people name them."""
        for place, name in enumerate((*self._positional, *self._keyword_only)):
            text = text.replace(f"`$[{place}]", f"`{name}")
        return text.rstrip(".")

    def _field(self, parameter: Parameter, hints: dict[str, Any]) -> Any:
        what = f"{parameter.name} of {self.what}"
        codec = ValueCodec(hints[parameter.name], what)
        if parameter.default is Parameter.empty:
            return (parameter.name, codec.hint)
        try:
            data, value = codec.settle(parameter.default, what)
        except (TypeError, ValueError, OverflowError) as error:
            raise NotReplicable(
                f"{what} has the default {parameter.default!r}, but that does not fit its annotation: {error} "
                "Correct one of them."
            ) from None
        if codec.is_mutable:
            return (parameter.name, codec.hint, msgspec.field(default_factory=lambda: codec.decode(data)))
        return (parameter.name, codec.hint, value)


class ClassSchema:
    """A replicated class, ready to be run. Raises NotReplicable for what cannot be replicated in it."""

    def __init__(self, cls: type, arguments: dict[Any, Any], text: str) -> None:
        self.cls = cls
        self.text = text
        self._fingerprints: dict[int, bytes] = {}
        self.version: int = cls.version  # type: ignore[attr-defined]
        self.oldest: int = cls.oldest  # type: ignore[attr-defined]
        self.fields = {field.name: field for field in self._read_fields(arguments)}
        self.methods = {method.name: method for method in self._read_methods(arguments)}
        brought: list[FieldSchema | MethodSchema] = [*self.fields.values(), *self.methods.values()]
        for each in brought:
            if not 1 <= each.since <= self.version:
                raise NotReplicable(
                    f"{text}.{each.name} is there since version {each.since}, but the class is at version "
                    f"{self.version}. Write `version = {each.since}` in the class, or correct `since`."
                )

    def fields_at(self, version: int) -> Iterator[FieldSchema]:
        """The fields of the state in a version."""
        return (field for field in self.fields.values() if field.since <= version)

    def fingerprint(self, version: int) -> bytes:
        """Names what the class is in a version: its state, its defaults and its commands. Equal on every node that
        would read and write the same; what the commands do is not in it."""
        known = self._fingerprints.get(version)
        if known is not None:
            return known
        lines = [f"{field.name}: {field.whole.text} = {field.default.hex()}" for field in self.fields_at(version)]
        lines += [
            f"{method.name}{method.form} -> {method.result.text}"
            for method in self.methods.values()
            if method.is_command and method.since <= version
        ]
        found = blake2b("\n".join(sorted(lines)).encode(), digest_size=FINGERPRINT_BYTES).digest()
        return self._fingerprints.setdefault(version, found)

    def _read_fields(self, arguments: dict[Any, Any]) -> Iterator[FieldSchema]:
        for owner in reversed(self.cls.__mro__):
            defaults: dict[str, Any] = owner.__dict__.get("_quorum_defaults", {})
            if not defaults:
                continue
            hints = _hints_of_class(owner)
            for name, default in defaults.items():
                since = 1
                if isinstance(default, Since):
                    since, default = default.since, default.default
                hint = _substituted(hints[name], _arguments_of(self.cls, owner, arguments))
                if default is _MISSING:
                    default = _empty_of(hint, f"{name_of(owner)}.{name}")
                yield FieldSchema(name, hint, default, since, name_of(self.cls))

    def _read_methods(self, arguments: dict[Any, Any]) -> Iterator[MethodSchema]:
        plain = {
            name: value
            for owner in reversed(self.cls.__mro__)
            if hasattr(owner, "_quorum_defaults")
            for name, value in vars(owner).items()
            if isinstance(value, FunctionType)
        }
        if "upgrade" in plain:
            _check_deterministic(plain["upgrade"], frozenset(), f"{name_of(self.cls)}.upgrade", plain)
        for name in dir(self.cls):
            owner = next((owner for owner in self.cls.__mro__ if name in vars(owner)), object)
            method = vars(owner).get(name)
            if not isinstance(method, Method):
                continue
            what = f"{name_of(self.cls)}.{name}"
            hints = _hints(method.function, what)
            substituted = _arguments_of(self.cls, owner, arguments)
            _check_annotated(method.function, hints, what)
            if isinstance(method, Command):
                _check_deterministic(method.function, method.allow, what, plain)
            resolved = {name: _substituted(hint, substituted) for name, hint in hints.items()}
            yield MethodSchema(method, resolved, name_of(self.cls))


def schema_of(kind: Any) -> ClassSchema:
    """The schema of a replicated class, or of a generic one with arguments. Raises NotReplicable."""
    try:
        return _schema_of(kind)
    except NameError as error:
        raise NotReplicable(
            f"the annotations of {_shown(kind)} were to be read, but {error}. Define or import that name at the "
            "top level of the module, not only for type checkers or inside a function."
        ) from None


def check_class(cls: type) -> None:
    """Raise NotReplicable for a class that cannot be replicated; its annotations may name what comes later."""
    try:
        _schema_of(cls)
    except NameError:
        pass


@lru_cache(maxsize=1024)
def _schema_of(kind: Any) -> ClassSchema:
    cls, given = get_origin(kind) or kind, get_args(kind)
    if not isinstance(cls, type) or not hasattr(cls, "_quorum_defaults"):
        if hasattr(type(kind), "_quorum_defaults"):
            raise NotReplicable(
                f"an instance of {name_of(type(kind))} was to be replicated, but every node makes its own. Give "
                "the class."
            )
        raise NotReplicable(
            f"{kind!r} was to be replicated, but it is no replicated class. Derive it from quorum.Replicated."
        )
    parameters = getattr(cls, "__parameters__", ())
    arguments = dict(zip(parameters, given, strict=bool(given)))
    name = name_of(cls) + (f"[{', '.join(map(_shown, given))}]" if given else "")
    return ClassSchema(cls, arguments, name)


def _shown(hint: Any) -> str:
    return name_of(hint) if isinstance(hint, type) and not get_args(hint) else repr(hint)


def name_of(cls: type) -> str:
    """The name of a class, for messages."""
    return cls.__qualname__.rpartition("<locals>.")[2]


def default_of(value: Any) -> Any:
    """What a default in a class body stands for: `msgspec.field` and `dataclasses.field` are looked into."""
    if isinstance(value, Since):
        return Since(value.since, default_of(value.default))
    if isinstance(value, dataclasses.Field):
        if value.default is not dataclasses.MISSING:
            return value.default
        return _MISSING if value.default_factory is dataclasses.MISSING else value.default_factory()
    if type(value).__name__ == "Field" and type(value).__module__.startswith("msgspec"):
        if value.default is not msgspec.NODEFAULT:
            return value.default
        return _MISSING if value.default_factory is msgspec.NODEFAULT else value.default_factory()
    return value


def missing_default() -> Any:
    """Stands for a field without a default."""
    return _MISSING


def is_constant(hint: Any) -> bool:
    """Whether an annotation, perhaps still text, says that a name is no state."""
    if isinstance(hint, str):
        name = hint.split("[")[0].rsplit(".", 1)[-1].strip()
        return name in ("ClassVar", "Final")
    return hint in (ClassVar, Final) or get_origin(hint) in (ClassVar, Final)


def _empty_of(hint: Any, what: str) -> Any:
    origin = get_origin(hint) or hint
    if origin in (dict, list, set):
        return origin()
    if type(None) in get_args(hint) or hint is None:
        return None
    raise NotReplicable(
        f"{what} has no default, but every replica must begin with the same state. Write one: "
        f"`{what.rsplit('.', maxsplit=1)[-1]}: ... = ...`."
    )


def _check_deterministic(function: Any, allow: frozenset[str], what: str, plain: dict[str, FunctionType]) -> None:
    check_code(function, allow, what, plain)
    if "set" not in allow:
        check_sets(function, what)


def _hints_of_class(cls: type) -> dict[str, Any]:
    """The annotations of a class; one that was made by `exec` is in no module, but where its methods are."""
    try:
        return _hints(cls, name_of(cls))
    except NameError:
        for value in vars(cls).values():
            function = value.function if isinstance(value, Method) else value
            if isinstance(function, FunctionType):
                return _hints(cls, name_of(cls), function.__globals__)
        raise


def _hints(of: Any, what: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return get_type_hints(of, names, include_extras=True)
    except NameError:
        raise
    except Exception as error:
        raise NotReplicable(
            f"the annotations of {what} were to be read, but one of them means nothing: {error}. Correct it."
        ) from None


def _check_annotated(function: Callable[..., Any], hints: dict[str, Any], what: str) -> None:
    parameters = list(signature(function).parameters.values())
    if not parameters:
        raise NotReplicable(f"{what} takes no parameter, but a method needs its object. Write `self` first.")
    for parameter in parameters[1:]:
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            raise NotReplicable(
                f"{what} takes any number of arguments ({parameter}), but what is sent has a fixed form. Take a "
                "list or a dict."
            )
        if parameter.name not in hints:
            raise NotReplicable(
                f"{what} takes `{parameter.name}` without an annotation, but arguments are encoded and checked by "
                f"their types. Write `{parameter.name}: ...`."
            )
        if parameter.name == "consistency":
            raise NotReplicable(
                f"{what} takes `consistency`, but callers say with that word how to read. Choose another name."
            )
    if "return" not in hints:
        raise NotReplicable(
            f"{what} does not say what it returns, but results are encoded by their types. Write `-> None`, or "
            "the type."
        )


def _text_of_parameter(parameter: Parameter, hints: dict[str, Any], what: str) -> str:
    codec = ValueCodec(hints[parameter.name], what)
    if parameter.default is Parameter.empty:
        return f"{parameter.name}: {codec.text}"
    return f"{parameter.name}: {codec.text} = {parameter.default!r}"


def _form_of_parameter(parameter: Parameter, hints: dict[str, Any], what: str) -> str:
    codec = ValueCodec(hints[parameter.name], what)
    if parameter.default is Parameter.empty:
        return f"{parameter.name}: {codec.text}"
    return f"{parameter.name}: {codec.text} = {codec.settle(parameter.default, what)[0].hex()}"


def _arguments_of(cls: type, owner: type, arguments: dict[Any, Any]) -> dict[Any, Any]:
    """What the type variables of `owner`, a base of `cls`, stand for when those of `cls` stand for `arguments`."""
    if cls is owner:
        return arguments
    for base in getattr(cls, "__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if origin is Generic or not isinstance(origin, type) or not issubclass(origin, owner):
            continue
        given = [_substituted(argument, arguments) for argument in get_args(base)]
        return _arguments_of(origin, owner, dict(zip(getattr(origin, "__parameters__", ()), given)))
    return {}


def _substituted(hint: Any, arguments: dict[Any, Any]) -> Any:
    """The type with its variables replaced; one without an argument by its bound, or Any."""
    if isinstance(hint, TypeVar):
        found = arguments.get(hint, _MISSING)
        return (Any if hint.__bound__ is None else hint.__bound__) if found is _MISSING else found
    parts = get_args(hint)
    if not getattr(hint, "__parameters__", ()) or not parts:
        return hint
    replaced = tuple(_substituted(part, arguments) for part in parts)
    origin = get_origin(hint)
    if origin is Annotated:
        return Annotated[replaced]
    if origin is Union or type(hint).__name__ == "UnionType":
        return Union[replaced]  # noqa: UP007
    return origin[replaced] if origin is not None else hint
