"""Who answers the Docker API, and what is said where nobody does."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from aiohttp import web

from samovar.errors import InitializationError
from samovar.images import dockerapi

PODMAN = {"Api-Version": "1.41", "Libpod-Api-Version": "4.3.1"}
DOCKER = {"Api-Version": "1.47", "Server": "Docker/27.1 (linux)"}


@contextlib.asynccontextmanager
async def answering(socket: Path, headers: dict[str, str], status: int = 200):
    """Somebody who answers pings so, and streams for a build."""

    async def ping(request: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers)

    async def build(request: web.Request) -> web.StreamResponse:
        if "refuse" in request.query:
            return web.Response(status=500, text="no such thing")
        answer = web.StreamResponse()
        await answer.prepare(request)
        for chunk in (b'{"stream": "o', b'ne"}\n\n{"stream": "two"}\n', b'{"stream": "' + b"x" * 300_000 + b'"}'):
            await answer.write(chunk)
        return answer

    app = web.Application()
    app.router.add_get("/_ping", ping)
    app.router.add_post("/v1.41/build", build)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("SAMOVAR_CONTAINER_SOCKET", "DOCKER_HOST", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_what_the_user_set_comes_alone(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert dockerapi.addresses() == ["tcp://127.0.0.1:1"]
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", "/x/podman.sock")
    assert dockerapi.addresses() == ["unix:///x/podman.sock"]


def test_podman_of_the_user_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    socket = tmp_path / "podman" / "podman.sock"
    assert f"unix://{socket}" not in dockerapi.addresses()
    socket.parent.mkdir()
    socket.touch()
    assert f"unix://{socket}" in dockerapi.addresses()


@pytest.mark.parametrize(("headers", "says"), [(PODMAN, "Podman 4.3.1"), (DOCKER, "Docker 27.1 (linux)")])
def test_who_answers(monkeypatch, tmp_path, headers, says):
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(tmp_path / "s"))

    async def test():
        async with answering(tmp_path / "s", headers), dockerapi.opened() as docker:
            return str(await dockerapi.server(docker))

    assert run(test()) == says


def test_nobody_is_told_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(tmp_path / "nobody"))
    with pytest.raises(InitializationError) as caught:
        run(dockerapi.connect())
    assert f"no container engine answers: unix://{tmp_path}/nobody: " in str(caught.value)
    assert "What to do: install Podman" in str(caught.value)


def test_another_program_on_the_socket_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(tmp_path / "s"))

    async def test():
        async with answering(tmp_path / "s", {}, status=403):
            await dockerapi.connect()

    with pytest.raises(InitializationError, match="it is no container engine: it answers 403"):
        run(test())


def test_an_address_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "gopher://x")
    with pytest.raises(InitializationError, match="gopher://x"):
        run(dockerapi.connect())


def test_a_stream_is_cut_at_its_lines_and_a_refusal_raises(monkeypatch, tmp_path):
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(tmp_path / "s"))

    async def test():
        async with answering(tmp_path / "s", PODMAN), dockerapi.opened() as docker:
            texts = [event["stream"] async for event in dockerapi.stream(docker, "build", {})]
            with pytest.raises(dockerapi.UNREACHABLE, match="no such thing"):
                await anext(dockerapi.stream(docker, "build", {"refuse": "1"}))
            return texts

    assert run(test()) == ["one", "two", "x" * 300_000]
