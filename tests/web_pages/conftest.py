"""One browser for all tests of pages, a tab for each, and an invented service beside the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import skip_without
from tests.web_pages import looks, pretend


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Ended with the last test of pages: its event loop must not be in the way of others."""
    skip_without(looks.missing(), "a browser is", "SAMOVAR_REQUIRE_BROWSER")
    with looks.browsing() as browser:
        yield browser


@pytest.fixture
def invented() -> Iterator[pretend.Pretend]:
    with pretend.running() as service:
        yield service


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., looks.Visitor]]:
    """``visit(url, …)``: a tab. What went wrong in one fails the test at its end."""
    visitors: list[looks.Visitor] = []

    def come(url: str, **more: Any) -> looks.Visitor:
        visitors.append(looks.Visitor(browser, url, **more))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.close()
