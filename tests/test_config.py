"""Settings: the environment first, then a file, and clear words where either is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from samovar import config
from samovar.core.pools import LEASE
from samovar.errors import InitializationError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("SAMOVAR_CONFIG", *(f"SAMOVAR_{name.upper()}" for name in config.Settings._fields)):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "samovar").mkdir()
    return tmp_path / "samovar"


def test_nothing_is_set() -> None:
    assert config.load() == config.Settings(driver="auto", endpoint="", journal="", lease=LEASE)


def test_the_file_and_above_it_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.toml").write_text('driver = "process"\nlease = 7\n')
    assert config.load() == config.Settings(driver="process", lease=7.0)
    monkeypatch.setenv("SAMOVAR_DRIVER", "container")
    monkeypatch.setenv("SAMOVAR_LEASE", "2.5")
    monkeypatch.setenv("SAMOVAR_KEEP_DAYS", "0.5")
    monkeypatch.setenv("SAMOVAR_KEEP_RUNS", "10")
    monkeypatch.setenv("SAMOVAR_MAX_QUEUED", "2_000")
    assert config.load() == config.Settings(driver="container", lease=2.5, max_queued=2000, keep_days=0.5, keep_runs=10)


def test_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text("lease = 60")
    monkeypatch.setenv("SAMOVAR_CONFIG", str(tmp_path / "mine.toml"))
    assert config.load().lease == 60


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            'colour = "green"',
            r"config\.toml: there is no setting colour; there are driver, .*journal, lease, max_queued",
        ),
        (
            "endpoint = 'here'",
            r"config\.toml: endpoint='here': it must be the path of a Unix socket, samovar://HOST:PORT, or 'none'",
        ),
        ("lease = 1", r"config\.toml: lease=1: it must be a number of seconds, 2 or more"),
        ("lease = [3]", r"lease=\[3\]"),
        ("loop_patience = 0", r"loop_patience=0: it must be a number of seconds, more than 0"),
        ('loop_patience = "x"', r"loop_patience='x'"),
        ("traces_per_second = -1", r"traces_per_second=-1: it must be a number of actions, or 0 for all"),
        ("traces_per_second = inf", r"traces_per_second=inf"),
        ("traces_per_second = []", r"traces_per_second=\[\]"),
        ("lease = nan", "lease=nan"),
        ("max_queued = 0", r"config\.toml: max_queued=0: it must be a whole number of actions, 1 or more"),
        ("max_queued = 1.5", r"max_queued=1\.5"),
        ("keep_days = 0", r"config\.toml: keep_days=0: it must be a number of days, more than 0"),
        ("keep_days = nan", "keep_days=nan"),
        ("keep_days = []", r"keep_days=\[\]"),
        ("keep_runs = 0", r"config\.toml: keep_runs=0: it must be a whole number of runs, 1 or more"),
        ("keep_runs = 2.5", r"keep_runs=2\.5"),
        ("lease", r"config\.toml cannot be read"),
    ],
)
def test_a_file_that_is_wrong(home: Path, text: str, wrong: str) -> None:
    (home / "config.toml").write_text(text)
    with pytest.raises(InitializationError, match=wrong):
        config.load()


def test_a_variable_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMOVAR_LEASE", "soon")
    with pytest.raises(InitializationError, match="SAMOVAR_LEASE='soon'"):
        config.load()
    monkeypatch.setenv("SAMOVAR_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(InitializationError, match="which is not there"):
        config.load()


def test_endpoints(home: Path) -> None:
    for written, meant in (("/run/s.sock", "/run/s.sock"), ("unix:///run/s.sock", "/run/s.sock"), ("none", "none")):
        (home / "config.toml").write_text(f"endpoint = {written!r}")
        assert config.load().endpoint == meant


def test_where_the_pages_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.web() == ""
    assert config.web("10.0.0.1") == f"10.0.0.1:{config.WEB_PORT}"
    monkeypatch.setenv("SAMOVAR_WEB", "none")
    assert config.web() == config.NO_WEB
    assert config.web("[::1]:80") == "[::1]:80"
    with pytest.raises(InitializationError, match=r"--web='http://x'.*or 'none'"):
        config.web("http://x")


def test_where_the_journal_is(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.journal() == str(tmp_path / "state" / "samovar" / "journal.db")
    monkeypatch.setenv("SAMOVAR_JOURNAL", "postgresql://me@here/runs")
    assert config.journal() == "postgresql://me@here/runs"
    monkeypatch.setenv("SAMOVAR_JOURNAL", "none")
    assert config.journal() == ""
