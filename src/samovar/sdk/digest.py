"""A digest of a value that is the same in every process for equal values: what keys of caches are made from.

Pickled bytes will not do: they depend on the order of sets and dicts and on which equal strings are one object. So the
digest follows the structure: plain values by type and content, containers by what is in them, arrays by their elements,
and every other object by what ``pickle`` would rebuild it from. Values that differ in type differ, so ``1`` is not
``1.0``: the worst that comes of it is a call too many, never a wrong result.
"""

from __future__ import annotations

import ast
import copyreg
import dataclasses
import enum
import functools
import hashlib
import inspect
import struct
import sys
import textwrap
import types
from collections.abc import Iterable
from pickle import PickleBuffer
from typing import Any

from samovar.errors import InitializationError
from samovar.sdk import bundle

_NUMPY = "numpy"


class NoDigest(Exception):
    """There is none that would be the same in every process; the text says of what."""


def digest(value: Any) -> bytes:
    """16 bytes. NoDigest."""
    try:
        return _hash(_Walk().of(value))
    except RecursionError:
        raise NoDigest("it is nested too deeply") from None


@functools.lru_cache(maxsize=1024)
def source_of(function: Any) -> str:
    """The source of a function or class without comments and layout. OSError: there is none to read."""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(function))))
    except (SyntaxError, TypeError) as error:
        raise OSError(f"the source of {function!r} cannot be read: {error}") from error


def name_of(thing: Any) -> str:
    """Module and name of a function or class, as a replica knows them. NoDigest: no module has it."""
    module, qualname = getattr(thing, "__module__", None) or "builtins", thing.__qualname__
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if getattr(found, "fn", found) is not thing:  # a task stands in the place of its function
        raise NoDigest(f"{module}.{qualname} is not defined at the top level of a module")
    try:
        return f"{bundle.module_of(module)}.{qualname}"
    except InitializationError:  # an interactive session, whose replicas are its own
        return f"{module}.{qualname}"


class _Walk:
    """Through one value. ``of`` gives bytes that say where they end: content where it is short, else a digest."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, bytes]] = {}  # by id, with the object kept alive
        self._open: set[int] = set()  # that contain what is looked at

    def of(self, value: Any) -> bytes:
        kind = type(value)
        if kind is str:
            return _sized(b"s", value.encode("utf-8", "surrogatepass"))
        if kind is int:
            return _sized(b"i", str(value).encode() if abs(value) < 1 << 4000 else hex(value).encode())
        if kind is float:
            return b"f" + (struct.pack(">d", value) if value == value else b"nan     ")
        if value is None or value is True or value is False or value is ... or value is NotImplemented:
            return _sized(b"c", repr(value).encode())
        if kind is bytes:
            return _sized(b"b", value) if len(value) < 64 else b"B" + _hash(value)
        return self._compound(value)

    def _compound(self, value: Any) -> bytes:
        """Each object once, however often it is met."""
        if (known := self._known.get(id(value))) is not None:
            return known[1]
        if id(value) in self._open:
            raise NoDigest(f"a {type(value).__name__} contains itself")
        self._open.add(id(value))
        tag, *parts = self._parts(value)
        made: bytes = tag + _hash(*(_sized(b"", part) if isinstance(part, bytes) else part for part in parts))
        self._open.discard(id(value))
        self._known[id(value)] = (value, made)
        return made

    def _parts(self, value: Any) -> Iterable[Any]:
        kind = type(value)
        if kind is list or kind is tuple:
            return (b"l" if kind is list else b"t", *map(self.of, value))
        if kind is dict:
            return (b"d", *self._pairs(value))
        if kind is set or kind is frozenset:
            return (b"e" if kind is set else b"z", *sorted(map(self.of, value)))
        if kind is bytearray or kind is memoryview:
            return (b"y", kind.__name__.encode(), bytes(value))
        if isinstance(value, enum.Enum):
            return (b"n", self._name(kind), self.of(value.name if value.name is not None else value.value))
        if isinstance(value, type):
            return (b"T", self._name(value))
        if isinstance(value, types.FunctionType):
            return (b"F", self._name(value), self._source(value))
        if kind.__module__.partition(".")[0] == _NUMPY and kind.__name__ == "ndarray":
            return (b"a", *self._array(value))
        if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value)]
            return (b"D", self._name(kind), *self._pairs({name: getattr(value, name, None) for name in fields}))
        if hasattr(kind, "__pydantic_fields__"):
            state = (value.__dict__, value.__pydantic_extra__, value.__pydantic_private__)
            return (b"P", self._name(kind), *map(self.of, state))
        return (b"o", *self._rebuilt(value))

    def _pairs(self, mapping: dict[Any, Any]) -> list[bytes]:
        return sorted(self.of(key) + self.of(item) for key, item in mapping.items())

    def _name(self, thing: Any) -> bytes:
        return name_of(thing).encode()

    def _source(self, function: Any) -> bytes:
        try:
            return source_of(function).encode()
        except OSError as error:
            raise NoDigest(str(error)) from None

    def _array(self, value: Any) -> Iterable[Any]:
        """By its elements, however they lie in memory."""
        yield self.of((value.dtype.str, str(value.dtype.descr), value.shape))
        if value.dtype.hasobject:
            yield self.of(value.tolist())
        elif value.size:
            flat = sys.modules[_NUMPY].ascontiguousarray(value)
            yield memoryview(flat.reshape(-1).view("u1"))

    def _rebuilt(self, value: Any) -> Iterable[Any]:
        """As ``pickle`` would: the function and its arguments, the state, the items."""
        if isinstance(value, PickleBuffer):
            yield value.raw()
            return
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            made = reduce(value) if reduce is not None else value.__reduce_ex__(5)
        except NoDigest:
            raise
        except Exception as error:
            raise NoDigest(f"{type(value).__name__}: {error}") from error
        if isinstance(made, str):
            yield f"{type(value).__module__}.{made}".encode()
            return
        function, arguments, *rest = made
        yield self._callable(function)
        yield self.of(arguments)
        for position, part in enumerate(rest[:3]):  # the state, then iterators over items and over pairs
            yield self.of(part if position == 0 or part is None else list(part))

    def _callable(self, function: Any) -> bytes:
        if isinstance(function, types.FunctionType | types.BuiltinFunctionType | type):
            module = getattr(function, "__module__", None) or "builtins"
            return f"{module}.{function.__qualname__}".encode()
        return self.of(function)


def _hash(*parts: bytes | memoryview) -> bytes:
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        made.update(part)
    return made.digest()


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + struct.pack(">Q", len(content)) + content
