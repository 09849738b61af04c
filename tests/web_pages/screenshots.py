"""The pictures of docs/images/dashboard: ``python -m tests.web_pages.screenshots [FOLDER]``.

Each page in both themes, and two on a phone, of the invented service: they show all there is at once, and are the same
whenever they are made but for the times of day. Colours are reduced, so that a picture is some tens of kilobytes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from tests.web_pages import invented, looks, pretend

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "dashboard"
COLOURS = 128

PAGES = {
    "pools": (("pools",), ""),
    "pool": (("pools", invented.POOL), ""),
    "runs": (("runs",), ""),
    "run": (("runs", invented.RUN), ""),
    "log": (("runs", invented.RUN), "?tab=logs"),
    "action": (("runs", invented.RUN, invented.action(4, invented.ROOT)["id"]), ""),
    "replica": (("replicas", f"{invented.POOL}-3.1"), ""),
}
READY = {"pool": ".canvas-rows", "run": ".node", "log": ".line", "action": ".line", "replica": ".spark"}
READY |= {"pools": "#service .dot", "runs": "tbody tr"}
ON_A_PHONE = [("pool", "light"), ("pools", "dark")]


def _reduce(picture: bytes, path: Path) -> None:
    """To so many colours: the pages have few."""
    from PIL import Image  # only here, and only who makes the pictures has it

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    if why := looks.missing():
        sys.exit(f"pictures need Playwright and a Chromium, and there is {why}")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(page, theme, looks.DESK) for page in PAGES for theme in looks.THEMES]
    wanted += [(page, theme, looks.PHONE) for page, theme in ON_A_PHONE]
    with pretend.running() as service, looks.browsing() as browser:
        for page, theme, size in wanted:
            visitor = looks.Visitor(browser, service.url, size=size, theme=theme, reduced_motion="reduce")
            parts, query = PAGES[page]
            shown = visitor.open(*parts, query=query)
            shown.locator(READY[page]).first.wait_for()
            name = f"{page}-{theme}{'-phone' if size == looks.PHONE else ''}.png"
            if size == looks.PHONE and page == "pool":
                shown.locator("#h-timeline").evaluate("(head) => head.scrollIntoView()")
            _reduce(shown.screenshot(), folder / name)
            visitor.close()
            print(name, f"{(folder / name).stat().st_size >> 10} KiB")


if __name__ == "__main__":
    main()
