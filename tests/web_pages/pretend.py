"""A server that answers the contract of the API with what ``invented`` says; it can be empty, broken, and gone."""

from __future__ import annotations

import contextlib
import json
import mimetypes
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import samovar
from samovar.web.guard import HEADERS
from tests.web_pages import invented

STATIC = Path(samovar.__file__).parent / "web" / "static"
POLICY = HEADERS["content-security-policy"]


class World:
    """What there is. A test changes it and looks at the pages."""

    def __init__(self) -> None:
        self.pools = invented.pools()
        self.runs = invented.runs()
        self.executions, self.replicas = 400, 12
        self.children = 1_000_000
        self.lines = 240
        self.token = ""
        self.refusal = ""
        self.posted: list[tuple[str, Any]] = []
        self.asked: list[str] = []
        self._timeline: dict[str, Any] | None = None

    def timeline(self) -> dict[str, Any]:
        """The same past at each call."""
        if self._timeline is None:
            self._timeline = invented.timeline(self.executions, self.replicas)
        return {**self._timeline, "now": time.time()}

    def empty(self) -> None:
        self.pools, self.runs = [], []


class Refused(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


class Pretend:
    """The server; ``stop`` ends it with all its streams, ``start`` opens it at the same port."""

    def __init__(self) -> None:
        self.world = World()
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.closing = threading.Event()
        handler = type("Bound", (_Handler,), {"pretend": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        assert self._server is not None
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def running() -> Iterator[Pretend]:
    pretend = Pretend()
    try:
        yield pretend
    finally:
        pretend.stop()


class _Handler(BaseHTTPRequestHandler):
    pretend: Pretend

    def log_message(self, format: str, *arguments: object) -> None:
        return None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.pretend.world.asked.append(self.path)
        if not address.path.startswith("/api/"):
            return self._file(address.path)
        query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        self._answer(lambda parts: self._get(parts, query))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))) or b"{}")
        self._answer(lambda parts: self._post(parts, body))

    # answers

    def _answer(self, find: Any) -> None:
        world = self.pretend.world
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[3:]]
        try:
            if world.token and self.headers.get("authorization") != f"Bearer {world.token}":
                raise Refused(401, "A token is needed", "`samovar token` makes one")
            if parts[-1] in ("events", "stream"):
                return self._stream(parts)
            self._send(200, "application/json", json.dumps(find(parts)).encode())
        except Refused as why:
            said = {"type": "about:blank", "title": why.title, "status": why.status, "detail": why.detail}
            self._send(why.status, "application/problem+json", json.dumps(said).encode())

    def _get(self, parts: list[str], query: dict[str, str]) -> Any:
        world = self.pretend.world
        match parts:
            case ["service"]:
                journal = {"kept": True, "backlog": 0, "lag": 0.0, "is_slow": False, "trouble": ""}
                about = {"version": "0.1.0", "pid": 1, "driver": "process", "address": "/run/samovar.sock"}
                return {
                    **about,
                    "url": self.pretend.url,
                    "started_at": time.time(),
                    "journal": journal,
                    "now": time.time(),
                }
            case ["pools"]:
                return {"items": world.pools, "next": ""}
            case ["pools", name]:
                return self._pool(name)
            case ["pools", name, "timeline"]:
                since = float(query.get("since", "0"))
                return _since(world.timeline(), since) if self._pool(name)["rows"] else _nothing(name)
            case ["replicas", name]:
                return self._replica(name)
            case ["runs"]:
                return _page([run for run in world.runs if _fits(run, query)], query)
            case ["runs", name]:
                return self._run(name)
            case ["runs", _, "actions"]:
                return self._actions(query)
            case ["runs", _, "actions", number]:
                return self._action(number)
            case ["runs", _, "logs"]:
                return {
                    "lines": [] if query.get("after") else invented.lines(world.lines),
                    "next": "z",
                    "is_last": True,
                }
        raise Refused(404, "Not found", f"there is nothing at {self.path}")

    def _pool(self, name: str) -> Any:
        for pool in self.pretend.world.pools:
            if pool["name"] == name:
                return pool
        raise Refused(404, "No such pool", f"there is no pool {name}; `samovar get pools` lists them")

    def _replica(self, name: str) -> Any:
        for pool in self.pretend.world.pools:
            for row in pool["rows"]:
                if row["name"] == name:
                    past = invented.history(5, 100)
                    more = {"rss": [(90 + n) << 20 for n in past["queued"]], "lag": [n / 1e4 for n in past["queued"]]}
                    seen = {
                        "at": past["at"],
                        **more,
                        "cpu": [n / 100 for n in past["queued"]],
                        "active": past["active"],
                    }
                    return {
                        **row,
                        "history": seen,
                        "environment": pool["environment"],
                        "log": ["model loaded", invented.EVIL],
                    }
        raise Refused(404, "No such replica", f"there is no replica {name}: it has ended, or never was")

    def _run(self, name: str) -> Any:
        for run in self.pretend.world.runs:
            if run["name"] == name:
                counts = {
                    "queued": 812_001,
                    "waiting": 2,
                    "running": 16,
                    "succeeded": 187_900,
                    "failed": 71,
                    "aborted": 10,
                }
                root = invented.action(0, "", phase=run["phase"], task=run["task"], id=invented.ROOT)
                return {**run, "counts": {**counts, "timed_out": None}, "root": root, "pools": [invented.POOL]}
        raise Refused(404, "No such run", f"there is no run {name}; `samovar get runs` lists them")

    def _action(self, name: str) -> Any:
        """By its id, or its number in the run."""
        with contextlib.suppress(ValueError):
            at = int(name) if name.isdecimal() and len(name) < 8 else int(name[:8], 16)
            return invented.action_detail(invented.action(at, "" if at == 0 else invented.ROOT))
        raise Refused(404, "No such action", f"there is no action {name} in this run")

    def _actions(self, query: dict[str, str]) -> Any:
        limit, at = int(query["limit"]), int(query.get("after") or "0")
        parent = query.get("parent", invented.ROOT)
        most = {invented.ROOT: self.pretend.world.children}.get(parent, 3)
        base = 1 if parent == invented.ROOT else 3 + int(parent[:8], 16) * 10
        items = [invented.action(base + n, parent) for n in range(at, min(at + limit, most))]
        items = [one for one in items if _fits(one, query)]
        return {"items": items, "next": str(at + limit) if at + limit < most else ""}

    def _post(self, parts: list[str], body: Any) -> Any:
        world = self.pretend.world
        if world.refusal:
            raise Refused(409, "Refused", world.refusal)
        world.posted.append(("/".join(parts), body))
        if parts[0] == "pools":
            pool = self._pool(parts[1])
            if parts[2] == "scale":
                pool["settings"] = {**pool["settings"], "min_replicas": body["min"], "max_replicas": body["max"]}
            else:
                pool["state"] = {"drain": "draining", "stop": "asleep"}[parts[2]]
            return pool
        return {"run": parts[1], "action": ""}

    # streams and files

    def _stream(self, parts: list[str]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-security-policy", POLICY)
        self.end_headers()
        number = 0
        with contextlib.suppress(OSError):
            while not self.pretend.closing.is_set():
                if parts == ["events"]:
                    self._event("pools", {"items": self.pretend.world.pools, "next": ""})
                else:
                    self._event("line", invented.lines(1)[0], str(number))
                number += 1
                self.pretend.closing.wait(0.5)

    def _event(self, name: str, data: Any, cursor: str = "") -> None:
        said = f"event: {name}\n" + (f"id: {cursor}\n" if cursor else "") + f"data: {json.dumps(data)}\n\n"
        self.wfile.write(said.encode())
        self.wfile.flush()

    def _file(self, path: str) -> None:
        found = STATIC / ("index.html" if path == "/" else path.removeprefix("/"))
        if not found.resolve().is_relative_to(STATIC) or not found.is_file():
            return self._send(404, "text/plain", b"")
        self._send(200, mimetypes.guess_type(found.name)[0] or "text/plain", found.read_bytes())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", POLICY)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)


def _fits(one: dict[str, Any], query: dict[str, str]) -> bool:
    wanted = query.get("search", "").lower()
    same = all(one[name] == query[name] for name in ("phase", "task") if query.get(name))
    return same and wanted in f"{one.get('name', '')} {one['task']}".lower()


def _page(items: list[Any], query: dict[str, str]) -> Any:
    limit, at = int(query.get("limit", "50")), int(query.get("after") or "0")
    return {"items": items[at : at + limit], "next": str(at + limit) if at + limit < len(items) else ""}


def _since(timeline: dict[str, Any], since: float) -> Any:
    """Only what goes on after ``since``."""
    columns = timeline["executions"]
    kept = [at for at, end in enumerate(columns["end"]) if end is None or end >= since]
    place = {at: number for number, at in enumerate(kept)}
    parked = timeline["parked"]
    still = [at for at, one in enumerate(parked["execution"]) if one in place]
    timeline["executions"] = {name: [values[at] for at in kept] for name, values in columns.items()}
    rests = {name: [parked[name][at] for at in still] for name in ("start", "end")}
    timeline["parked"] = {"execution": [place[parked["execution"][at]] for at in still], **rests}
    timeline["events"] = [event for event in timeline["events"] if event["at"] >= since]
    return timeline


def _nothing(pool: str) -> Any:
    timeline = invented.timeline(0, replicas=0)
    return {**timeline, "pool": pool, "tasks": [], "runs": []}


if __name__ == "__main__":
    pretend = Pretend()
    print(pretend.url, flush=True)
    threading.Event().wait()
