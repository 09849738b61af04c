"""A request that is cut off, as all are that a browser is about to send when a network of the machine changes: a
container that starts, with a network of its own, is enough."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests import network
from tests.conftest import skip_without
from tests.web_pages import invented as facts
from tests.web_pages.test_looks import PAGES

playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright")
expect = playwright.expect

LOADS = 12


def fail_first(page, pattern):
    """Of each address the first request is cut off. The addresses of these, as they come."""
    cut = []

    def answer(route):
        url = route.request.url
        if url in cut or route.request.is_navigation_request():
            return route.fallback()
        cut.append(url)
        return route.abort()

    page.route(pattern, answer)
    return cut


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_shows_is_asked_for_again(name, invented, visit):
    parts, query, text = PAGES[name]
    visitor = visit(invented.url)
    visitor.is_service_ended = True  # the browser reports each request that failed
    cut = fail_first(visitor.page, "**/api/**")
    page = visitor.open(*parts, query=query)
    page.get_by_text(text).locator("visible=true").first.wait_for()
    expect(page.locator(".problem")).to_have_count(0)
    expect(page.locator("#banner")).to_be_empty()
    assert any(url.endswith("/events") for url in cut)
    assert len(cut) > 2


def test_a_problem_of_the_way_goes_by_itself(invented, visit):
    visitor = visit(invented.url)
    page = visitor.open("pools")
    visitor.is_service_ended = True
    page.route("**/api/v1/runs**", lambda route: route.abort())
    page.get_by_role("link", name="Runs").click()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    expect(page.locator("#banner")).to_be_empty()
    page.unroute_all()
    expect(page.get_by_role("link", name=facts.RUN)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_change_is_not_asked_for_twice(invented, visit):
    """Whether the first request was carried out is not known."""
    visitor = visit(invented.url)
    page = visitor.open("pools")
    visitor.is_service_ended = True
    cut = fail_first(page, "**/scale")
    page.get_by_role("button", name=f"Scale {facts.POOL}").click()
    dialog = page.get_by_role("dialog")
    submit = dialog.get_by_role("button", name="Scale", exact=True)
    submit.click()
    expect(dialog.get_by_role("alert")).to_contain_text("cannot be reached")
    assert len(cut) == 1
    assert not invented.world.posted
    submit.click()
    expect(dialog).to_have_count(0)
    assert len(invented.world.posted) == 1


@pytest.mark.parametrize("kind", ["css", "js"])
def test_a_page_whose_own_files_did_not_come_is_loaded_again(kind, invented, visit):
    visitor = visit(invented.url)
    visitor.is_service_ended = True
    cut = fail_first(visitor.page, f"**/*.{kind}")
    page = visitor.open("pools")
    expect(page.locator(".card").first).to_have_css("padding-left", "16px")  # by parts.css, with a size of tokens.css
    assert len(cut) > 2
    visitor.wrong.clear()
    visitor.check()


@contextlib.contextmanager
def changing_networks() -> Iterator[None]:
    """An address comes and goes."""
    over = threading.Event()

    def change_on() -> None:
        while not over.wait(0.02):
            network.change()

    changing = threading.Thread(target=change_on)
    changing.start()
    try:
        yield
    finally:
        over.set()
        changing.join()


def test_pages_come_while_networks_change(invented, visit):
    skip_without(network.unchangeable(), "addresses that change are", "SAMOVAR_REQUIRE_NETWORK")
    visitor = visit(invented.url)
    visitor.is_service_ended = True
    page = visitor.page
    failures = []
    page.on("requestfailed", lambda request: failures.append(request.failure))
    with changing_networks():
        loads = 0
        while loads < LOADS:
            with contextlib.suppress(playwright.Error):  # the page itself was cut off; browsers have a button for that
                page.goto(invented.url, wait_until="commit")
                loads += 1
                page.wait_for_timeout(100)
    assert "net::ERR_NETWORK_CHANGED" in failures
    expect(page.get_by_role("link", name=facts.POOL, exact=True)).to_be_visible()
    expect(page.locator("#banner")).to_be_empty()
