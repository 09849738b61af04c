"""Who is let in, and what every answer carries."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from samovar.host.tokens import Tokens, Watch
from samovar.web.guard import MAX_BODY, Guard

from .conftest import URL


@pytest.fixture
def guarded(site):
    return site.client


@pytest.mark.parametrize("host", ["127.0.0.1:7870", "localhost", "LocalHost:1", "[::1]:7870"])
def test_names_of_this_host_are_ours(guarded, host):
    assert guarded.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7870", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"]
)
def test_a_name_that_somebody_lets_point_here_is_refused(guarded, host):
    answer = guarded.get("/api/v1/pools", headers={"host": host})
    assert (answer.status_code, answer.json()["status"]) == (421, 421)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8000", "http://localhost:7870"])
def test_a_page_of_somebody_else_changes_nothing(guarded, origin):
    answer = guarded.post("/api/v1/pools/x/stop", headers={"origin": origin})
    assert answer.status_code == 403


def test_a_page_of_ours_and_no_page_may(guarded):
    assert guarded.post("/api/v1/pools/x/stop", headers={"origin": URL}).status_code == 404
    assert guarded.post("/api/v1/pools/x/stop").status_code == 404
    assert guarded.post("/api/v1/pools/x/stop", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_every_answer_has_its_headers(guarded):
    for path in ("/", "/api/v1/pools", "/nothing", "/api/v1/runs?limit=0"):
        headers = guarded.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert guarded.get("/api/v1/pools").headers["cache-control"] == "no-store"
    assert guarded.get("/").headers["cache-control"] == "no-cache"


def test_a_large_request_is_not_read(guarded):
    assert guarded.post("/api/v1/pools/x/scale", content=b"x" * (MAX_BODY + 1)).status_code == 413
    parts = (b"x" * 4096 for _ in range(MAX_BODY // 4096 + 1))
    assert guarded.post("/api/v1/pools/x/scale", content=parts).status_code in (400, 413, 422)


class TestWithTokens:
    @pytest.fixture
    def tokens(self, tmp_path):
        return Tokens(tmp_path / "tokens")

    @pytest.fixture
    def client(self, site, tokens):
        app = Guard(site.app._app, "0.0.0.0", Watch(tokens))
        with TestClient(app, base_url="http://10.1.2.3:7870") as client:
            yield client

    def test_a_token_is_needed_for_all_but_the_pages_and_the_health(self, client, tokens):
        token = tokens.make("me", None)
        for path in ("/api/v1/pools", "/openapi.json", "/api/v1/events"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert client.get(path, headers={"authorization": f"Bearer {token}x"}).status_code == 401
        for path in ("/", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        assert client.get("/api/v1/pools", headers={"authorization": f"Bearer {token}"}).status_code == 200

    def test_a_token_that_is_revoked_is_good_no_more(self, client, tokens):
        headers = {"authorization": f"Bearer {tokens.make('me', None)}"}
        assert client.get("/api/v1/pools", headers=headers).status_code == 200
        tokens.revoke("me")
        answer = client.get("/api/v1/pools", headers=headers)
        assert (answer.status_code, "revoked" in answer.json()["detail"]) == (401, True)

    def test_a_file_that_others_may_write_lets_nobody_in(self, client, tokens, tmp_path):
        headers = {"authorization": f"Bearer {tokens.make('me', None)}"}
        (tmp_path / "tokens").chmod(0o666)
        assert client.get("/api/v1/pools", headers=headers).status_code == 503
        assert client.get("/api/v1/pools", headers=headers).status_code == 401

    def test_names_of_others_are_refused_here_too(self, client):
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 421
