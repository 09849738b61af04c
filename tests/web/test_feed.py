"""Samples of pools and replicas, and the streams of those who listen."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from samovar.engine import survey
from samovar.web import feed as feeds
from samovar.web.feed import KEPT, PoolSample, rates, throughput
from samovar.wire import frames

from .test_api import fan


@pytest.fixture
def feed(site):
    return site.app._app._app.state.house.lookout.feed


def test_samples_are_kept_for_a_while(site, feed):
    fan(site, 3)
    for _ in range(KEPT + 5):
        feed._sample()
    (pool,) = site.get("/pools")["items"]
    history = pool["history"]
    assert {len(column) for column in history.values()} == {KEPT}
    assert history["at"] == sorted(history["at"])
    assert (history["queued"][-1], history["active"][-1]) == (1, 2)
    (row,) = pool["rows"]
    assert len(site.get(f"/replicas/{row['name']}")["history"]["at"]) == KEPT
    assert row["cpu"] is not None, "the replica of this test is this process"


def test_figures_of_samples():
    samples = [PoolSample(float(at), 0, 0, done) for at, done in ((0, 0), (1, 10), (2, 10), (20, 100))]
    assert rates(samples) == [0.0, 10.0, 0.0, 5.0]
    assert throughput(samples[:3]) == 5.0
    assert throughput(samples) == 0.0, "there is but one within the window"
    assert throughput([]) == 0.0
    assert rates([]) == []


def test_who_listens_is_told_and_nothing_is_made_for_nobody(site, feed, monkeypatch):
    monkeypatch.setattr(feeds, "EVERY", 0.0)

    async def listen():
        assert feed._sample() == []
        stream = feed.stream()
        assert (await anext(stream)).startswith(b":")
        site.station.start("r1")
        sampling = asyncio.create_task(feed.run())
        found = {}
        while len(found) < 2:
            event, data = (await anext(stream)).decode().removesuffix("\n\n").split("\n", 1)
            found[event.removeprefix("event: ")] = json.loads(data.removeprefix("data: "))
        site.closing.set_result(None)
        async for _ in stream:
            pass
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        assert feed._sample() == []
        return found

    found = asyncio.run(asyncio.wait_for(listen(), 30))
    assert found["pools"]["items"][0]["environment"] == "e"
    assert [run["name"] for run in found["runs"]["items"]] == ["r1"]


def test_a_sample_that_fails_is_said_once(feed, monkeypatch, caplog):
    def broken():
        raise RuntimeError("boom")

    monkeypatch.setattr(feed, "standing", broken)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "propagate", True)
    with caplog.at_level("ERROR", "uvicorn.error"):
        assert feed._sampled() == feed._sampled() == []
    assert len(caplog.records) == 1


def told(feed):
    """Runs of the next sample, by name."""
    events = dict(feed._sample())
    return {run["name"]: run for run in json.loads(events["runs"])["items"]} if "runs" in events else {}


def test_runs_are_told_from_what_the_engine_sees_and_no_journal_is_asked(site, feed):
    feed._listeners.add(asyncio.Queue())
    feed._watch()
    site.journal.away = "the database is gone"
    site.station.start("r1")
    queued = told(feed)["r1"]
    assert told(feed) == {}, "nothing has changed since"
    replica = site.station.replica()
    site.station.listen()
    (run,) = [frame for frame in replica.hear(2) if isinstance(frame, frames.Run)]
    running = told(feed)["r1"]
    replica.say(frames.Done(run.epoch, b"out"))
    site.station.listen()
    ended = told(feed)["r1"]
    assert told(feed) == {}
    seen = [(it["phase"], it["is_live"], it["actions"]) for it in (queued, running, ended)]
    assert seen == [("queued", True, 0), ("running", True, 0), ("succeeded", False, 1)]
    assert (queued["ended"], running["ended"], ended["task"]) == (None, None, "e.f")
    assert queued["started"] == ended["started"] <= ended["ended"]
    site.journal.away = ""


def test_of_many_runs_the_newest_are_told(site, feed, monkeypatch):
    monkeypatch.setattr(survey, "CHANGES", 2)
    feed._listeners.add(asyncio.Queue())
    feed._watch()
    for number in range(1, 6):
        site.station.start(f"r{number}")
    assert [*told(feed)] == ["r4", "r5"]
    site.station.start("r6")
    assert [*told(feed)] == ["r6"]
    for number in range(6, 0, -1):
        site.station.engine.abort(number, "enough")
    assert {name: run["phase"] for name, run in told(feed).items()} == {"r2": "aborted", "r1": "aborted"}
