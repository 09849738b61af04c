"""How fluid the timeline is: ``python -m benchmarks.pages [--executions N] [--frames N]``.

A pool with 100,000 executions in a real Chromium: from the click to the first picture of the timeline, and then how long
pictures take while it is panned and zoomed, measured in the browser: what the page's own code takes for a frame, and how
far frames are apart. The service is the invented one of the tests, so that the page alone is measured; it draws without
a graphics card here, which a desk has.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.web_pages import invented, looks, pretend

ACROSS = "a picture, p50"
SLOW = "a picture, p95"
APART = "between frames, p50"

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
        answered = page.evaluate("performance.getEntriesByType('resource').find((one) => one.name.endsWith('/timeline')).responseEnd")
        found = {"from the click to the whole answer": answered - began, "from there to the first picture": painted - answered}
        page.get_by_role("button", name="Follow").click()
        steps = [("all in sight, panned", "ArrowLeft", ""), ("zoomed by 8, panned", "ArrowLeft", "++++++")]
        for name, key, before in steps:
            page.locator(".timeline").focus()
            page.keyboard.press("0")
            for zoom in before:
                page.keyboard.press(zoom)
            found |= _figures(name, page.evaluate(MOVE, [key, 8]), page.evaluate(MOVE, ["ArrowRight", frames]))
        page.keyboard.press("0")
        found |= _figures("zoomed in step by step", [], page.evaluate(MOVE, ["+", min(frames, 30)]))
        visitor.close()
    return found


def _figures(name: str, _warm: Any, pictures: list[list[float]]) -> dict[str, float]:
    took = [each for _, each in pictures]
    apart = [after[0] - before[0] for before, after in zip(pictures, pictures[1:], strict=False)]
    slow = statistics.quantiles(took, n=20)[-1]
    return {f"{name}: {ACROSS}": statistics.median(took), f"{name}: {SLOW}": slow, f"{name}: {APART}": statistics.median(apart)}


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
