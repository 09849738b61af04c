"""The pages of a real service, with real work: what one sees while it runs, fails, and while replicas are killed."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journeys import services
from tests.web_pages import looks
from tests.web_pages.looks import PHONE

expect = pytest.importorskip("playwright.sync_api", reason="there is no playwright").expect

EVIL = "<script>alert(1)</script>"

PROGRAM = f"""
import asyncio, pathlib
import samovar as flyte

env = flyte.TaskEnvironment(name="warm", reusable=flyte.ReusePolicy(replicas=2, concurrency=4, idle_ttl=600))

async def evil(x: int) -> str:
    print("{EVIL} is only text", x)
    return "{EVIL}"

evil.__name__ = "{EVIL}"
evil = env.task(evil)

@env.task
async def leaf(number: int) -> int:
    print("leaf", number, "is here")
    return number * number

@env.task
async def fan(count: int) -> int:
    found = await asyncio.gather(*(leaf(number) for number in range(count)))
    await evil(1)
    return sum(found)

@env.task
async def boom(text: str) -> None:
    await leaf(1)
    raise ValueError(text)

@env.task
async def hold(until: str) -> str:
    print("it holds")
    while not pathlib.Path(until).exists():
        await asyncio.sleep(0.01)
    return "let go"
"""


PORTS = range(20_000, 30_000)
"""Of these the kernel gives none away by itself: the next service is to have the port that the last one had."""


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Served:
    """A home with a service that has pages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = services.Home(path, PROGRAM)
        self.port = next(port for port in random.sample(PORTS, len(PORTS)) if is_free(port))
        self.begin()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def begin(self) -> None:
        self.process, _ = services.begin(self.path, SAMOVAR_WEB=f"127.0.0.1:{self.port}")

    def run(self, task: str, *arguments: str, name: str) -> None:
        done = self.home.samovar("run", "--name", name, str(self.home.script), task, *arguments)
        assert (done.returncode == 0) == (task != "boom"), done.stderr

    @contextlib.contextmanager
    def holding(self, name: str, path: Path) -> Iterator[Callable[[], None]]:
        """A run that goes on until the block lets it go, or ends."""
        go = path / "go"
        with self.home.begin("hold", "--until", str(go), name=name) as process:
            try:
                yield lambda: go.touch()
                process.communicate(timeout=services.SECONDS)
            finally:
                process.kill()

    def replicas(self) -> list[int]:
        return services.replicas(self.path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, browser: object) -> Iterator[Served]:
    """With a run that succeeded and one that failed."""
    served = Served(tmp_path_factory.mktemp("pages"))
    try:
        served.run("fan", "--count", "12", name="fan-1")
        served.run("boom", "--text", f"no {EVIL} here", name="boom-1")
        yield served
    finally:
        services.kill(served.path, served.process)


def pool_link(page):
    return page.get_by_role("link", name=re.compile("^warm@")).first


def test_pools_show_replicas_at_work(served, visit, tmp_path):
    page = visit(served.url).open("pools")
    expect(pool_link(page)).to_be_visible()
    with served.holding("hold-1", tmp_path) as let_go:
        expect(page.locator(".slot-active").nth(1)).to_be_visible()  # beside the one of the legend
        expect(page.locator(".replicas .cut", has_text="hold")).to_be_visible()
        let_go()
    expect(page.locator(".replicas .cut", has_text="hold")).to_have_count(0)
    expect(page.locator(".card .slot-active")).to_have_count(0)


def test_a_run_appears_and_ends_without_a_reload(served, visit, tmp_path):
    visitor = visit(served.url)
    page = visitor.open("runs")
    row = page.get_by_role("row", name=re.compile("hold-2"))
    with served.holding("hold-2", tmp_path) as let_go:
        expect(row).to_contain_text("running")
        let_go()
    expect(row).to_contain_text("succeeded")
    expect(page.get_by_role("row", name=re.compile("boom-1"))).to_contain_text("failed")
    visitor.check()


def test_a_run_is_a_tree_down_to_what_went_in_and_came_out(served, visit):
    visitor = visit(served.url)
    page = visitor.open("runs", "fan-1")
    nodes = page.locator(".node")
    expect(nodes).to_have_count(14)
    expect(page.get_by_role("list", name="Actions by phase")).to_contain_text("succeeded 14")
    expect(page.get_by_text(re.compile(re.escape(EVIL))).first).to_be_visible()
    page.get_by_role("link", name="Log").click()
    expect(page.locator(".log")).to_contain_text(f"{EVIL} is only text 1")
    expect(page.locator(".line")).to_have_count(13)
    page.get_by_role("link", name="Tree").click()
    page.locator(".node a").first.click()
    expect(page.get_by_role("region", name="Inputs")).to_contain_text("12")
    expect(page.get_by_role("region", name="Result")).to_contain_text("506")
    parts = page.get_by_role("region", name="Where its time went", exact=True)
    for part in ("queue", "run", "parked"):
        expect(parts.get_by_role("rowheader", name=part).first).to_be_visible()
    visitor.check()


def test_an_error_has_the_traceback_of_the_user(served, visit):
    visitor = visit(served.url)
    page = visitor.open("runs", "boom-1")
    page.locator(".node a").first.click()
    trace = page.get_by_role("region", name="Traceback")
    expect(trace).to_contain_text("raise ValueError(text)")
    expect(page.get_by_text(f"no {EVIL} here").first).to_be_visible()
    visitor.check()


def test_the_timeline_shows_killed_replicas_and_the_work_goes_on(served, visit, tmp_path):
    visitor = visit(served.url)
    page = visitor.open("pools")
    pool_link(page).click()
    timeline = page.locator(".timeline")
    expect(timeline).to_have_attribute("aria-label", re.compile("executions on [12] replica"))
    with served.holding("hold-3", tmp_path) as let_go:
        expect(page.locator(".replicas .cut", has_text="hold")).to_be_visible()
        for victim in served.replicas():
            os.kill(victim, signal.SIGKILL)
        expect(page.get_by_role("button", name="Ended replicas")).to_be_visible()
        expect(page.get_by_role("region", name="Scaling decisions, newest first")).to_contain_text("lost")
        expect(page.locator(".replicas .cut", has_text="hold")).to_be_visible()  # it runs again
        choose_what_runs(page, timeline)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("warm.hold")
        let_go()
    page.goto(looks.at(served.url, "runs", "hold-3"))
    page.locator(".node a").first.click()
    attempts = page.get_by_role("region", name="Attempts", exact=True).locator("tbody tr")
    expect(attempts.nth(0)).to_contain_text("was killed by SIGKILL")
    expect(attempts.last).to_contain_text("well")
    visitor.check()


def choose_what_runs(page, timeline):
    """With keys: the newest execution of the last row, once the page has been told of it."""
    timeline.focus()
    for _ in range(looks.SECONDS):
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowUp")
        if "running" in page.locator("#said").inner_text():
            return
        with page.expect_response(lambda answer: "/timeline" in answer.url):
            pass
    pytest.fail(f"nothing runs on the last row: {page.locator('#said').inner_text()}")


def test_a_replica_says_what_it_uses(served, visit):
    page = visit(served.url).open("pools")
    served.run("leaf", "--number", "3", name="leaf-1")
    page.get_by_role("rowheader").get_by_role("link").first.click()
    expect(page.locator(".figure").first).to_contain_text("MiB")
    expect(page.get_by_text("Served", exact=True)).to_be_visible()
    expect(page.get_by_text("CPU", exact=True)).to_be_visible()


def test_a_live_log_and_an_abort(served, visit, tmp_path):
    visitor = visit(served.url)
    with served.holding("hold-4", tmp_path):
        page = visitor.open("runs")
        page.get_by_role("link", name="hold-4").click()
        page.get_by_role("link", name="Log").click()
        expect(page.locator(".log")).to_contain_text("it holds")
        expect(page.locator(".log-bar")).to_contain_text("live")
        page.get_by_role("button", name="Abort …").click()
        page.get_by_role("dialog").get_by_role("button", name="Abort it").click()
        expect(page.locator("h1 + .phase")).to_have_text(re.compile("aborted"))


def test_a_pool_is_scaled_and_drained(served, visit):
    page = visit(served.url).open("pools")
    page.get_by_role("button", name=re.compile("^Scale warm@")).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("At least").fill("1")
    dialog.get_by_label("At most").fill("3")
    dialog.get_by_role("button", name="Scale", exact=True).click()
    expect(dialog).to_have_count(0)
    page.get_by_text("Settings").first.click()
    expect(page.locator(".facts").first).to_contain_text("max replicas3")
    page.get_by_role("button", name=re.compile("^Drain warm@")).click()
    page.get_by_role("dialog").get_by_role("button", name="Drain", exact=True).click()
    expect(page.locator(".card .state").first).not_to_have_text("awake")
    served.run("leaf", "--number", "4", name="leaf-2")
    expect(page.locator(".card .state").first).to_have_text("awake")


@pytest.mark.parametrize("size", [looks.DESK, PHONE])
def test_real_pages_are_well_in_both_themes(size, served, visit):
    visitor = visit(served.url, size=size)
    for parts in (("pools",), ("runs",), ("runs", "fan-1"), ("runs", "boom-1")):
        visitor.open(*parts)
        visitor.check_both_themes()


def test_the_pages_outlive_the_service(served, visit):
    """It is killed and another one comes; the page knows both, and no run is forgotten."""
    visitor = visit(served.url)
    page = visitor.open("runs")
    visitor.is_service_ended = True
    services.kill(served.path, served.process)
    expect(page.locator("#banner")).to_contain_text("The service does not answer")
    served.begin()
    expect(page.locator("#banner")).to_be_empty()
    expect(page.get_by_role("row", name=re.compile("fan-1"))).to_contain_text("succeeded")
    served.run("leaf", "--number", "5", name="leaf-3")
    expect(page.get_by_role("row", name=re.compile("leaf-3"))).to_contain_text("succeeded")
