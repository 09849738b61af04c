"""Every page, in both themes, on a desk and on a phone: contrast, names, widths, and nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from tests.web_pages import invented as facts
from tests.web_pages.looks import DESK, PHONE
from tests.web_pages.pretend import STATIC

FAILED_ACTION = facts.action(4, facts.ROOT)["id"]

PAGES = {
    "pools": (("pools",), "", facts.POOL),
    "pool": (("pools", facts.POOL), "", "Timeline"),
    "runs": (("runs",), "", facts.RUN),
    "run": (("runs", facts.RUN), "", facts.EVIL),
    "actions": (("runs", facts.RUN), "?tab=actions", facts.EVIL),
    "log": (("runs", facts.RUN), "?tab=logs", f"{facts.EVIL} is only text"),
    "action": (("runs", facts.RUN, FAILED_ACTION), "", "Where its time went"),
    "replica": (("replicas", f"{facts.POOL}-3.1"), "", "Loop lag"),
}


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_well_in_both_themes_and_sizes(page, invented, visit):
    parts, query, text = PAGES[page]
    for size in (DESK, PHONE):
        visitor = visit(invented.url, size=size)
        shown = visitor.open(*parts, query=query)
        shown.get_by_text(text).locator("visible=true").first.wait_for()
        visitor.check_both_themes()
        visitor.context.close()


@pytest.mark.parametrize("parts", [("pools",), ("runs",), ("pools", "no@such"), ("nowhere",), ("runs", "gone", "gone")])
def test_what_is_empty_or_unknown_says_what_to_do(parts, invented, visit):
    invented.world.empty()
    visitor = visit(invented.url)
    visitor.is_service_ended = len(parts) > 1  # a browser reports each answer of 404
    page = visitor.open(*parts)
    said = {
        ("pools",): "samovar run FILE.py TASK",
        ("runs",): "samovar run FILE.py TASK",
        ("pools", "no@such"): "there is no pool no@such; `samovar get pools` lists them",
        ("nowhere",): "The address names none",
        ("runs", "gone", "gone"): "there is no action gone in this run",
    }[parts]
    page.get_by_text(said).wait_for()
    if parts in (("pools",), ("runs",)):
        visitor.check_both_themes()


def test_dark_is_the_same_whether_the_system_or_the_reader_asks_for_it():
    """CSS has no way to say it once."""
    tokens = (STATIC / "tokens.css").read_text()
    asked, chosen = re.findall(
        r':root(?::not\(\[data-theme="light"\]\)|\[data-theme="dark"\]) \{(.*?)\}', tokens, re.DOTALL
    )
    assert asked.split() == chosen.split()
    assert "--bg:" in chosen


def test_a_check_sees_what_is_wrong(invented, visit):
    """The checks themselves: each finds what it is for."""
    visitor = visit(invented.url)
    page = visitor.open("pools")
    page.evaluate("""() => {
        const add = (tag, text, style) => {
            const made = document.createElement(tag);
            made.textContent = text;
            Object.assign(made.style, style);
            document.body.append(made);
        };
        add("p", "pale", { color: "rgb(170 170 170)", background: "white" });
        add("button", "", {});
        add("h1", "again", {});
        add("div", "wide", { width: "4000px" });
        add("p", "tiny", { fontSize: "9px" });
    }""")
    with pytest.raises(AssertionError) as caught:
        visitor.check()
    for found in ("contrast 2.32", "no name: <button", "2 h1", "px too wide", "text of 9 px"):
        assert found in str(caught.value)
