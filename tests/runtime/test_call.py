"""What becomes of an exception of a task."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from samovar import errors
from samovar.runtime.call import _out_of_memory


@pytest.fixture
def bounded() -> Iterator[None]:
    """This process may have a terabyte."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (2**40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def test_a_memory_error_under_a_bound_is_an_oom(bounded: None) -> None:
    error = _out_of_memory(MemoryError("9 GiB for an array"))
    assert isinstance(error, errors.OOMError)
    assert "9 GiB for an array" in str(error)
    assert "override" in str(error)


def test_a_memory_error_without_a_bound_is_the_tasks_own() -> None:
    own = MemoryError()
    assert _out_of_memory(own) is own
