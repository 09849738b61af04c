"""The pages of a real service with real work: while replicas are killed, after a restart, and when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.services import SECONDS, Home, begin, end

PROGRAM = """
import asyncio, pathlib, flyte
env = flyte.TaskEnvironment(name="pages", reusable=flyte.ReusePolicy(replicas=2, concurrency=2))

@env.task
async def work(n: int) -> int:
    print("work", n)
    while not pathlib.Path("__HOME__/go").exists():
        await asyncio.sleep(0.01)
    return n

@env.task
async def main(n: int) -> int:
    return sum(await asyncio.gather(*(work(k) for k in range(n))))
"""


class Pages:
    """A service in a home of its own, and what its pages say."""

    def __init__(self, path: Path) -> None:
        self.home = Home(path, PROGRAM)
        self.start()

    def start(self) -> None:
        self.process, _ = begin(self.home.path, SAMOVAR_WEB="127.0.0.1:0")
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert "dashboard at http://127.0.0.1:" in line
        self.url = line.split()[-1]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=SECONDS) as answer:
            return json.load(answer)

    def await_in(self, path: str, holds: Any) -> Any:
        """What is said there as soon as it holds, as streams of events tell when to look again."""
        with urllib.request.urlopen(f"{self.url}/api/v1/events", timeout=SECONDS) as events:
            for _ in range(60 * 4):
                with contextlib.suppress(urllib.error.HTTPError):
                    found = self.get(path)
                    if holds(found):
                        return found
                while not events.readline().startswith(b"data:"):
                    pass
        raise AssertionError(f"{path} has never been as it should be: {found}")


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    made = Pages(tmp_path)
    yield made
    if made.process.poll() is None:
        end(made.process)


def test_a_run_is_seen_while_a_replica_is_killed_and_after_a_restart(pages):
    run = pages.home.begin("main", "--n", "6", name="r1")
    pool = pages.await_in("/pools", lambda found: found["items"] and found["items"][0]["active"] == 4)["items"][0]
    victim = pool["rows"][0]
    os.kill(victim["pid"], signal.SIGKILL)
    pages.await_in(f"/pools/{pool['name']}", lambda one: victim["name"] not in [row["name"] for row in one["rows"]])
    (pages.home.path / "go").touch()
    out, _ = run.communicate(timeout=SECONDS)
    assert out.strip() == "15"
    detail = pages.get("/runs/r1")
    assert (detail["phase"], detail["counts"]["succeeded"]) == ("succeeded", 7)
    line = pages.get(f"/pools/{pool['name']}/timeline")
    bars = line["executions"]
    assert bars["phase"].count(4) >= 1, "what ran on it was tried again"
    assert bars["phase"].count(1) == 7
    assert {len(column) for column in bars.values()} == {len(bars["row"])}
    assert any(one["ended_at"] and "SIGKILL" in one["end_reason"] for one in line["replicas"])
    assert any("the most that the policy allows" in event["reason"] for event in line["events"])
    retried = [a for a in pages.get("/runs/r1/actions")["items"] if a["attempts"] > 1]
    assert retried
    near = pages.get(f"/runs/r1/actions/{retried[0]['id']}")
    assert any(span["name"] == "retry" and "was lost under it" in span["reason"] for span in near["spans"])
    assert near["spans"][0]["start"] == near["queued"]
    assert near["spans"][-1]["end"] == near["ended"]
    end(pages.process)
    pages.start()
    assert pages.get("/runs/r1")["counts"]["succeeded"] == 7
    again = pages.get(f"/runs/r1/actions/{retried[0]['id']}")
    assert again["result"] == near["result"]
    assert again["spans"][0]["start"] == near["spans"][0]["start"]
    lines = pages.get("/runs/r1/logs")["lines"]
    assert {line["text"] for line in lines} >= {f"work {n}" for n in range(6)}
    logged = pages.home.samovar("logs", "r1", "-f", "-o", "json").stdout
    assert [json.loads(line) for line in logged.splitlines()] == lines, "the command and the page show the same"


def test_a_service_ends_in_time_with_open_streams(pages):
    run = pages.home.begin("main", "--n", "1", name="r1")
    pages.await_in("/runs", lambda found: found["items"])
    streams = [
        urllib.request.urlopen(f"{pages.url}/api/v1{path}", timeout=SECONDS)
        for path in ("/events", "/runs/r1/logs/stream")
    ]
    read: list[bytes] = []
    readers = [threading.Thread(target=lambda s=stream: read.append(s.read())) for stream in streams]
    for reader in readers:
        reader.start()
    pages.process.send_signal(signal.SIGTERM)
    pages.process.send_signal(signal.SIGTERM)
    _, said = pages.process.communicate(timeout=SECONDS)
    for reader in readers:
        reader.join(SECONDS)
    assert len(read) == 2, "streams end as they should, not in the middle of a part"
    assert pages.process.returncode == 0
    assert "dashboard" not in said
    run.kill()
    run.communicate()


def test_status_and_the_run_say_where_the_pages_are(pages):
    (pages.home.path / "go").touch()
    done = pages.home.samovar("run", "--name", "r1", "--no-log", str(pages.home.script), "main", "--n", "1")
    assert f"run r1 is shown at {pages.url}/#/runs/r1" in done.stderr
    assert json.loads(pages.home.samovar("status", "-o", "json").stdout)["web"] == pages.url
    assert f"dashboard: {pages.url}" in pages.home.samovar("status").stdout


def test_an_engine_of_ones_own_shows_its_run(tmp_path):
    home = Home(tmp_path, PROGRAM)
    home.variables["SAMOVAR_WEB"] = "127.0.0.1:0"
    run = home.popen("run", "--web", "--name", "r1", str(home.script), "main", "--n", "2")
    assert run.stderr is not None
    url = next(line.split()[-1] for line in run.stderr if "dashboard at" in line)
    pages = Pages.__new__(Pages)
    pages.url = url
    pages.await_in("/runs/r1", lambda found: found["counts"]["running"] == 3)
    (tmp_path / "go").touch()
    out, _ = run.communicate(timeout=SECONDS)
    assert (out.strip(), run.returncode) == ("1", 0)


def test_without_pages_nothing_of_them_is_loaded(tmp_path):
    home = Home(tmp_path, PROGRAM)
    (tmp_path / "go").touch()
    done = home.python("-X", "importtime", "-m", "samovar", "run", str(home.script), "main", "--n", "1")
    assert done.stdout.strip() == "0"
    assert "samovar.engine.engine" in done.stderr
    assert not [name for name in ("fastapi", "uvicorn", "starlette", "samovar.web") if name in done.stderr]


def test_a_service_serves_without_the_packages(tmp_path):
    (tmp_path / "hidden").mkdir()
    hook = "import sys\nsys.modules['fastapi'] = None\n"
    (tmp_path / "hidden" / "sitecustomize.py").write_text(hook)
    more = {"SAMOVAR_WEB": "127.0.0.1:0", "PYTHONPATH": str(tmp_path / "hidden")}
    process, _ = begin(tmp_path, **more)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "pip install 'samovar[web]'" in line
    end(process)
    assert process.returncode == 0


def test_every_answer_is_as_the_description_says(pages):
    """Requests that the description allows, and such that it does not, by schemathesis."""
    (pages.home.path / "go").touch()
    pages.home.samovar("run", "-q", "--name", "r1", str(pages.home.script), "main", "--n", "3")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{pages.url}/openapi.json"),
        *("--checks", "all", "--max-examples", "5", "--seed", "1", "--exclude-path-regex", "events|stream"),
        *("--phases", "examples,coverage,fuzzing", "--no-color"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=pages.home.path, check=False)
    assert done.returncode == 0, done.stdout[-6000:]


def test_a_token_for_the_pages_alone(tmp_path):
    home = Home(tmp_path, PROGRAM)
    process, _ = begin(tmp_path, SAMOVAR_WEB="0.0.0.0:0")
    assert process.stderr is not None
    port = process.stderr.readline().split(",")[0].rpartition(":")[2]
    token = home.samovar("token", "--name", "ann").stdout.strip()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/service")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(asked, timeout=SECONDS)
    assert raised.value.code == 401
    raised.value.close()
    asked.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
        assert json.load(answer)["driver"]
    end(process)
