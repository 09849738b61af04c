"""The web server beside a station: where it listens, and that what goes wrong in it stays there."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request

import pytest

from samovar import config
from samovar.errors import InitializationError
from samovar.host.premises import Premises
from samovar.web import app, server
from samovar.web.server import NoPages, opener, why_none

from .conftest import Station

SECONDS = 30


class Said:
    """Lines, and when the first has come."""

    def __init__(self):
        self.lines = []
        self.come = threading.Event()

    def __call__(self, line):
        self.lines.append(line)
        self.come.set()


@pytest.fixture
def premises(tmp_path):
    station = Station(tmp_path, None)
    yield Premises(station)
    station.close()


def test_it_answers_until_it_is_shut(premises):
    said = Said()
    pages = opener("127.0.0.1:0")(premises, said)
    with urllib.request.urlopen(f"{pages.url}/api/v1/service", timeout=SECONDS) as answer:
        assert json.load(answer)["url"] == pages.url
    assert pages.url_for_others == ""
    pages.shut()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"{pages.url}/healthz", timeout=SECONDS)
    assert said.lines == []
    pages.shut()


def test_it_is_shut_before_it_has_begun(premises):
    said = Said()
    opener("127.0.0.1:0")(premises, said).shut()
    assert said.lines == []


def test_a_port_that_is_taken(premises, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InitializationError, match="--web none"):
            opener(f"127.0.0.1:{port}")(premises, Said())
        monkeypatch.setattr(config, "WEB_PORT", port)
        pages = opener("")(premises, Said())
        assert pages.url != f"http://127.0.0.1:{port}"
        pages.shut()


def test_a_crash_is_said_and_ends_nothing_else(premises, monkeypatch):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr(app, "application", broken)
    said = Said()
    pages = opener("127.0.0.1:0")(premises, said)
    assert said.come.wait(SECONDS)
    assert said.lines == ["the dashboard has ended, and the service goes on: RuntimeError: boom"]
    pages.shut()


def test_a_failure_to_answer_is_said_and_is_a_problem(premises, monkeypatch):
    said = Said()
    pages = opener("127.0.0.1:0")(premises, said)
    with urllib.request.urlopen(f"{pages.url}/healthz", timeout=SECONDS):
        pass

    def broken():
        raise RuntimeError("boom")

    monkeypatch.setattr(premises.station.engine.survey, "pools", broken)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{pages.url}/api/v1/pools", timeout=SECONDS)
    problem = json.load(raised.value)
    assert (raised.value.code, problem["status"]) == (500, 500)
    assert "boom" not in json.dumps(problem), "what is inside is for the log"
    assert said.come.wait(SECONDS)
    assert "boom" in said.lines[0]
    pages.shut()


def test_without_the_packages_it_says_how_to_get_them(premises, monkeypatch):
    monkeypatch.setattr(server, "_PACKAGES", ("fastapi", "there_is_no_such_package"))
    pages = opener("")(premises, Said())
    assert isinstance(pages, NoPages)
    assert "pip install 'samovar[web]'" in pages.about
    assert why_none() == pages.about, "the command that starts a service says the same"
    pages.shut()


def test_off_loopback_a_token_is_needed(premises, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    pages = opener("0.0.0.0:0")(premises, Said())
    assert "token" in pages.about
    assert pages.url_for_others == pages.url
    port = pages.url.rpartition(":")[2]
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/pools", timeout=SECONDS)
    assert raised.value.code == 401
    raised.value.close()
    pages.shut()
