"""The tests' own engine: it answers, goes away, comes back, and has a base image."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket

from .engine import SECONDS


def ask(engine, path: str):
    connection = http.client.HTTPConnection("localhost")
    with contextlib.closing(connection), socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(str(engine.socket))
        connection.request("GET", path)
        with connection.getresponse() as answer:
            assert answer.status == 200
            return json.loads(answer.read())


def test_it_answers_and_comes_back(container_engine):
    assert ask(container_engine, "/version")["ApiVersion"]
    container_engine.stop()
    assert not container_engine.socket.exists()
    container_engine.start()
    assert ask(container_engine, "/version")["ApiVersion"]


def test_the_base_runs(container_engine):
    said = container_engine.cli("run", "--rm", "--network=none", container_engine.base(), "python3", "-c", "print(1)")
    assert said == "1\n"
