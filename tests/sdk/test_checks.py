"""Values against annotations: what passes, what does not, and what the message says."""

from __future__ import annotations

import dataclasses
import enum
import typing
import uuid
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar, Union

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest

from samovar.errors import RuntimeDataValidationError
from samovar.sdk import checks

if typing.TYPE_CHECKING:
    from elsewhere import Unknown


class Number(enum.IntEnum):
    ONE = 1


class Color(str, enum.Enum):  # noqa: UP042 - the way of many scripts
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int


class Pair(NamedTuple):
    a: int
    b: str


class Row(TypedDict):
    a: int


class Record(msgspec.Struct):
    a: int


class Model(pydantic.BaseModel):
    a: int


class Plain:
    pass


class Loud(typing.Protocol):
    def shout(self) -> str: ...


UserId = NewType("UserId", int)
T = TypeVar("T")

# ruff: noqa: UP007, UP045 - both notations are what is tested
GOOD: list[tuple[Any, Any]] = [
    (int, 1), (int, True), (int, np.int64(3)), (int, Number.ONE),
    (float, 1.5), (float, 1), (float, np.float64(1)), (float, np.float32(1)), (complex, 1j), (complex, 1),
    (str, "a"), (str, Color.RED), (bool, True), (bool, np.bool_(True)), (bytes, b"a"), (bytes, bytearray(b"a")),
    (bytearray, bytearray(b"a")), (memoryview, memoryview(b"a")),
    (datetime, datetime(2020, 1, 1)), (date, date(2020, 1, 1)), (uuid.UUID, uuid.uuid4()), (Decimal, Decimal(1)),
    (None, None), (Any, object()), (object, 1), (T, 1),
    (list, [1, "a"]), (list[int], [1, 2]), (list[float], [1, np.float64(2)]), (list[int], []), (list[int], deque([1])),
    (dict, {}), (dict[str, int], {"a": 1}), (dict[int, str], {1: "a"}), (dict[str, int], OrderedDict(a=1)),
    (dict[str, Any], {"a": object()}), (Mapping[str, int], {"a": 1}), (Sequence[int], (1, 2)), (Sequence[str], ["a"]),
    (tuple[int, str], (1, "a")), (tuple[int, ...], (1, 2, 3)), (tuple[int, ...], ()), (tuple, (1,)),
    (set[int], {1}), (frozenset[str], frozenset("a")),
    (Optional[int], None), (int | None, 1), (Union[int, str], "a"), (Point | Model | None, Model(a=1)),
    (list[Point | Plain], [Point(1), Plain()]), (list[list[int] | None], [None, [1]]),
    (dict[str, list[Point]], {"a": [Point(1)]}), (Annotated[int, "unit"], 1),
    (Point, Point(1)), (Pair, Pair(1, "a")), (Row, {"a": 1}), (Record, Record(1)), (Model, Model(a=1)),
    (Plain, Plain()), (Number, Number.ONE), (Color, Color.RED), (Path, Path("a")), (UserId, 3),
    (Literal["a", 1], "a"), (Callable[[int], int], abs), (type[int], int), (type, str), (Loud, Plain()),
    (np.ndarray, np.zeros(2)), (pd.DataFrame, pd.DataFrame()), (int | np.ndarray, np.zeros(2)),
]  # fmt: skip

BAD: list[tuple[Any, Any, str]] = [
    (int, "1", "expects int, got str"), (int, 1.5, "expects int, got float"), (int, None, "expects int, got None"),
    (float, "1", "expects float, got str"), (str, 1, "expects str, got int"), (bool, 1, "expects bool, got int"),
    (bytes, "a", "expects bytes, got str"), (datetime, "2020-01-01", "expects datetime, got str"),
    (uuid.UUID, str(uuid.uuid4()), "expects UUID, got str"), (None, 1, "expects None, got int"),
    (Decimal, "1", "expects Decimal, got str"),
    (list[int], "ab", "expects list[int], got str"), (list[int], {"a": 1}, "expects list[int], got dict"),
    (dict[str, int], [1], "expects dict[str, int], got list"), (list, 1, "expects list, got int"),
    (int | str, 1.5, "expects int | str, got float"), (Optional[int], "a", "expects int | None, got str"),
    (tuple[int, str], (1,), "expects tuple[int, str], got tuple"),
    (Point, {"x": 1}, "expects Point, got dict"), (Pair, (1, "a"), "expects Pair, got tuple"),
    (Record, {"a": 1}, "expects Record, got dict"), (Model, {"a": 1}, "expects Model, got dict"),
    (Number, 1, "expects Number, got int"), (Color, "red", "expects Color, got str"),
    (Plain, 1, "expects Plain, got int"), (Path, "a", "expects Path, got str"),
    (Point | Plain, 1, "expects Point | Plain, got int"), (np.ndarray, [1], "expects ndarray, got list"),
    (pd.DataFrame, {}, "expects DataFrame, got dict"), (Row, [1], "expects Row, got list"),
    (Literal["a", "b"], "c", "expects one of 'a', 'b', got str"), (UserId, "a", "expects int, got str"),
    (Annotated[int, "unit"], "a", "expects int, got str"), (Callable[[int], int], 1, "expects Callable"),
    (type[int], 1, "expects type[int], got int"),
]  # fmt: skip

DEEP: list[tuple[Any, Any, str]] = [
    (list[float], [1.0, "a"], "'data[1]' expects float, got str"),
    (dict[str, list[int]], {"a": [1, None]}, "\"data['a'][1]\" expects int, got None"),
    (dict[str, int], {1: 1}, "'data[1]' expects str, got int"),
    (tuple[int, str], (1, 2), "'data[1]' expects str, got int"),
    (tuple[int, ...], (1, "a"), "'data[1]' expects int, got str"),
    (list[Point], [Point(1), {"x": 1}], "'data[1]' expects Point, got dict"),
    (list[int] | None, [1, "a"], "'data[1]' expects int, got str"),
    (Sequence[int], [1, "a"], "'data[1]' expects int, got str"),
]


def prepare(annotation: Any, **default: Any) -> Callable[[dict[str, Any]], None]:
    def function(data): ...

    function.__annotations__ = {"data": annotation}
    return checks.for_inputs("ml.predict", function, ("data",), default)


def check(annotation: Any, value: Any, **default: Any) -> None:
    prepare(annotation, **default)({"data": value})


@pytest.mark.parametrize(("annotation", "value"), GOOD, ids=lambda each: repr(each)[:40])
def test_good_values_pass(annotation: Any, value: Any) -> None:
    check(annotation, value)
    checks.compare(value, annotation, "data")  # the exact step alone says the same


@pytest.mark.parametrize(("annotation", "value", "message"), BAD, ids=lambda each: repr(each)[:40])
def test_bad_values_are_named(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(RuntimeDataValidationError) as refused:
        check(annotation, value)
    assert str(refused.value).startswith(f"task 'ml.predict': parameter 'data' {message}")


@pytest.mark.parametrize(("annotation", "value", "message"), DEEP, ids=lambda each: repr(each)[:40])
def test_the_place_inside_is_named(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(RuntimeDataValidationError) as refused:
        check(annotation, value)
    assert str(refused.value) == f"task 'ml.predict': parameter {message}"


QUICK: list[tuple[Any, Any]] = [
    (int, 1), (float, 1), (list[float], [1.0]), (dict[str, Any], {"a": 1}), (int | None, None), (Plain, Plain()),
    (np.ndarray, np.zeros(1)), (Point, Point(1)), (list[Point], [Point(1)]), (Model, Model(a=1)),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), QUICK, ids=lambda each: repr(each)[:40])
def test_the_quick_step_takes_the_common_types_alone(
    annotation: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(annotation)
    monkeypatch.setattr(checks, "compare", lambda *_: pytest.fail("the exact step was needed"))
    prepared({"data": value})


def test_defaults_need_not_fit() -> None:
    check(int, None, data=None)
    check(str, 5, data=5)
    with pytest.raises(RuntimeDataValidationError, match=r"expects int"):
        check(int, "a", data=None)


def test_string_annotations_that_are_not_found_are_not_checked() -> None:
    def function(a: Unknown, b: int, c, d: AsyncIterator[int] | None = None) -> Unknown: ...

    assert checks.hints(function)["b"] is int
    inputs = checks.for_inputs("t.f", function, ("a", "b", "c", "d"), {"d": None})
    inputs({"a": 1, "b": 1, "c": 1, "d": None})
    with pytest.raises(RuntimeDataValidationError, match="parameter 'b' expects int, got str"):
        inputs({"a": 1, "b": "x", "c": 1, "d": None})
    checks.for_output("t.f", function)(object())


def test_outputs() -> None:
    def scores() -> dict[str, float]: ...

    def nothing() -> None: ...

    check_scores = checks.for_output("ml.scores", scores)
    check_scores({"a": 1})
    with pytest.raises(RuntimeDataValidationError) as refused:
        check_scores({"a": "b"})
    assert str(refused.value) == "task 'ml.scores': the result['a'] expects float, got str"
    with pytest.raises(RuntimeDataValidationError) as refused:
        check_scores(1)
    assert str(refused.value) == "task 'ml.scores': the result expects dict[str, float], got int"
    checks.for_output("ml.nothing", nothing)(None)
    checks.for_output("ml.free", lambda: 1)(object())
