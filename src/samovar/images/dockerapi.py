"""The Docker API of this machine: find who answers it, and talk to it.

Called by the container driver and by what builds images. Podman and Docker both speak this API, on a Unix socket.
A client that is given out has been answered once; everything that goes wrong on the way to it is an
InitializationError that says what to install or to set.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from samovar.errors import InitializationError

try:
    import aiodocker
    import aiohttp
except ModuleNotFoundError as missing:  # containers are an extra
    raise InitializationError(
        "InitializationError", 'containers need one more library: pip install "samovar[containers]"'
    ) from missing

ANSWER_SECONDS = 10.0
"""How long a socket may take to say who is there."""

UNREACHABLE = (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a request raises when nobody answers it; ValueError: an address that is none."""

_WHAT_TO_DO = (
    "What to do: install Podman and start its service (systemctl --user enable --now podman.socket), or install "
    "Docker and start it; where the socket is elsewhere, set SAMOVAR_CONTAINER_SOCKET to its path."
)


class Server(NamedTuple):
    """Who answers."""

    kind: str  # "podman" | "docker"
    version: str

    def __str__(self) -> str:
        return f"{self.kind.capitalize()} {self.version}"


def addresses() -> list[str]:
    """Where the API may be, as URLs; what the user set comes alone, since nobody else may answer in its place."""
    for name in ("SAMOVAR_CONTAINER_SOCKET", "DOCKER_HOST"):
        if given := os.environ.get(name):
            return [given if "://" in given else f"unix://{given}"]
    usual = ["/var/run/docker.sock", "/run/podman/podman.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        usual.insert(1, f"{runtime}/podman/podman.sock")
    return [f"unix://{path}" for path in usual if Path(path).exists()]


async def connect() -> aiodocker.Docker:
    """A client of the first address that answers; the caller closes it. InitializationError: none does."""
    failures: list[str] = []
    for address in addresses():
        docker: aiodocker.Docker | None = None
        try:
            docker = aiodocker.Docker(url=address)
            await server(docker)
            return docker
        except UNREACHABLE as error:
            failures.append(f"{address}: {why(error)}")
        except BaseException:
            if docker is not None:
                await docker.close()
            raise
        if docker is not None:
            await docker.close()
    reason = "; ".join(failures) or "there is no socket of Docker or Podman"
    raise InitializationError("InitializationError", f"no container engine answers: {reason}\n{_WHAT_TO_DO}")


async def server(docker: aiodocker.Docker) -> Server:
    """Who answers this client. By a ping: to say its version in full, Podman asks other programs for theirs."""
    async with asyncio.timeout(ANSWER_SECONDS), docker.session.get(f"{docker.docker_host}/_ping") as answer:
        headers = answer.headers
    if not answer.ok or "Api-Version" not in headers:
        raise ValueError(f"it is no container engine: it answers {answer.status} {answer.reason}")
    docker.api_version = f"v{headers['Api-Version']}"
    if podman := headers.get("Libpod-Api-Version"):
        return Server("podman", podman)
    return Server("docker", headers.get("Server", "").removeprefix("Docker/") or "of an unknown version")


def why(error: BaseException) -> str:
    """What to tell people about one of ``UNREACHABLE``."""
    if isinstance(error, aiodocker.DockerError):
        return str(error.message)
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[aiodocker.Docker]:
    """A client for the length of a ``with``."""
    docker = await connect()
    try:
        yield docker
    finally:
        await docker.close()


async def stream(
    docker: aiodocker.Docker, path: str, params: Mapping[str, str], body: Any = None
) -> AsyncGenerator[dict[str, Any], None]:
    """POST, and give each JSON object of the answer as it comes: builds, pulls and imports answer so.

    The client has methods for these, but not for all their parameters, and its lines may be 128 KiB at most.
    Raises DockerError where the request is refused.
    """
    if docker.api_version == "auto":
        await server(docker)
    url = f"{docker.docker_host}/{docker.api_version}/{path}"
    headers = {"Content-Type": "application/x-tar"}
    endless = aiohttp.ClientTimeout(total=None)
    async with docker.session.post(url, params=params, data=body, headers=headers, timeout=endless) as response:
        if response.status >= 400:
            raise aiodocker.DockerError(response.status, (await response.text()).strip())
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
        if rest.strip():
            yield json.loads(rest)
