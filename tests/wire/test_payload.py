"""Values there and back; what does not pickle plainly, what is large, what fails."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samovar import errors
from samovar.model import Failure
from samovar.wire import payload
from samovar.wire.blobs import Blobs


def there_and_back(value: Any, folder: Path, consume: bool = True) -> Any:
    body, blobs = payload.encode(value, Blobs(str(folder)))
    return payload.decode(body, blobs, Blobs(str(folder)), consume)


@pytest.mark.parametrize("value", [1, "a", None, {"a": [1, (2.5, b"x")]}, {1, 2}], ids=repr)
def test_small_values_are_inline(value: Any, tmp_path: Path) -> None:
    body, blobs = payload.encode(value, Blobs(str(tmp_path)))
    assert blobs == ()
    assert payload.decode(body, blobs, Blobs(str(tmp_path)), consume=True) == value


def test_arrays_are_blobs_that_a_consumer_unlinks(tmp_path: Path) -> None:
    array = np.arange(100_000)
    body, blobs = payload.encode({"a": array, "b": array[:10]}, Blobs(str(tmp_path)))
    assert len(blobs) == 1
    kept = payload.decode(body, blobs, Blobs(str(tmp_path)), consume=False)
    assert os.listdir(tmp_path) == list(blobs)
    kept["a"][0] = 99  # private to this reader
    again = payload.decode(body, blobs, Blobs(str(tmp_path)), consume=True)
    assert again["a"][0] == 0
    assert os.listdir(tmp_path) == []


def test_a_large_body_is_a_blob(tmp_path: Path) -> None:
    value = ["x" * 1000 + str(i) for i in range(1000)]
    assert there_and_back(value, tmp_path) == value
    assert there_and_back((value, np.ones(100_000)), tmp_path)[0] == value


def test_a_strided_array_is_inline(tmp_path: Path) -> None:
    array = np.arange(200_000).reshape(1000, 200)[::2, ::3]
    assert np.array_equal(there_and_back(array, tmp_path), array)


def test_closures_travel(tmp_path: Path) -> None:
    assert there_and_back(lambda x: x + 1, tmp_path)(1) == 2


def test_the_inline_limit_names_what_breaches_it(tmp_path: Path) -> None:
    with pytest.raises(errors.InlineIOMaxBytesBreached, match=r"the inputs of task 'e\.f' take"):
        payload.encode("x" * 1000, Blobs(str(tmp_path)), 100, "the inputs of task 'e.f'")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Fragile(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("both")


def test_failures_of_foreign_exceptions() -> None:
    failure = payload.failure_of(KeyError("k"), "trace", "p-1")
    error = payload.exception_of(failure)
    assert (type(error), error.code, error.worker, error.traceback_text) == (
        errors.RuntimeUserError,
        "KeyError",
        "p-1",
        "trace",
    )
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("error", [Mute(), Fragile(1, 2), ValueError("x" * 400_000)])
def test_exceptions_that_are_hard_to_carry(error: Exception) -> None:
    failure = payload.failure_of(error, "", "")
    assert len(failure.message) <= 65536
    assert payload.exception_of(failure).code == type(error).__name__


@pytest.mark.parametrize(
    "error", [errors.OOMError("m"), errors.NonRecoverableError("n"), errors.RuntimeSystemError("Code", "s")]
)
def test_samovars_own_errors_keep_their_class(error: errors.BaseRuntimeError) -> None:
    error.traceback_text = "where"
    back = payload.exception_of(payload.failure_of(error, "elsewhere", ""))
    assert (type(back), back.code, back.kind, back.traceback_text) == (type(error), error.code, error.kind, "where")


def test_an_exception_that_no_longer_unpickles_is_still_an_error() -> None:
    broken = payload.exception_of(Failure("unknown", "Odd", "m", exception=b"garbage"))
    assert isinstance(broken, errors.RuntimeUnknownError)
    assert broken.__cause__ is None
    no_error = payload.exception_of(Failure("user", "Odd", "m", exception=pickle.dumps(3)))
    assert no_error.__cause__ is None
