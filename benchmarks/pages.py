"""How fluid the timeline is: ``python -m benchmarks.pages [--executions N] [--frames N]``.

A pool with 100,000 executions in a real Chromium: from the click to the first picture of the timeline, and then how
long pictures take while it is panned and zoomed, measured in the browser: what the page's own code takes for a frame,
and how far frames are apart. The first pictures are told apart: the browser has not compiled the code yet. The service
is the invented one of the tests, and no graphics card helps.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.web_pages import invented, looks, pretend

WARMING = 24
"""Pictures until the browser has compiled what draws them."""

ANSWERED = """performance.getEntriesByType("resource").find((one) => one.name.endsWith("/timeline")).responseEnd"""

MEASURE = """() => {
    const ask = window.requestAnimationFrame.bind(window);
    window.pictures = [];
    window.requestAnimationFrame = (draw) => ask((time) => {
        const began = performance.now();
        draw(time);
        window.pictures.push([began, performance.now() - began]);
    });
}"""

MOVE = """async ([key, frames]) => {
    const timeline = document.querySelector(".timeline");
    timeline.focus();
    window.pictures.length = 0;
    const next = () => new Promise((resolve) => setTimeout(resolve));
    while (window.pictures.length < frames) {
        const before = window.pictures.length;
        timeline.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        while (window.pictures.length === before) await next();
    }
    return window.pictures;
}"""


def measure(executions: int, frames: int) -> dict[str, float]:
    """Milliseconds by what they are of."""
    with pretend.running() as service, looks.browsing() as browser:
        service.world.executions, service.world.replicas = executions, 40
        service.world.timeline()  # made before it is measured
        visitor = looks.Visitor(browser, service.url)
        visitor.context.add_init_script(f"({MEASURE})()")
        page = visitor.open("pools")
        began = page.evaluate("performance.now()")
        page.get_by_role("link", name=invented.POOL, exact=True).click()
        page.locator(".canvas-rows").wait_for()
        painted = page.evaluate("new Promise((done) => requestAnimationFrame(() => done(performance.now())))")
        answered = page.evaluate(ANSWERED)
        found = {"from the click to the whole answer": answered - began}
        found["from there to the first picture"] = painted - answered
        page.get_by_role("button", name="Follow").click()
        found[f"the longest of the first {WARMING} pictures"] = max(took for _, took in _moved(page, "", WARMING))
        found |= _figures("all in sight, panned", _moved(page, "", frames))
        found |= _figures("zoomed by 8, panned", _moved(page, "++++++", frames))
        found |= _figures("zoomed in step by step", _moved(page, "", 30, "+"))
        visitor.close()
    return found


def _moved(page: Any, before: str, frames: int, key: str = "ArrowLeft") -> list[list[float]]:
    """When pictures were drawn, and how long that took, while a key is pressed again and again."""
    page.locator(".timeline").focus()
    for each in ("0", *before):
        page.keyboard.press(each)
    pictures: list[list[float]] = page.evaluate(MOVE, [key, frames])
    return pictures


def _figures(name: str, pictures: list[list[float]]) -> dict[str, float]:
    took = [each for _, each in pictures]
    apart = [after[0] - before[0] for before, after in itertools.pairwise(pictures)]
    middle = {f"{name}: a picture, p50": statistics.median(took), f"{name}: p95": statistics.quantiles(took, n=20)[-1]}
    return {**middle, f"{name}: between frames, p50": statistics.median(apart)}


def main() -> None:
    parser = argparse.ArgumentParser(description="how fluid the timeline of a pool is")
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()
    if why := looks.missing():
        sys.exit(f"it needs Playwright and a Chromium, and there is {why}")
    print(f"{options.executions:,} executions on 40 replicas, milliseconds in the browser")
    for name, milliseconds in measure(options.executions, options.frames).items():
        print(f"  {name:48}{milliseconds:9.1f}")


if __name__ == "__main__":
    main()
