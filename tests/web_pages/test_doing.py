"""What a person does on the pages, with a mouse and with keys alone, against an invented service."""

from __future__ import annotations

import re

import pytest

from tests.web_pages import invented as facts

expect = pytest.importorskip("playwright.sync_api", reason="there is no playwright").expect

POOL = facts.POOL


def posted(service):
    return service.world.posted


def scale(page, low, high):
    page.get_by_role("button", name=f"Scale {POOL}").click()
    dialog = page.get_by_role("dialog", name=f"Scale {POOL}")
    dialog.get_by_label("At least").fill(str(low))
    dialog.get_by_label("At most").fill(str(high))
    dialog.get_by_role("button", name="Scale", exact=True).click()
    return dialog


def test_a_pool_is_scaled_and_a_refusal_stays_in_the_dialog(invented, visit):
    visitor = visit(invented.url)
    page = visitor.open("pools")
    dialog = scale(page, 5, 2)
    expect(dialog.get_by_role("alert")).to_contain_text("“At least” is above “At most”".replace("At most", "at most"))
    assert not posted(invented)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    scale(page, 2, 9)
    expect(dialog).to_have_count(0)
    assert posted(invented) == [(f"pools/{POOL}/scale", {"min": 2, "max": 9})]
    expect(page.locator("#said")).to_have_text(f"{POOL} is scaled")
    card = page.get_by_role("region", name=POOL, exact=True)
    card.get_by_text("Settings").click()
    expect(card.locator(".facts").last).to_contain_text("max replicas9")
    invented.world.refusal = "pool images@4be1c7 drains; it takes no new bounds"
    visitor.is_service_ended = True  # the browser reports the 409
    dialog = scale(page, 1, 1)
    expect(dialog.get_by_role("alert")).to_have_text(invented.world.refusal)


@pytest.mark.parametrize(("verb", "state"), [("Drain", "draining"), ("Stop", "asleep")])
def test_a_pool_is_drained_or_stopped_only_after_a_question(verb, state, invented, visit):
    page = visit(invented.url).open("pools")
    page.get_by_role("button", name=f"{verb} {POOL}").click()
    dialog = page.get_by_role("dialog", name=f"{verb} {POOL}?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert not posted(invented)
    page.get_by_role("button", name=f"{verb} {POOL}").click()
    dialog.get_by_role("button", name=verb).click()
    expect(page.get_by_role("region", name=POOL, exact=True).locator(".state").first).to_have_text(state)
    assert posted(invented) == [(f"pools/{POOL}/{verb.lower()}", {})]


def test_slots_are_told_apart_without_colour(invented, visit):
    page = visit(invented.url).open("pools")
    words = [each.get_attribute("aria-label") for each in page.locator(".slots").all()]
    assert words[:4] == [
        "4 of 4 slots active, 2 parked",
        "3 of 4 slots active",
        "starting",
        "1 of 4 slots active, draining",
    ]
    looks = page.evaluate("""() => [...document.querySelectorAll(".slot-legend .slot")].map((slot) => {
        const style = getComputedStyle(slot);
        const isEmpty = style.backgroundColor === "rgba(0, 0, 0, 0)";
        return [style.backgroundImage.split("(")[0], style.borderStyle, style.borderRadius, isEmpty].join();
    })""")
    assert len(set(looks)) == 5


def test_keys_reach_everything(invented, visit):
    page = visit(invented.url).open("pools")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=POOL, exact=True)).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Scale …
    expect(page.get_by_role("dialog").get_by_label("At least")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=f"Scale {POOL}")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(POOL)


def test_focus_stays_while_figures_change(invented, visit):
    page = visit(invented.url).open("pools")
    page.get_by_role("button", name=f"Drain {POOL}").focus()
    invented.world.pools = [dict(pool) for pool in facts.pools()]
    invented.world.pools[0]["queued"] = 77
    expect(page.get_by_role("region", name=POOL, exact=True).locator(".figure").first).to_contain_text("77")
    expect(page.get_by_role("button", name=f"Drain {POOL}")).to_be_focused()


def test_the_theme_is_remembered(invented, visit):
    visitor = visit(invented.url, theme="light")
    page = visitor.open("pools")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    for expected in ("light", "dark"):
        page.get_by_role("button", name="Theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", expected)
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(ground) == dark


def test_a_banner_while_the_service_is_away(invented, visit):
    visitor = visit(invented.url)
    page = visitor.open("pools")
    visitor.is_service_ended = True
    invented.stop()
    banner = page.locator("#banner")
    expect(banner).to_contain_text("The service does not answer")
    expect(banner).to_contain_text("`samovar start` starts it")
    expect(page.get_by_role("link", name=POOL, exact=True)).to_be_visible()  # what was known stays
    page.evaluate("document.documentElement.dataset.mine = 'kept'")
    invented.world.pools = invented.world.pools[:1]
    invented.start()
    expect(banner).to_be_empty()
    expect(page.locator(".card")).to_have_count(1)
    assert page.evaluate("document.documentElement.dataset.mine") == "kept"  # it came back by itself, without a reload
    page.goto(f"{invented.url}#/runs")
    page.locator("tbody tr").first.wait_for()
    invented.stop()
    page.get_by_label("Phase").select_option("failed")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    invented.start()
    expect(page.get_by_role("row").nth(1)).to_contain_text("failed")


def test_a_token_is_asked_for_and_kept_for_the_tab(invented, visit):
    invented.world.token = "let-me-in"
    visitor = visit(invented.url)
    visitor.is_service_ended = True  # the browser reports each 401
    page = visitor.page
    page.goto(invented.url)
    dialog = page.get_by_role("dialog", name="A token is needed")
    dialog.get_by_label("Token").fill("let-me-in")
    dialog.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("link", name=POOL, exact=True)).to_be_visible()
    expect(page.locator("#banner")).to_be_empty()
    assert page.evaluate("[sessionStorage.length, JSON.stringify(localStorage).includes('let-me-in')]") == [1, False]


def test_runs_are_filtered_and_paged_and_the_address_has_it(invented, visit):
    page = visit(invented.url).open("runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Next").click()
    expect(rows.first).to_contain_text("run-00050")
    page.get_by_role("button", name="Previous").click()
    expect(rows.first).to_contain_text(facts.RUN)
    page.get_by_label("Phase").select_option("failed")
    expect(rows.first).to_contain_text("run-00002")
    page.get_by_label("Name or task").fill("SCRIPT")
    expect(page).to_have_url(re.compile(r"phase=failed&search=SCRIPT$"))
    expect(rows.first.locator("td").first).to_have_text(facts.EVIL)
    page.reload()
    expect(rows.first.locator("td").first).to_have_text(facts.EVIL)
    page.get_by_label("Name or task").fill("no such run")
    expect(page.get_by_text("No run fits these filters")).to_be_visible()
    page.get_by_role("button", name="Show all").first.click()
    expect(rows).to_have_count(50)


def test_a_run_of_a_million_actions_is_unfolded_level_by_level(invented, visit):
    page = visit(invented.url).open("runs", facts.RUN)
    expect(page.locator(".node")).to_have_count(101)
    page.get_by_role("button", name="Show 100 more after these 100").click()
    expect(page.locator(".node")).to_have_count(201)
    fold = page.get_by_role("button", name="Children of extract_text 1", exact=True)
    expect(fold).to_have_attribute("aria-expanded", "false")
    fold.focus()
    page.keyboard.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".node")).to_have_count(204)
    page.keyboard.press("Enter")
    expect(page.locator(".node")).to_have_count(201)
    asked = [each for each in invented.world.asked if "/actions?" in each]
    assert all("limit=100" in each for each in asked)
    page.get_by_role("link", name="All actions").click()
    expect(page.locator("tbody tr")).to_have_count(100)
    page.get_by_role("combobox").select_option("failed")
    expect(page.locator("tbody tr").first).to_contain_text("the page has no text")
    page.get_by_role("button", name="Next").click()
    expect(page.locator(".pager")).to_contain_text("page 2")


def test_an_action_says_where_its_time_went_and_its_error_is_copied(invented, visit):
    visitor = visit(invented.url, permissions=["clipboard-read", "clipboard-write"])
    page = visitor.open("runs", facts.RUN, facts.action(4, facts.ROOT)["id"])
    rows = page.get_by_role("region", name="Where its time went", exact=True).locator("tbody tr")
    told = [row.inner_text().split("\t") for row in rows.all()]
    assert [row[0] for row in told] == ["queue", "start", "dispatch", "run", "parked", "run"]
    assert told[0][2:] == ["310 ms", "8.1 %", "no free slot on 2 replicas"]
    shares = page.evaluate(
        "[...document.querySelectorAll('.stack .span')].map((part) => part.getBoundingClientRect().width)"
    )
    assert len(shares) == 6
    assert max(shares) == shares[4]
    page.get_by_role("button", name="Copy the traceback").click()
    expect(page.locator("#said")).to_have_text("The traceback is copied")
    assert page.evaluate("navigator.clipboard.readText()") == facts.TRACEBACK
    expect(page.get_by_text("replica lost: killed by signal 9")).to_be_visible()


def test_an_action_and_a_run_are_aborted_after_a_question(invented, visit):
    page = visit(invented.url).open("runs", facts.RUN)
    page.get_by_role("button", name="Abort …").click()
    page.get_by_role("dialog").get_by_role("button", name="Abort it").click()
    expect(page.locator("#said")).to_have_text(f"{facts.RUN} is aborted")
    page.get_by_role("link", name="train_fold 2", exact=True).click()
    page.get_by_role("button", name="Abort …").click()
    page.get_by_role("dialog").get_by_role("button", name="Abort it").click()
    expect(page.locator("#said")).to_have_text("The action is aborted")
    assert [path for path, _ in posted(invented)] == [
        f"runs/{facts.RUN}/abort",
        f"runs/{facts.RUN}/actions/{facts.action(2, facts.ROOT)['id']}/abort",
    ]


def test_a_log_is_live_and_filtered(invented, visit):
    invented.world.lines = 12
    page = visit(invented.url).open("runs", facts.RUN, query="?tab=logs")
    lines = page.locator(".line")
    expect(lines.nth(13)).to_be_attached()  # two more have come
    expect(page.locator(".log-bar")).to_contain_text("live")
    page.get_by_label("Only lines with").fill("language")
    expect(page.locator(".line:visible").first).to_contain_text("warning: no language given")
    assert page.locator(".line:visible").count() == 4
    expect(page.locator(".line:visible").first.locator(".err")).to_have_text("err")


def test_a_task_that_blocks_the_event_loop_is_named_with_its_stack(invented, visit):
    stack = 'File "/home/ada/pages.py", line 7, in slow\n    time.sleep(60)'
    found = {"task": "resize_image", "label": f"{facts.EVIL} 7", "seconds": 4.2, "stack": stack}
    invented.world.pools[0]["rows"][0]["blockage"] = found
    visitor = visit(invented.url)
    page = visitor.open("pools")
    expect(page.get_by_role("row", name=f"{POOL}-3.1")).to_contain_text("blocked for 4.2 s")
    page.get_by_role("link", name=f"{POOL}-3.1").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text(f"{facts.EVIL} 7 blocks the event loop")
    expect(page.get_by_role("region", name="Where it is")).to_contain_text("time.sleep(60)")
    visitor.check()
