"""What the API answers, of an engine in which the test speaks for the replicas."""

from __future__ import annotations

import json
import os
import pickle
from urllib.parse import quote

import pytest

from samovar.engine import survey
from samovar.model import Failure, TaskSpec
from samovar.web import runs
from samovar.web.lookout import KEPT_LINES, LONGEST_LINE
from samovar.wire import frames

from .conftest import ENVIRONMENT, PLANTED, TASK


def fan(site, count, run="r1"):
    """A parent on a replica that has called ``count`` children; the replica, and its frames so far."""
    site.station.start(run, body=pickle.dumps({"n": count}))
    replica = site.station.replica()
    _, parent = replica.hear(2)
    calls = [frames.Submit(n, parent.epoch, 1, pickle.dumps({"x": n})) for n in range(1, count + 1)]
    replica.say(frames.Declare(1, TASK), *calls)
    return replica, parent, replica.hear(min(2, count))


def test_the_service_tells_of_itself(site):
    about = site.get("/service")
    assert about["driver"] == "fake"
    assert about["address"] == "/run/service.sock"
    assert about["journal"]["kept"]
    assert site.client.get("/healthz").json() == {"status": "ok"}
    assert site.client.get("/readyz").json() == {"status": "ok"}


def test_a_service_that_ends_is_not_ready(site):
    site.station.engine.clients.refuse()
    answer = site.client.get("/readyz")
    assert (answer.status_code, answer.json()["detail"]) == (503, "the service ends")
    assert site.client.get("/healthz").status_code == 200


def test_pools_and_replicas_as_they_stand(site):
    replica, _, running = fan(site, 3)
    assert len(running) == 2
    (pool,) = site.get("/pools")["items"]
    assert (pool["environment"], pool["state"], pool["slots"]) == ("e", "awake", 2)
    assert (pool["queued"], pool["active"], pool["parked"]) == (1, 2, 1)
    assert pool["settings"]["concurrency"] == 2
    assert site.get(f"/pools/{pool['name']}")["name"] == pool["name"]
    (row,) = pool["rows"]
    assert (row["state"], row["active"], row["parked"], row["pid"]) == ("ready", 2, 1, 1)
    replica.say(frames.Log(0, "stdout", "a line\nof its own\n"))
    site.station.listen()
    alone = site.get(f"/replicas/{row['name']}")
    assert alone["environment"] == "e"
    assert alone["log"] == ["a line", "of its own"]


def test_of_what_a_replica_writes_outside_of_tasks_the_end_is_kept(site):
    replica, _, _ = fan(site, 1)
    name = site.get("/pools")["items"][0]["rows"][0]["name"]
    replica.say(frames.Log(0, "output", "".join(f"line {number}\n" for number in range(KEPT_LINES + 2))))
    replica.say(frames.Log(0, "output", "x" * (LONGEST_LINE + 1)))
    site.station.listen()
    assert site.get(f"/replicas/{name}")["log"] == [
        *(f"line {number}" for number in range(3, KEPT_LINES + 2)),
        "x" * LONGEST_LINE,
    ]


def test_what_is_not_there_is_a_problem_that_says_what_to_do(site):
    for path in ("/pools/x", "/pools/x/timeline", "/replicas/x", "/runs/x", "/runs/x/actions", "/runs/x/actions/root"):
        problem = site.get(path, 404)
        assert problem["type"] == "about:blank"
        assert problem["status"] == 404
        assert "/api/v1/" in problem["detail"], path
    assert site.get("/runs/x/logs", 404)["status"] == 404
    assert site.get("/nothing", 404)["title"] == "Not Found"
    answer = site.client.get("/api/v1/runs", params={"limit": 0})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "limit" in answer.json()["detail"]
    assert site.client.put("/api/v1/runs").status_code == 405


def test_a_pool_is_changed_by_hand(site):
    fan(site, 3)
    name = site.get("/pools")["items"][0]["name"]
    assert site.post(f"/pools/{name}/scale", {"min": 2, "max": 5})["settings"]["max_replicas"] == 5
    assert "min is 3" in site.post(f"/pools/{name}/scale", {"min": 3, "max": 2}, 409)["detail"]
    assert site.post(f"/pools/{name}/scale", {"min": 1, "max": 2, "more": 1}, 422)["status"] == 422
    assert site.post(f"/pools/{name}/drain")["state"] == "draining"
    assert site.post(f"/pools/{name}/stop")["name"] == name
    assert site.post("/pools/x/stop", status=404)["status"] == 404
    assert "e" in name
    assert site.post("/pools/e/drain", status=404)["status"] == 404, "a name is whole here"
    reasons = [event["reason"] for event in site.get(f"/pools/{name}/timeline")["events"]]
    assert "drain by hand" in reasons


def test_a_run_and_its_actions_while_they_run_and_after(site):
    replica, parent, running = fan(site, 3)
    (run,) = site.get("/runs")["items"]
    assert (run["name"], run["phase"], run["is_live"]) == ("r1", "running", True)
    detail = site.get("/runs/r1")
    assert {phase: count for phase, count in detail["counts"].items() if count} == {"queued": 1, "running": 3}
    assert detail["root"]["id"] == "root"
    assert detail["root"]["has_children"] is True
    children = site.get("/runs/r1/actions", parent="root")["items"]
    assert [child["number"] for child in children] == [4, 3, 2]
    one = site.get(f"/runs/r1/actions/{children[0]['id']}")
    assert (one["phase"], one["inputs"], one["parent"]) == ("queued", "f(x=3)", "root")
    assert one["spans"][-1]["reason"] == "all 2 slots of 1 replica were taken, and the policy allows no more"
    replica.say(*[frames.Done(frame.epoch, pickle.dumps([1, 2])) for frame in running])
    (last,) = [frame for frame in replica.hear(3) if isinstance(frame, frames.Run)]
    failure = Failure("user", "ValueError", "no\nmore", "Traceback …")
    replica.say(frames.Failed(last.epoch, failure))
    replica.hear(1)
    replica.say(frames.Done(parent.epoch, pickle.dumps("done")))
    site.station.listen()
    run = site.get("/runs/r1")
    assert (run["phase"], run["is_live"], run["actions"]) == ("succeeded", False, 4)
    assert (run["counts"]["succeeded"], run["counts"]["failed"]) == (3, 1)
    (failed,) = site.get("/runs/r1/actions", phase="failed")["items"]
    assert failed["error"] == "ValueError: no"
    whole = site.get(f"/runs/r1/actions/{failed['id']}")
    assert whole["failure"] == {"kind": "user", "code": "ValueError", "message": "no\nmore", "traceback": "Traceback …"}
    assert whole["inputs"] == "f(x=3)"
    root = site.get("/runs/r1/actions/root")
    assert (root["inputs"], root["result"]) == ("f(n=3)", "'done'")
    assert [span["name"] for span in root["spans"]][-3:] == ["run", "parked", "run"]


def test_a_dear_count_is_told_again_until_the_run_ends(site, monkeypatch):
    replica, parent, running = fan(site, 8)
    monkeypatch.setattr(survey, "STEPS", 3)
    monkeypatch.setattr(runs, "REST", 1e9)
    first = site.get("/runs/r1")["counts"]
    assert (first["queued"], first["running"]) == (6, 3)
    replica.say(frames.Done(running[0].epoch, pickle.dumps(1)), frames.Done(running[1].epoch, pickle.dumps(1)))
    site.station.listen()
    assert site.get("/runs/r1")["counts"] == first
    monkeypatch.setattr(runs, "COUNTING_TURNS", 1)
    site.station.start("r2")
    assert site.get("/runs/r2")["counts"]["queued"] is None, "that takes more turns"
    replica.say(frames.Done(parent.epoch, pickle.dumps("done")))
    site.station.listen()
    last = site.get("/runs/r1")["counts"]
    assert (last["queued"], last["running"], last["aborted"]) == (0, 0, 6)


def test_runs_are_found_by_what_is_known_of_them(site):
    for number in range(3):
        site.station.start(f"alpha{number}")
    site.station.start("beta", TaskSpec("e.g", "m", "g", ENVIRONMENT))
    assert [run["name"] for run in site.get("/runs", search="ALPHA")["items"]] == ["alpha2", "alpha1", "alpha0"]
    assert [run["name"] for run in site.get("/runs", task="e.g")["items"]] == ["beta"]
    assert site.get("/runs", phase="failed")["items"] == []
    assert len(site.get("/runs", phase="queued")["items"]) == 4
    first = site.get("/runs", limit=3)
    assert [run["name"] for run in site.get("/runs", limit=3, after=first["next"])["items"]] == ["alpha0"]
    assert site.get("/runs", 404, after="x")["status"] == 404


def test_a_run_is_aborted_and_only_once(site):
    starter = site.station.start("r1")
    assert site.post("/runs/r1/abort", {"reason": "enough"}, 202) == {"run": "r1", "action": ""}
    assert starter.outcomes[0].failure.message == "enough"
    assert "not on its way" in site.post("/runs/r1/abort", status=409)["detail"]
    assert site.post("/runs/x/abort", status=404)["status"] == 404


def test_one_action_is_aborted(site):
    fan(site, 3)
    queued = site.get("/runs/r1/actions", phase="queued")["items"][0]
    site.post(f"/runs/r1/actions/{queued['id']}/abort", status=202)
    assert site.get(f"/runs/r1/actions/{queued['id']}")["phase"] == "aborted"
    assert site.post(f"/runs/r1/actions/{queued['id']}/abort", status=409)["status"] == 409
    assert site.get("/runs/r1")["phase"] == "running"


def test_lines_of_a_run(site):
    replica, parent, _ = fan(site, 1)
    replica.say(frames.Log(parent.epoch, "stdout", "one\ntwo\n"))
    site.station.listen()
    page = site.get("/runs/r1/logs")
    assert [line["text"] for line in page["lines"]] == ["one", "two"]
    assert (page["is_last"], page["lines"][0]["number"]) == (True, 1)
    assert site.get("/runs/r1/logs", after=page["next"])["lines"] == []
    assert [line["text"] for line in site.get("/runs/r1/logs", tail=1)["lines"]] == ["two"]
    for after in ("x", "1", "1--5", "-1-5", f"1-{10**20}", "1-5-6"):
        assert site.get("/runs/r1/logs", 404, after=after)["status"] == 404


def test_a_stream_of_lines_ends_with_its_run(site):
    replica, parent, _ = fan(site, 1)
    replica.say(frames.Log(parent.epoch, "stdout", "one\n"))
    site.station.listen()
    site.post("/runs/r1/abort", status=202)
    text = site.client.get("/api/v1/runs/r1/logs/stream").text
    events = [part.split("\n") for part in text.split("\n\n") if part.startswith("event")]
    assert [event[0] for event in events] == ["event: line", "event: end"]
    assert json.loads(events[0][2].removeprefix("data: "))["text"] == "one"
    again = site.client.get("/api/v1/runs/r1/logs/stream", headers={"last-event-id": events[0][1][4:]}).text
    assert "event: line" not in again


def test_without_a_journal_what_runs_is_seen(make_site):
    site = make_site(is_written=False)
    fan(site, 3)
    assert [run["name"] for run in site.get("/runs")["items"]] == ["r1"]
    assert site.get("/service")["journal"]["kept"] is False
    detail = site.get("/runs/r1")
    assert detail["counts"]["queued"] == 1
    assert detail["counts"]["succeeded"] is None
    children = site.get("/runs/r1/actions", parent="1")["items"]
    assert [child["parent"] for child in children] == ["1"] * 3


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a/b", "naïve ü", "x?y#z"])
def test_any_name_is_told_as_it_is(site, name):
    task = TaskSpec(f"e.{name}", "m", name, ENVIRONMENT)
    site.station.start(name, task)
    (run,) = site.get("/runs")["items"]
    assert (run["name"], run["task"]) == (name, f"e.{name}")
    assert site.get(f"/runs/{quote(name, safe='')}")["root"]["task"] == f"e.{name}"
    answer = site.client.get("/api/v1/runs")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_answer_has_a_secret_or_a_variable_of_an_environment(site):
    replica, _, running = fan(site, 2)
    pool = site.get("/pools")["items"][0]
    replica.say(frames.Done(running[0].epoch, pickle.dumps(1)))
    site.station.listen()
    ids = [action["id"] for action in site.get("/runs/r1/actions")["items"]]
    paths = [
        *("/service", "/pools", "/runs", "/runs/r1", "/runs/r1/actions", "/runs/r1/logs"),
        *(f"/pools/{pool['name']}", f"/pools/{pool['name']}/timeline", f"/replicas/{pool['rows'][0]['name']}"),
        *(f"/runs/r1/actions/{action}" for action in ids),
    ]
    assert len(paths) == 12
    for path in paths:
        text = json.dumps(site.get(path))
        assert PLANTED not in text, path
        assert "PLANTED" not in text, path
        assert "secret-key" not in text, path


def test_a_large_value_is_previewed_from_its_file_and_no_link_is_followed(site, tmp_path):
    (tmp_path / "large").write_bytes(pickle.dumps(["x"] * 5))
    (tmp_path / "link").symlink_to(tmp_path / "large")
    os.mkfifo(tmp_path / "pipe")
    look = site.app._app._app.state.house.lookout
    assert look.blob("large", 1 << 20) == ((tmp_path / "large").read_bytes(), True)
    assert look.blob("large", 5) == ((tmp_path / "large").read_bytes()[:5], False)
    for name in ("link", "pipe", "nothing", "../../etc/passwd"):
        assert look.blob(name, 100) == (b"", False), name
