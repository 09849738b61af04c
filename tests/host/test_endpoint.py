"""Endpoints and the settings around them: how they are written, and what is never shown."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar import config, endpoint
from samovar.endpoint import Remote, parse
from samovar.errors import InitializationError

PIN = "0123456789abcdef" * 4
TOKEN = f"{endpoint.TOKEN_PREFIX}s3cr3t-s3cr3t_s3cr3t"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("none", "none"),
        ("/run/service.sock", "/run/service.sock"),
        ("unix:///run/service.sock", "/run/service.sock"),
        (" samovar://tea.example ", Remote("tea.example", endpoint.PORT)),
        ("samovar://tea.example:99", Remote("tea.example", 99)),
        (f"samovar://[::1]:99#{PIN}", Remote("::1", 99, PIN)),
        (f"samovar://{TOKEN}@10.0.0.1#sha256:{PIN.upper()}", Remote("10.0.0.1", endpoint.PORT, PIN, TOKEN)),
        (f"samovar://h#{':'.join(PIN[at : at + 2] for at in range(0, 64, 2))}", Remote("h", endpoint.PORT, PIN)),
    ],
)
def test_what_is_meant(text: str, meant: object) -> None:
    assert parse(text) == meant
    if isinstance(meant, Remote):
        assert parse(meant.in_full) == meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("there", "must be the path of a Unix socket"),
        ("https://h:1", "must be the path of a Unix socket"),
        ("samovar://", "must have a host and a port"),
        ("samovar://h:port", "must have a host and a port"),
        ("samovar://h:70000", "must have a host and a port"),
        ("samovar://h:1/path", "must have a host and a port"),
        ("samovar://::1", "must have a host and a port"),
        ("samovar://h#abc", "64 hexadecimal digits"),
        ("samovar://a b@h", "the token is none"),
    ],
)
def test_what_is_none(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(text)


@given(st.text())
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse(f"samovar://{text}")


def test_a_token_is_not_shown() -> None:
    remote = parse(f"samovar://{TOKEN}@h:1#{PIN}")
    for text in (str(remote), repr(remote), endpoint.shown(f"samovar:/{TOKEN}"), endpoint.shown(f"x://{TOKEN}@h")):
        assert "s3cr3t" not in text
    assert endpoint.shown("samovar://other-token@h:1") == "samovar://…@h:1"
    assert endpoint.shown("/run/a@b") == "/run/a@b"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a user's settings."""
    for name in config.Settings._fields:
        monkeypatch.delenv(f"SAMOVAR_{name.upper()}", raising=False)
    monkeypatch.setenv("SAMOVAR_CONFIG", str(path := tmp_path / "config.toml"))
    path.touch(mode=0o600)
    return path


def test_the_argument_the_variable_the_file_in_that_order(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text('endpoint = "samovar://file"\naccess_token = "from-file"\nlisten = "0.0.0.0"\n')
    assert config.service_at() == Remote("file", endpoint.PORT, token="from-file")
    monkeypatch.setenv("SAMOVAR_ENDPOINT", "samovar://own@variable")
    assert config.service_at() == Remote("variable", endpoint.PORT, token="own")
    assert config.service_at("samovar://argument") == Remote("argument", endpoint.PORT, token="from-file")
    monkeypatch.setenv("SAMOVAR_ACCESS_TOKEN", "from-variable")
    assert config.service_at("samovar://argument") == Remote("argument", endpoint.PORT, token="from-variable")
    assert config.service_at("none") == "none"
    assert config.load().listen == f"0.0.0.0:{endpoint.PORT}"
    assert "from-variable" not in repr(config.load())


@pytest.mark.parametrize("line", [f'endpoint = "samovar://{TOKEN}@h"', f'access_token = "{TOKEN}"'])
def test_a_file_with_a_token_in_it_is_private(settings: Path, line: str) -> None:
    settings.write_text(line)
    settings.chmod(0o644)
    with pytest.raises(InitializationError, match="holds a token, and others can read it: chmod 600"):
        config.load()
    settings.write_text('endpoint = "none"')
    assert config.load().endpoint == "none"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("ENDPOINT", f"samovar:{TOKEN}@h", "SAMOVAR_ENDPOINT=.*it must be the path"),
        ("ENDPOINT", f"{TOKEN}", "SAMOVAR_ENDPOINT=.*it must be the path"),
        ("ENDPOINT", f"samovar://{TOKEN}@h#short", "64 hexadecimal digits"),
        ("ACCESS_TOKEN", f"{TOKEN} and more", "SAMOVAR_ACCESS_TOKEN: what stands for the token is none"),
        ("LISTEN", "here:there", "SAMOVAR_LISTEN='here:there': it must have a host and a port"),
    ],
)
def test_errors_name_the_setting_and_no_secret(
    settings: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"SAMOVAR_{variable}", value)
    with pytest.raises(InitializationError, match=reason) as raised:
        config.load()
    assert "s3cr3t" not in str(raised.value)
