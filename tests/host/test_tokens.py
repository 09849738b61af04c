"""Tokens and certificates: made, kept, and not good for ever."""

from __future__ import annotations

import os
import ssl
import stat
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from samovar.errors import InitializationError
from samovar.host import certificate, tokens
from samovar.host.tokens import Token, Tokens, Watch, digest_of


@pytest.fixture
def made(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens")


def why_not(made: Tokens, token: str) -> str:
    watch = Watch(made)
    watch.look()
    return watch.why_not(digest_of(token))


def test_a_token_is_good_until_it_is_revoked(made: Tokens, tmp_path: Path) -> None:
    assert made.all() == []
    ann, bob = made.make("ann", None), made.make("bob", 60)
    assert ann != bob
    assert (why_not(made, ann), why_not(made, bob)) == ("", "")
    assert why_not(made, ann[:-1]) == "the token is not known here"
    assert made.revoke("ann")
    assert not made.revoke("ann")
    assert not made.revoke("nobody")
    assert (why_not(made, ann), why_not(made, bob)) == ("the token 'ann' was revoked", "")
    again = made.make("ann", None)
    assert (why_not(made, again), why_not(made, ann)) == ("", "the token is not known here")
    assert {path.name for path in tmp_path.iterdir()} == {"tokens"}


def test_the_file_has_no_token_in_it_and_is_private(made: Tokens, tmp_path: Path) -> None:
    token = made.make("ann", None)
    path = tmp_path / "tokens"
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) > 43, "256 bits"


def test_a_token_expires(made: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token, now = made.make("ann", 60), time.time()
    assert why_not(made, token) == ""
    monkeypatch.setattr(tokens.time, "time", lambda: now + 61)
    assert why_not(made, token) == "the token 'ann' has expired"
    assert not made.revoke("ann")
    made.make("bob", None)
    assert [known.name for known in made.all()] == ["ann", "bob"], "shown for a while"
    monkeypatch.setattr(tokens.time, "time", lambda: now + 62 + tokens.KEPT)
    made.make("cid", None)
    assert [known.name for known in made.all()] == ["bob", "cid"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 65, "ann"])
def test_names_that_are_refused(made: Tokens, name: str) -> None:
    made.make("ann", None)
    with pytest.raises(InitializationError, match=r"cannot name a token|there is a token named 'ann'"):
        made.make(name, None)
    assert [known.name for known in made.all()] == ["ann"]


def test_a_running_service_sees_each_change(made: Tokens, tmp_path: Path) -> None:
    watch = Watch(made)
    watch.look()
    token = made.make("ann", None)
    watch.look()
    assert watch.why_not(digest_of(token)) == ""
    made.revoke("ann")
    watch.look()
    assert "revoked" in watch.why_not(digest_of(token))
    (tmp_path / "tokens").write_text("nonsense")
    with pytest.raises(InitializationError, match="cannot be read as tokens"):
        watch.look()
    watch.look()  # said once
    assert watch.why_not(digest_of(token)) == "the token is not known here"
    (tmp_path / "tokens").unlink()
    watch.look()
    assert watch.why_not(digest_of(token)) == "the token is not known here"


def test_a_file_that_others_can_write_is_not_believed(made: Tokens, tmp_path: Path) -> None:
    made.make("ann", None)
    (tmp_path / "tokens").chmod(0o622)
    with pytest.raises(InitializationError, match="others can write to it"):
        made.all()


def test_two_that_change_the_file_at_once_lose_nothing(made: Tokens, tmp_path: Path) -> None:
    def make(who: int) -> None:
        for number in range(10):
            Tokens(tmp_path / "tokens").make(f"t{who}.{number}", None)

    threads = [threading.Thread(target=make, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made.all()) == 40


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InitializationError, match=r"cannot be written: .*No such file"):
        Tokens(tmp_path / "away" / "tokens").make("ann", None)


def test_the_list_is_what_it_says(made: Tokens, tmp_path: Path) -> None:
    made.make("ann", None)
    (known,) = msgspec.json.decode((tmp_path / "tokens").read_bytes(), type=list[Token])
    assert (known.name, known.expires, known.revoked) == ("ann", None, None)


# certificates


def test_a_certificate_is_made_once_and_is_private(tmp_path: Path) -> None:
    found = certificate.find(tmp_path)
    again = certificate.find(tmp_path)
    assert found.is_own
    assert found.fingerprint == again.fingerprint
    (path,) = (tmp_path / "tls").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert found.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_many_that_make_one_at_once_have_the_same(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(certificate.find(tmp_path).fingerprint)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(os.listdir(tmp_path / "tls")) == 1


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    made = certificate.find(tmp_path)
    pem = str(tmp_path / "tls" / "service.pem")
    given = certificate.find(tmp_path / "elsewhere", pem, pem)
    assert (given.is_own, given.fingerprint) == (False, made.fingerprint)
    with pytest.raises(InitializationError, match="go together"):
        certificate.find(tmp_path, pem)
    other = tmp_path / "other"
    other.mkdir()
    certificate.find(other)
    for key in (str(other / "tls" / "service.pem"), str(tmp_path / "missing")):
        with pytest.raises(InitializationError, match="is no certificate to serve with"):
            certificate.find(tmp_path, pem, key)
    (tmp_path / "empty").touch()
    with pytest.raises(InitializationError, match="no PEM certificate"):
        certificate.find(tmp_path, str(tmp_path / "empty"), pem)


def test_without_the_library_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InitializationError, match=r"samovar\[remote\].*--tls-cert"):
        certificate.find(tmp_path)


def test_a_folder_in_which_no_certificate_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("in the way")
    with pytest.raises(InitializationError, match="no certificate can be written to"):
        certificate.find(tmp_path)
