"""Values against annotations, before anything is queued and before anything is stored.

Two steps. The quick one is ``msgspec.convert``, a walk in C over everything that msgspec understands as Python
does; what it refuses goes to the exact one (``mismatch``), which is more lenient (any ``numbers.Real`` is a float,
any mapping a dict) and names the place. So the quick step may refuse too much, but must never accept too much.
The converted copies are thrown away: a task gets the very objects that were passed.

Prepared once a task, at its first call. An annotation that cannot be understood is not checked.
"""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import functools
import inspect
import numbers
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from samovar.errors import RuntimeDataValidationError

_LEAVES = (
    bool, int, float, str, bytes, bytearray, memoryview, datetime.datetime, datetime.date, datetime.time,
    datetime.timedelta, uuid.UUID, decimal.Decimal,
)  # fmt: skip
_PLAIN = (bool, int, float, str, None, type(None))
_NATIVE = [leaf for leaf in _LEAVES if leaf not in (bool, int, float, str)]
_CONTAINERS = (list, dict, tuple, set, frozenset)
_SERIES = (list, tuple, set, frozenset, collections.deque, collections.abc.Sequence, collections.abc.Set)
_TEXT = (str, bytes, bytearray, memoryview)
_LENIENT: dict[type, Any] = {
    int: numbers.Integral,
    float: numbers.Real,
    complex: numbers.Complex,
    bytes: _TEXT[1:],
}


class Mismatch(Exception):
    """The value at ``path`` is not what ``expected`` says."""

    def __init__(self, path: str, expected: Any, value: Any) -> None:
        super().__init__(path)
        self.path = path
        self.expected = expected
        self.value = value

    def __str__(self) -> str:
        got = "None" if self.value is None else type(self.value).__name__
        return f"expects {describe(self.expected)}, got {got}"


def for_inputs(
    task: str, function: Callable[..., Any], names: tuple[str, ...], defaults: dict[str, Any]
) -> Callable[[dict[str, Any]], None]:
    """A check of the inputs of a task; it raises RuntimeDataValidationError."""
    found = hints(function)
    wanted = {name: found[name] for name in names if not _is_free(found.get(name, Any))}
    for name in wanted:
        if name in defaults and defaults[name] is None:
            wanted[name] = typing.Union.__getitem__((wanted[name], None))
    if not wanted:
        return lambda inputs: None
    quick = _struct({name: _quick(annotation) for name, annotation in wanted.items()})
    convert = _converter(*wanted.values())

    def check(inputs: dict[str, Any]) -> None:
        if quick is not None:
            try:
                convert(inputs, quick)
                return
            except _REFUSED:
                pass
        for name, annotation in wanted.items():
            value = inputs[name]
            if name in defaults and value is defaults[name]:
                continue
            try:
                compare(value, annotation, name)
            except Mismatch as wrong:
                raise RuntimeDataValidationError(f"task {task!r}: parameter {wrong.path!r} {wrong}") from None

    return check


def for_output(task: str, function: Callable[..., Any]) -> Callable[[Any], None]:
    """A check of the result of a task; it raises RuntimeDataValidationError."""
    annotation = hints(function).get("return", Any)
    if _is_free(annotation):
        return lambda value: None
    quick = _quick(annotation)
    convert = _converter(annotation)

    def check(value: Any) -> None:
        try:
            convert(value, quick)
            return
        except _REFUSED:
            pass
        try:
            compare(value, annotation, "")
        except Mismatch as wrong:
            raise RuntimeDataValidationError(f"task {task!r}: the result{wrong.path} {wrong}") from None

    return check


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, each resolved by itself: one that is not found does not hide the others."""
    namespace = getattr(function, "__globals__", {})
    found = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found.update(typing.get_type_hints(holder, namespace, {}, include_extras=True))
        except Exception:  # whatever an annotation raises: then it is no type that could be checked
            found[name] = Any
    return found


def _is_free(annotation: Any) -> bool:
    return annotation is Any or annotation is object or annotation is inspect.Parameter.empty


# the quick step: annotations as msgspec takes them


_REFUSED = (msgspec.ValidationError, TypeError, ValueError, OverflowError)


def _converter(*annotations: Any) -> Callable[[Any, Any], Any]:
    """``msgspec.convert``; naming the types that it takes as they are costs more than the rest of a small check."""
    if all(_is_plain(annotation) for annotation in annotations):
        return msgspec.convert
    return functools.partial(msgspec.convert, builtin_types=_NATIVE)


def _is_plain(annotation: Any) -> bool:
    """Made of numbers, strings and containers of them alone."""
    if annotation in _PLAIN:
        return True
    arguments = typing.get_args(annotation)
    of_plain = typing.get_origin(annotation) in (*_CONTAINERS, typing.Union, types.UnionType)
    return of_plain and all(argument is Ellipsis or _is_plain(argument) for argument in arguments)


class _Marker(type):
    """A class whose instances are whatever ``accepts`` says; to msgspec just a custom class."""

    accepts: Callable[[Any], bool]

    def __instancecheck__(cls, value: Any) -> bool:
        return cls.accepts(value)


def _marker(annotation: Any) -> type:
    def accepts(value: Any) -> bool:
        try:
            compare(value, annotation, "")
        except Mismatch:
            return False
        return True

    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        plain = annotation

        def is_instance(value: Any) -> bool:
            return isinstance(value, plain) or accepts(value)

        return _Marker(annotation.__name__, (), {"accepts": staticmethod(is_instance)})
    return _Marker("Other", (), {"accepts": staticmethod(accepts)})


def _quick(annotation: Any) -> Any:
    """A type that msgspec can convert to and that accepts nothing which ``compare`` refuses."""
    translated = _translate(annotation)
    return translated if _is_usable(translated) else _marker(annotation)


def _translate(annotation: Any) -> Any:
    if _is_free(annotation) or isinstance(annotation, typing.TypeVar):
        return Any
    if annotation is None or annotation is type(None):
        return None
    if annotation in _LEAVES or annotation in _CONTAINERS:
        return annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _translate(arguments[0])
    if origin in (typing.Union, types.UnionType):
        union: Any = typing.Union.__getitem__(tuple(_translate(argument) for argument in arguments))
        return union if _is_usable(union) else _marker(annotation)
    if origin in _CONTAINERS and arguments:
        inner = tuple(argument if argument is Ellipsis else _translate(argument) for argument in arguments)
        container = origin[inner]
        return container if _is_usable(container) else _marker(annotation)
    return _marker(annotation)


def _is_usable(translated: Any) -> bool:
    """Whether msgspec takes this type at all."""
    try:
        msgspec.convert(None, translated, builtin_types=_NATIVE)
    except msgspec.ValidationError:
        return True
    except Exception:  # TypeError for what it refuses; anything else is no better
        return False
    return True


def _struct(fields: dict[str, Any]) -> type[msgspec.Struct] | None:
    try:
        made = msgspec.defstruct("Inputs", list(fields.items()))
    except Exception:  # a parameter name that a struct cannot have: the exact step does it alone
        return None
    return made if _is_usable(made) else None


# the exact step


def compare(value: Any, annotation: Any, path: str) -> None:
    """Raise Mismatch unless ``value`` is what ``annotation`` says."""
    if _is_free(annotation) or isinstance(annotation, typing.TypeVar | typing.ParamSpec):
        return
    if annotation is None or annotation is type(None):
        if value is not None:
            raise Mismatch(path, annotation, value)
        return
    if isinstance(annotation, typing.NewType):
        return compare(value, annotation.__supertype__, path)
    origin = typing.get_origin(annotation)
    if origin is None:
        return _compare_class(value, annotation, annotation, path)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return compare(value, arguments[0], path)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise Mismatch(path, annotation, value)
        return
    if origin in (typing.Union, types.UnionType):
        return _compare_union(value, annotation, arguments, path)
    if origin is type:
        return _compare_class(value, type, annotation, path)
    _compare_class(value, origin, annotation, path)
    _compare_items(value, origin, arguments, path)


def _compare_class(value: Any, expected: Any, annotation: Any, path: str) -> None:
    if not isinstance(expected, type):
        return  # a special form that is no class: not checked
    if expected is tuple and _is_series(value):
        return
    if issubclass(expected, collections.abc.Mapping | dict) and expected in (dict, collections.abc.Mapping):
        expected = collections.abc.Mapping
    elif expected in (list, set, frozenset) and _is_series(value):
        return
    elif typing.is_typeddict(expected):
        expected = collections.abc.Mapping
    elif expected is bool and type(value).__name__ in ("bool", "bool_"):
        return
    try:
        fits = isinstance(value, _LENIENT.get(expected, expected))
    except TypeError:  # a protocol that cannot be asked
        return
    if not fits:
        raise Mismatch(path, annotation, value)


def _is_series(value: Any) -> bool:
    return isinstance(value, _SERIES) and not isinstance(value, _TEXT)


def _compare_union(value: Any, annotation: Any, arguments: tuple[Any, ...], path: str) -> None:
    wrong: list[Mismatch] = []
    for argument in arguments:
        try:
            return compare(value, argument, path)
        except Mismatch as mismatch:
            wrong.append(mismatch)
    deeper = [mismatch for mismatch in wrong if mismatch.path != path]
    raise deeper[0] if len(deeper) == 1 else Mismatch(path, annotation, value)


def _compare_items(value: Any, origin: Any, arguments: tuple[Any, ...], path: str) -> None:
    if isinstance(value, collections.abc.Mapping) and len(arguments) == 2:
        for key, item in value.items():
            compare(key, arguments[0], f"{path}[{key!r}]")
            compare(item, arguments[1], f"{path}[{key!r}]")
        return
    if not _is_series(value):
        return
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        if len(value) != len(arguments):
            raise Mismatch(path, types.GenericAlias(tuple, arguments), value)
        for position, (item, argument) in enumerate(zip(value, arguments, strict=True)):
            compare(item, argument, f"{path}[{position}]")
        return
    if arguments and isinstance(origin, type) and issubclass(origin, collections.abc.Iterable):
        for position, item in enumerate(value):
            compare(item, arguments[0], f"{path}[{position}]")


def describe(annotation: Any) -> str:
    """An annotation as its author would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Ellipsis:
        return "..."
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(describe(argument) for argument in arguments)
    if origin is typing.Annotated:
        return describe(arguments[0])
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    name = getattr(origin or annotation, "__name__", None) or str(annotation)
    return f"{name}[{', '.join(describe(argument) for argument in arguments)}]" if arguments else str(name)
