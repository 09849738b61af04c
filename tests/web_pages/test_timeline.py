"""The timeline of a pool: what it shows, and how one moves in it, up to a hundred thousand executions."""

from __future__ import annotations

import re

import pytest

from tests.web_pages import invented as facts
from tests.web_pages.looks import PHONE

expect = pytest.importorskip("playwright.sync_api", reason="there is no playwright").expect

INK = """() => {
    const canvas = document.querySelector(".canvas-rows");
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(176, 0, canvas.width - 176, canvas.height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3]) seen.add(data.slice(at, at + 3).join());
    return [...seen];
}"""
"""All colours of the rows."""

TASK_COLOURS = """() => [...document.querySelectorAll(".chip .swatch")].map((swatch) =>
    getComputedStyle(swatch).backgroundColor.match(/\\d+/g).join())"""


@pytest.fixture
def timeline(invented, visit):
    page = visit(invented.url).open("pools", facts.POOL)
    found = page.locator(".timeline")
    found.locator(".canvas-rows").wait_for()
    page.locator("canvas.canvas-rows").scroll_into_view_if_needed()
    return found


def standing(timeline):
    """The timeline, when it does not follow what happens."""
    timeline.page.get_by_role("button", name="Follow").click()
    return timeline


def sweep(page, tip, x, y):
    """The pointer from a point to the right, until the page tells of something; where that is."""
    for at in range(int(x), int(x) + 240, 4):
        page.mouse.move(at, y)
        if tip.is_visible():
            return at, y
    pytest.fail("nothing lies there")


def test_it_has_every_task_in_its_colour_and_says_it_in_words(timeline):
    page = timeline.page
    chips = page.locator(".chip")
    expect(chips).to_have_count(5)
    colours = page.evaluate(TASK_COLOURS)
    assert len(set(colours)) == 5
    assert set(colours) <= set(page.evaluate(INK))
    expect(timeline).to_have_attribute("aria-label", re.compile("396 executions on 12 replicas.*in words"))
    words = page.get_by_role("region", name="Tasks on the timeline").locator("tbody tr")
    assert sum(int(row.locator("td").first.inner_text()) for row in words.all()) == 396
    decisions = page.get_by_role("region", name="Scaling decisions, newest first")
    expect(decisions).to_contain_text("killed by signal 9")
    expect(decisions).to_contain_text("41 queued")


def test_the_legend_takes_tasks_away_and_brings_them_back(timeline):
    page = standing(timeline).page
    chip = page.get_by_role("button", name=facts.EVIL)
    number = [each.inner_text() for each in page.locator(".chip").all()].index(facts.EVIL)
    colour = page.evaluate(TASK_COLOURS)[number]
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    page.wait_for_function(f"(colour) => !({INK})().includes(colour)", arg=colour)
    chip.click()
    page.wait_for_function(f"(colour) => ({INK})().includes(colour)", arg=colour)


def test_keys_choose_an_execution_tell_of_it_and_open_it(timeline):
    page = timeline.page
    timeline.focus()
    page.keyboard.press("f")
    expect(page.locator("#said")).to_have_text("The timeline stands still")
    page.keyboard.press("ArrowDown")
    said = page.locator("#said")
    expect(said).to_contain_text(f"on {facts.POOL}-3.1,")
    expect(said).to_contain_text(f"run {facts.RUN}")
    expect(page.locator(".tip")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(said).to_contain_text(f"on {facts.POOL}-3.2,")
    before = said.inner_text()
    page.keyboard.press("p")
    expect(said).not_to_have_text(before)
    number = said.inner_text().split(",")[0].split(" ")[-1]
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"#/runs/{facts.RUN}/{facts.action(int(number), '')['id']}$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text(number)


def test_a_pointer_tells_drags_zooms_and_opens(timeline):
    page = standing(timeline).page
    box = timeline.bounding_box()
    tip = page.locator(".tip")
    x, y = sweep(page, tip, box["x"] + box["width"] * 0.6, box["y"] + 24 + 22 + 14)
    x += 12  # well inside
    page.mouse.move(x, y)
    expect(tip).to_contain_text(f"on {facts.POOL}-3.1")
    told = tip.locator("b").inner_text()
    zoomed = page.get_by_role("button", name="All")
    expect(zoomed).to_have_attribute("aria-pressed", "true")
    for _ in range(4):
        page.mouse.wheel(0, -120)
    expect(zoomed).to_have_attribute("aria-pressed", "false")
    page.mouse.move(x + 1, y)
    expect(tip.locator("b")).to_have_text(told)  # what is under the pointer stays there
    page.mouse.down()
    page.mouse.move(x + 240, y, steps=6)
    page.mouse.up()
    page.mouse.move(x + 239, y)
    expect(tip).to_be_visible()
    expect(tip.locator("b")).to_have_text(told)  # and goes where it is dragged
    page.mouse.click(x + 239, y)
    opened = facts.action(int(told.split(" ")[-1]), "")
    expect(page).to_have_url(re.compile(rf"#/runs/{facts.RUN}/{opened['id']}$"))


def test_the_strip_tells_why_it_scaled_and_the_names_lead_to_replicas(timeline):
    page = standing(timeline).page
    box = timeline.bounding_box()
    tip = page.locator(".tip")
    sweep(page, tip, box["x"] + 178, box["y"] + 24 + 11)
    expect(tip).to_contain_text("starting")
    expect(tip).to_contain_text("40 queued")
    page.mouse.move(box["x"] + 40, box["y"] + 60)
    expect(tip).to_contain_text("lives")
    page.mouse.click(box["x"] + 40, box["y"] + 60)
    expect(page).to_have_url(re.compile(r"#/replicas/images%404be1c7-3\.1$"))


def test_it_follows_what_happens_until_one_looks_back(timeline):
    page = timeline.page
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Zoom in").click()
    expect(follow).to_have_attribute("aria-pressed", "true")
    timeline.focus()
    page.keyboard.press("ArrowLeft")
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("End")
    expect(follow).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("0")
    expect(page.get_by_role("button", name="All")).to_have_attribute("aria-pressed", "true")


def test_ended_replicas_are_put_away(timeline):
    page = standing(timeline).page
    said = page.locator("#said")

    def fourth():
        timeline.focus()
        page.keyboard.press("Escape")
        for _ in range(4):
            page.keyboard.press("ArrowDown")

    fourth()
    expect(said).to_contain_text(f"on {facts.POOL}-3.4,")  # it was killed
    page.get_by_role("button", name="Ended replicas").click()
    fourth()
    expect(said).to_contain_text(f"on {facts.POOL}-3.5,")


def test_what_comes_later_is_added_once(timeline, invented):
    page = timeline.page
    seconds = len([each for each in invented.world.asked if "since=" in each])
    with page.expect_response(lambda answer: "since=" in answer.url):
        pass
    with page.expect_response(lambda answer: "since=" in answer.url):
        pass
    assert len([each for each in invented.world.asked if "since=" in each]) > seconds
    expect(timeline).to_have_attribute("aria-label", re.compile("396 executions"))
    later = invented.world.timeline()
    fresh = {"start": later["now"], "end": None, "action": 90_001}
    for name, values in later["executions"].items():
        values.append(fresh.get(name, values[-1]))
    expect(timeline).to_have_attribute("aria-label", re.compile("397 executions"))


def test_short_ones_that_share_a_bar_are_counted_and_told_as_many(timeline, invented):
    page = standing(timeline).page
    words = page.get_by_role("region", name="Tasks on the timeline").get_by_role("row").filter(has_text=facts.TASKS[0])
    before = int(words.locator("td").first.inner_text())
    later = invented.world.timeline()
    crowd = {
        "row": 0,
        "start": later["now"] - 0.04,
        "end": later["now"],
        "action": 90_002,
        "members": 412,
        "busy": 0.02,
    }
    same = {"task": 0, "phase": 1, "cold": 0, "attempt": 1, "run": 0}
    for name, values in later["executions"].items():
        values.append({**crowd, **same}[name])
    expect(timeline).to_have_attribute("aria-label", re.compile("808 executions"))
    expect(words.locator("td").first).to_have_text(str(before + 412))
    timeline.focus()
    page.keyboard.press("ArrowDown")
    tip = page.locator(".tip")
    for _ in range(60):
        if "412" in tip.inner_text():
            break
        page.keyboard.press("n")
    expect(tip).to_contain_text(f"{facts.TASKS[0]} \u00d7 412")
    expect(tip).to_contain_text("succeeded: 412 short executions within 40 ms")
    expect(tip).to_contain_text("49 µs each on average")
    expect(tip).to_contain_text(f"the first is 90002 of run {facts.RUN}")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"#/runs/{facts.RUN}/{facts.action(90_002, '')['id']}$"))


@pytest.mark.parametrize("size", [(1280, 900), PHONE])
def test_a_hundred_thousand_executions_and_more_rows_than_fit(size, invented, visit):
    invented.world.executions, invented.world.replicas = 100_000, 200
    page = visit(invented.url, size=size).open("pools", facts.POOL)
    timeline = page.locator(".timeline")
    expect(timeline).to_have_attribute("aria-label", re.compile(r"\d{2},\d{3} executions on 200 replicas"))
    scroller = page.locator(".rows-scroller")
    heights = scroller.evaluate(
        "(one) => [one.clientHeight, one.scrollHeight, one.querySelector('canvas').clientHeight]"
    )
    assert heights[1] > heights[0] * 4
    assert heights[2] == heights[0]  # the canvas is as high as what is seen of it
    timeline.focus()
    for _ in range(24):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#said")).to_contain_text("on images@4be1c7-3.24,")
    assert scroller.evaluate("(one) => one.scrollTop") > 0
    for _ in range(12):
        page.keyboard.press("+")
    colours = page.evaluate(TASK_COLOURS)
    page.wait_for_function(f"(colours) => ({INK})().some((ink) => colours.includes(ink))", arg=colours)
