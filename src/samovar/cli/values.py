"""Text of the command line to values of annotated types, and results to JSON.

``reader(annotation)`` is made once a parameter; reading raises ``ValueError`` whose text says what is wrong.
Types that have no natural spelling on one line are read as JSON, or from a file with ``@file.json``.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import decimal
import enum
import inspect
import json
import math
import pathlib
import sys
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec


class Reader(NamedTuple):
    label: str  # the type, for people
    read: Callable[[str], Any]
    json: bool = False
    choices: tuple[str, ...] = ()


def reader(annotation: Any) -> Reader:
    """How to read a value of that type."""
    plain = strip(annotation)
    if plain in (inspect.Parameter.empty, Any, object):
        return Reader("JSON or text", _json_or_text, json=True)
    if isinstance(plain, str | typing.TypeVar | typing.ForwardRef):  # an annotation that cannot be resolved
        return Reader("JSON or text", _json_or_text, json=True)
    origin = typing.get_origin(plain)
    if origin in (typing.Union, types.UnionType):
        return _union(plain)
    if origin is typing.Literal:
        return _literal(typing.get_args(plain))
    if plain is None or plain is type(None):
        return Reader("null", _null)
    if plain in _SCALARS:
        return Reader(plain.__name__, _SCALARS[plain])
    if isinstance(plain, type) and origin is None:
        if issubclass(plain, enum.Enum):
            return _enum(plain)
        if issubclass(plain, pathlib.PurePath):
            return Reader("path", plain)
    return Reader(label(plain), lambda text: _from_json(text, annotation), json=True)


def strip(annotation: Any) -> Any:
    """Without ``Annotated`` and ``NewType`` around it."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):  # `type X = …`
            annotation = annotation.__value__
        else:
            return annotation


def label(annotation: Any) -> str:
    """The annotation as one would write it, without module names."""
    annotation = strip(annotation)
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if isinstance(annotation, list):
        return f"[{', '.join(map(label, annotation))}]"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(label(a) for a in arguments)
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin is not None:
        name = getattr(origin, "__name__", str(origin))
        return f"{name}[{', '.join(label(a) for a in arguments)}]" if arguments else name
    return str(getattr(annotation, "__name__", None) or annotation).replace("typing.", "")


# -- plain types


def _bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("true", "t", "1", "yes", "y", "on"):
        return True
    if lowered in ("false", "f", "0", "no", "n", "off"):
        return False
    raise ValueError("write true or false")


def _seconds(text: str) -> dt.timedelta:
    try:
        return dt.timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        raise ValueError("write a number of seconds") from None


def _null(text: str) -> None:
    if text.strip().lower() not in ("null", "none"):
        raise ValueError("write null")


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return int(text, 0)  # 0x1f, 0b101
    except ValueError:
        raise ValueError("not a whole number") from None


def _decimal(text: str) -> decimal.Decimal:
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("not a number") from None


_SCALARS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: _int,
    float: float,
    bool: _bool,
    complex: complex,
    bytes: lambda text: text.encode(),
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
    dt.time: dt.time.fromisoformat,
    dt.timedelta: _seconds,
    decimal.Decimal: _decimal,
    uuid.UUID: uuid.UUID,
}


def _enum(kind: type[enum.Enum]) -> Reader:
    def read(text: str) -> enum.Enum:
        for member in kind:
            if text in (member.name, str(member.value)):
                return member
        for member in kind:
            if text.lower() == member.name.lower():
                return member
        raise ValueError(f"choose from {', '.join(names)}")

    names = tuple(member.name for member in kind)
    return Reader(kind.__name__, read, choices=names)


def _literal(values: tuple[Any, ...]) -> Reader:
    def read(text: str) -> Any:
        for value in values:
            if text == str(value):
                return value
        raise ValueError(f"choose from {', '.join(map(str, values))}")

    return Reader(" | ".join(map(repr, values)), read, choices=tuple(map(str, values)))


def _union(annotation: Any) -> Reader:
    # Narrow types are tried before wide ones: every text is a str, most numbers are floats.
    order = {type(None): 0, bool: 1, int: 2, float: 3, str: 9}
    members = [strip(member) for member in typing.get_args(annotation)]
    readers = [reader(m) for m in sorted(members, key=lambda m: order.get(m, 5) if isinstance(m, type) else 5)]
    some_bool = bool in members and len([m for m in members if m is not type(None)]) > 1

    def read(text: str) -> Any:
        reasons = []
        for member in readers:
            if member.read is _bool and some_bool and text.strip().lower() not in ("true", "false"):
                continue  # "1" of `bool | int` is a number
            try:
                return member.read(text)
            except ValueError as error:
                if member.label != "null":
                    reasons.append(str(error))
        raise ValueError("; ".join(dict.fromkeys(reasons)))

    choices = tuple(c for member in readers for c in member.choices)
    only = [member for member in readers if member.label != "null"]
    return Reader(
        " | ".join([r.label for r in (reader(m) for m in members)]),
        read,
        json=any(member.json for member in readers),
        choices=choices if all(member.choices for member in only) else (),
    )


# -- JSON


def _text_of(text: str) -> str:
    """What ``@file`` and ``@-`` stand for."""
    if not text.startswith("@"):
        return text
    try:
        return sys.stdin.read() if text == "@-" else pathlib.Path(text[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {text[1:]}: {getattr(error, 'strerror', None) or error}") from None


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _json_or_text(text: str) -> Any:
    if text.startswith("@") and (text == "@-" or pathlib.Path(text[1:]).is_file()):
        return _loads(_text_of(text))
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _from_json(text: str, annotation: Any) -> Any:
    text = _text_of(text)
    plain = strip(annotation)
    validate = getattr(plain, "model_validate_json", None)
    if validate is not None:
        try:
            return validate(text)
        except ValueError as error:
            raise ValueError(_one_line(error)) from None
    value = _loads(text)
    try:
        if typing.get_origin(plain) is None and isinstance(plain, type) and _is_foreign(plain):
            return _foreign(plain, value)
        origin = typing.get_origin(plain)
        if isinstance(origin, type) and _is_foreign(origin):
            return _foreign(origin, value)
        return msgspec.convert(value, annotation, str_keys=True, dec_hook=_foreign)
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(_one_line(error)) from None
    except TypeError as error:  # a type that msgspec cannot describe
        raise ValueError(f"cannot make it from JSON: {_one_line(error)}") from None


def _is_foreign(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("numpy", "pandas", "polars", "pyarrow")


def _foreign(kind: Any, value: Any) -> Any:
    """A value of a class that msgspec does not know, from what JSON gave; also msgspec's hook."""
    kind = typing.get_origin(kind) or kind
    if kind in (Any, object) or (isinstance(kind, type) and isinstance(value, kind)):
        return value
    validate = getattr(kind, "model_validate", None)
    try:
        if validate is not None:
            return validate(value)
        if kind.__module__.split(".")[0] == "numpy" and kind.__name__ == "ndarray":
            import numpy  # only here: the type is there only where numpy is

            return numpy.asarray(value)
        if isinstance(value, dict) and not _is_foreign(kind) and not issubclass(kind, collections.abc.Mapping):
            return kind(**value)
        return kind(value)
    except TypeError as error:
        raise ValueError(_one_line(error)) from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def to_json(value: Any) -> str:
    """One line of JSON for any result; what has no form in JSON is given by its ``repr``."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
    except Exception:  # keys that are tuples, classes that are half encodable: the slow way, which knows everything
        plain = _slow(value, 0)
    try:
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(_slow(plain, 0), ensure_ascii=False)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        try:
            return dump(mode="json")
        except Exception:  # a model that holds what pydantic cannot write as JSON
            return dump()
    home = type(value).__module__.split(".")[0]
    if home == "pandas" and hasattr(value, "columns"):
        return value.to_dict(orient="records")
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    if home in ("numpy", "pandas", "polars", "torch") and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return list(value)
    return repr(value)


def _slow(value: Any, depth: int) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None  # JSON has no nan; null is what others write too
    if depth > 100:
        return repr(value)
    if isinstance(value, collections.abc.Mapping):
        return {k if isinstance(k, str) else str(k): _slow(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_slow(v, depth + 1) for v in value]
    try:
        made = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
    except Exception:  # nothing that we know
        return repr(value)
    return made if isinstance(made, str) else _slow(made, depth + 1)
