"""Equal values have one digest in every process, and different ones differ."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import os
import pathlib
import subprocess
import sys
import uuid
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.sdk.digest import NoDigest, digest


class Colour(enum.Enum):
    RED = 1


class Whole(int):
    pass


class Pair(NamedTuple):
    a: int
    b: str


@dataclasses.dataclass
class Point:
    x: float
    tags: set[str]

    @functools.cached_property
    def size(self) -> int:
        return len(self.tags)


class Model(pydantic.BaseModel):
    name: str = "n"
    points: list[int] = []


def helper() -> int:
    return 1


def values() -> list[Any]:
    """No two are equal."""
    words = [f"word {number}" for number in range(50)]
    return [
        *(
            None,
            True,
            False,
            1,
            2,
            1.0,
            -0.0,
            0.0,
            float("nan"),
            1j,
            2**5000,
            -(2**5000),
            "1",
            b"1",
            "",
            b"x" * 100,
            ...,
        ),
        *([], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset([1]), [[]], [1, 2], [2, 1], [[1], 2], [1, [2]]),
        *({"a": 1, "b": 2}, {"a": 2, "b": 1}, {1: "a"}, collections.OrderedDict(a=1), collections.Counter("aab")),
        *(set(words), dict.fromkeys(words), bytearray(b"1"), memoryview(b"1"), range(3), Whole(1), Pair(1, "a")),
        *(Colour.RED, Colour, int, helper, len, Point(1.0, {"a", "b"}), Point(1.0, {"a"}), Model(), Model(points=[1])),
        *(pathlib.PurePosixPath("/a"), decimal.Decimal("1.0"), uuid.UUID(int=1), datetime.date(2020, 1, 1)),
        *(datetime.timedelta(1), functools.partial(helper), functools.partial(helper, 1), collections.deque([1])),
        *(np.arange(6), np.arange(6.0), np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.array(3.0)),
        *(np.float64(1), np.float32(1), np.array(["2020-01-01"], "M8[D]"), np.array([1, "a"], dtype=object)),
        *(np.zeros(2, [("a", "i4")]), np.zeros(2, [("b", "i4")]), np.zeros(0), np.zeros((0, 1))),
        *(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pd.DataFrame({"a": [1, 3], "b": ["x", "y"]}), pd.Series([1.0])),
    ]


def test_values_that_differ_have_different_digests() -> None:
    digests = [digest(value) for value in values()]
    assert len(set(digests)) == len(digests)
    assert {len(each) for each in digests} == {16}


def test_the_digests_are_those_of_every_process() -> None:
    program = "from tests.sdk.test_digest import *\nprint(*(digest(value).hex() for value in values()), sep='\\n')"
    root = pathlib.Path(__file__).parents[2]
    said = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert said[0] == said[1] == [digest(value).hex() for value in values()]


def test_equal_values_that_came_about_differently_have_one_digest() -> None:
    used = Point(1.0, {"a"})
    assert used.size == 1
    frame = pd.DataFrame({"a": [1, 2]})
    frame.describe()
    text = "".join(["a", "bc"])
    array = np.arange(6).reshape(2, 3)
    same: list[tuple[Any, Any]] = [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([text, text], ["abc", "".join(["ab", "c"])]),
        (used, Point(1.0, {"a"})),
        (Model(), Model(name="n")),
        (array.T, np.ascontiguousarray(array.T)),
        (np.arange(10)[::2], np.array([0, 2, 4, 6, 8])),
        (frame, pd.DataFrame({"a": [1, 2]})),
        (float("nan"), -float("nan")),
        ([array, array], [array, array.copy()]),
    ]
    for one, other in same:
        assert digest(one) == digest(other)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(json_like)
def test_the_digest_is_that_of_a_copy(value: Any) -> None:
    copies = {"dict": lambda d: dict(reversed(d.items())), "list": list, "tuple": tuple}
    copy = copies.get(type(value).__name__, lambda same: same)(value)
    assert digest(copy) == digest(value)


class Silent:
    def __reduce__(self) -> str:
        raise ValueError("it will not say")


def test_what_has_no_digest_says_so() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    def local() -> None: ...

    for value, why in (
        (lambda: 1, "not defined at the top level"),
        (local, "not defined at the top level"),
        (loop, "contains itself"),
        (deep, "nested too deeply"),
        (Silent(), "it will not say"),
        ((number for number in ()), "generator"),
    ):
        with pytest.raises(NoDigest, match=why):
            digest(value)
