"""What an invented service says: enough of everything for the pages, the same at each call.

It is for what a real service cannot be made to say in seconds: a hundred thousand executions, names that attack, every
state beside every other one. What real services say is tested beside it.
"""

from __future__ import annotations

import random
import time
from typing import Any

EVIL = "<script>alert(1)</script>"
TASKS = ["resize_image", "extract_text", "train_fold", EVIL, "a_task_with_a_name_that_is_much_longer_than_its_bar"]
RUN = "nightly-import-7f3a"
POOL = "images@4be1c7"

Json = dict[str, Any]


def settings(low: int = 1, high: int = 8, concurrency: int = 4) -> Json:
    times = {"idle_ttl": 300.0, "scaledown_ttl": 60.0, "max_tasks": None}
    return {"min_replicas": low, "max_replicas": high, "concurrency": concurrency, **times}


def replica(pool: str, number: int, state: str = "ready", slots: int = 4, active: int = 0, parked: int = 0) -> Json:
    now = time.time()
    is_up = state != "starting"
    return {
        "name": f"{pool}-3.{number}",
        "pool": pool,
        "state": state,
        "slots": slots,
        "active": active,
        "parked": parked,
        "served": 4812 * number if is_up else 0,
        "age": 3600.0 * number + 42 if is_up else 0.3,
        "heard": 0.4,
        "pid": 4000 + number,
        "rss": (96 + 31 * number) << 20 if is_up else 0,
        "cpu": min(0.97, 0.21 * active) if is_up else None,
        "lag": 0.0021 * number,
        "runs": [f"{RUN}/{TASKS[at % len(TASKS)]} {at}" for at in range(active)],
        "started_at": now - 3600.0 * number,
        "blockage": None,
    }


def history(seed: int, most: int) -> Json:
    rng = random.Random(seed)
    now = time.time()
    queued, active, done = [], [], []
    level = most / 2
    for _ in range(120):
        level = min(most, max(0, level + rng.uniform(-1, 1) * most / 6))
        queued.append(int(level))
        active.append(int(min(16, level / 2)))
        done.append(round(level * 3.1, 1))
    return {"at": [now - 120 + at for at in range(120)], "queued": queued, "active": active, "done_per_second": done}


def pool(name: str, state: str, rows: list[Json], note: str = "", **more: Any) -> Json:
    counts = {kind: sum(row["state"] == kind for row in rows) for kind in ("starting", "ready", "draining")}
    said = {
        "name": name,
        "environment": name.partition("@")[0],
        "state": state,
        "note": note,
        "queued": 0,
        "slots": sum(row["slots"] for row in rows if row["state"] == "ready"),
        "active": sum(row["active"] for row in rows),
        "parked": sum(row["parked"] for row in rows),
        "replicas": counts,
        "done": 0,
        "failed": 0,
        "cold": 0,
        "warm": 0,
        "throughput": 0.0,
        "settings": settings(),
        "history": {"at": [], "queued": [], "active": [], "done_per_second": []},
        "rows": rows,
    }
    return {**said, **more}


def pools() -> list[Json]:
    busy = [
        replica(POOL, 1, active=4, parked=2),
        replica(POOL, 2, active=3),
        replica(POOL, 3, "starting"),
        replica(POOL, 4, "draining", active=1),
    ]
    wide = [replica("embeddings@90ab12", number, slots=100, active=37, parked=12) for number in range(1, 12)]
    work = {"queued": 1204, "done": 481_233, "failed": 17, "cold": 9, "warm": 481_241, "throughput": 312.4}
    return [
        pool(POOL, "awake", busy, "1,204 wait for a free slot; one replica starts", history=history(1, 1400), **work),
        pool(
            "embeddings@90ab12",
            "awake",
            wide,
            history=history(2, 40),
            done=90_112,
            cold=11,
            warm=90_101,
            throughput=88.0,
        ),
        pool("reports@1122dd", "asleep", [], done=12, cold=1, warm=11),
        pool("broken@ffee00", "awake", [], "its replicas do not start: image build failed; next try in 8 s", queued=3),
    ]


def run(number: int, phase: str = "succeeded", task: str = TASKS[0], actions: int = 1) -> Json:
    started = time.time() - 60 * (number + 1)
    ended = None if phase in ("running", "queued") else started + 0.0042 * (number + 1) ** 3
    name = RUN if number == 0 else f"run-{number:05d}"
    said = {"name": name, "task": task, "phase": phase, "started": started, "ended": ended, "actions": actions}
    return {**said, "engine": "service 3", "is_live": ended is None}


def runs() -> list[Json]:
    phases = ["running", "succeeded", "failed", "succeeded", "aborted", "timed_out", "succeeded"]
    return [run(n, phases[n % 7], TASKS[n % 5], (n * 7919) % 100_000 if n else 1_000_000) for n in range(130)]


def action(number: int, parent: str, **more: Any) -> Json:
    now = time.time()
    phases = ["succeeded", "succeeded", "running", "succeeded", "failed", "queued", "aborted"]
    phase = more.pop("phase", phases[number % 7])
    queued = now - 58 + (number % 60) * 0.9
    started = None if phase == "queued" else queued + 0.4
    ended = started + 1.7 if started and phase != "running" else None
    said = {
        "run": RUN,
        "id": f"{number:08x}deadbeef",
        "number": number,
        "parent": parent,
        "task": TASKS[number % 5],
        "phase": phase,
        "queued": queued,
        "started": started,
        "ended": ended,
        "attempts": 2 if phase == "failed" else 1,
        "replica": f"{POOL}-3.{1 + number % 2}",
        "cold": number == 1,
        "cached": False,
        "is_traced": False,
        "error": "ValueError: the page has no text" if phase == "failed" else "",
        "has_children": number < 3,
    }
    return {**said, **more}


ROOT = "00000000deadbeef"

TRACEBACK = f"""Traceback (most recent call last):
  File "/home/ada/work/pages.py", line 41, in {EVIL}
    text = extract(page, strict=True)
  File "/home/ada/work/extract.py", line 12, in extract
    raise ValueError("the page has no text")
ValueError: the page has no text
"""


def spans(one: Json) -> list[Json]:
    at = one["queued"]
    parts = [
        ("queue", 0.31, "no free slot on 2 replicas"),
        ("start", 0.62, "a replica was started; its image was there"),
        ("dispatch", 0.004, ""),
        ("run", 0.9, ""),
        ("parked", 1.6, "waited for 3 children"),
        ("run", 0.4, ""),
    ]
    found = []
    for name, seconds, reason in parts:
        found.append({"name": name, "start": at, "end": at + seconds, "reason": reason})
        at += seconds
    return found


def action_detail(one: Json) -> Json:
    is_failed = one["phase"] == "failed"
    error = {"kind": "user", "code": "ValueError", "message": "the page has no text", "traceback": TRACEBACK}
    attempts = [
        {
            "attempt": at + 1,
            "replica": one["replica"],
            "cold": at == 0,
            "started": one["queued"] + at,
            "ended": one["queued"] + at + 0.8,
        }
        for at in range(one["attempts"])
    ]
    for at, attempt in enumerate(attempts):
        attempt["failure"] = (
            ["replica lost: killed by signal 9", "ValueError: the page has no text"][at] if is_failed else ""
        )
    return {
        **one,
        "inputs": f"page = Page(number=7, name={EVIL!r}, words=[…])\nstrict = True",
        "result": None if is_failed or one["ended"] is None else "{'words': 1204, 'language': 'en'}",
        "attempts_list": attempts,
        "failure": error if is_failed else None,
        "spans": spans(one),
        "pool": POOL,
    }


def lines(count: int) -> list[Json]:
    now = time.time()
    texts = ["page 7 of 120 is read", f"{EVIL} is only text", "warning: no language given, taking English"]
    return [
        {
            "at": now - (count - at) * 0.05,
            "action": f"{at % 40:08x}deadbeef",
            "number": at % 40,
            "task": TASKS[at % 5],
            "stream": "stderr" if at % 3 == 2 else "stdout",
            "text": texts[at % 3],
        }
        for at in range(count)
    ]


def timeline(executions: int, replicas: int = 12, concurrency: int = 3, seconds: float = 600.0) -> Json:
    """``concurrency`` lanes a replica, filled one after the other with executions of varying length."""
    rng = random.Random(20)
    now = time.time()
    begin = now - seconds
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("row", "start", "end", "task", "phase", "cold", "attempt", "run", "action", "members", "busy")
    }
    parked: dict[str, list[Any]] = {"execution": [], "start": [], "end": []}
    fleet = [_life(number, replicas, begin, seconds) for number in range(replicas)]
    each = max(1, executions // (replicas * concurrency))
    for row, one in enumerate(fleet):
        end = one["ended_at"] or now
        for _ in range(concurrency):
            at = one["ready_at"]
            mean = (end - at) / each
            for number in range(each):
                length = mean * rng.uniform(0.3, 1.3)
                until = min(at + length, end)
                index = len(columns["row"])
                is_last = number == each - 1 and one["ended_at"] is None
                phase = 0 if is_last else 2 if rng.random() < 0.01 else 3 if rng.random() < 0.003 else 1
                if number == each - 1 and one["ended_at"]:
                    phase = 4
                values = (row, at, None if is_last else until, rng.choices(range(5), [40, 30, 15, 5, 10])[0], phase)
                more = (int(number == 0), 1, 0, index, 1, until - at)
                for name, value in zip(columns, (*values, *more), strict=True):
                    columns[name].append(value)
                if rng.random() < 0.08:
                    parked["execution"].append(index)
                    parked["start"].append(at + length * 0.3)
                    parked["end"].append(None if is_last else at + (until - at) * 0.8)
                at = until + mean * rng.uniform(0.0, 0.25)
                if at >= end:
                    break
    return {
        "pool": POOL,
        "since": None,
        "until": None,
        "now": now,
        "tasks": TASKS,
        "replicas": fleet,
        "executions": columns,
        "runs": [RUN],
        "parked": parked,
        "events": _decisions(fleet),
        "dropped": 0,
    }


def _life(number: int, of: int, begin: float, seconds: float) -> Json:
    starting = begin + seconds * 0.3 * number / of
    is_ended = number % 5 == 3
    return {
        "name": f"{POOL}-3.{number + 1}",
        "starting_at": starting,
        "ready_at": starting + seconds * 0.02,
        "ended_at": begin + seconds * (0.6 + 0.3 * number / of) if is_ended else None,
        "end_reason": "killed by signal 9" if is_ended else "",
    }


def _decisions(fleet: list[Json]) -> list[Json]:
    found = []
    for number, one in enumerate(fleet):
        say = {"replicas": number + 1, "replica": one["name"]}
        found.append({"at": one["starting_at"], "change": "starting", "reason": f"{40 + number} queued", **say})
        if one["ended_at"]:
            found.append({"at": one["ended_at"], "change": "lost", "reason": "killed by signal 9", **say})
    return sorted(found, key=lambda event: event["at"])
