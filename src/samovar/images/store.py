"""What the local store of the container engine has of samovar's: look it up, list it, remove it.

Called by what makes images and by ``samovar images``. An image is samovar's by its labels, never by its name.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, NamedTuple

import aiodocker

from samovar.errors import ImageBuildError, InitializationError
from samovar.images.dockerapi import UNREACHABLE, why

IMAGE_LABEL = "samovar.image"
"""On an image for replicas: the digest of what it is made of."""

PYTHON_LABEL = "samovar.python"
"""On an image for replicas: the path of its Python."""

BASE_LABEL = "samovar.base"
"""On what images are made from: a Debian, the result of a Dockerfile."""

LEFTOVER_LABEL = "samovar.leftover"
"""On an image that is removed when its build has ended, unless that was killed."""

PROBE_LABEL = "samovar.probe"
"""On a container that looks for Python in a base."""


class Stored(NamedTuple):
    """One of samovar's images."""

    id: str
    tags: tuple[str, ...]
    kind: str  # "image" | "base" | "leftover": of a build that failed or was killed
    python: str  # the path of its Python, "" for a base
    size: int  # bytes
    created: int  # seconds since the epoch
    containers: int  # that use it, running or not


async def inspect(docker: aiodocker.Docker, name: str) -> dict[str, Any] | None:
    """What the local store says about this image; None if it has none. ImageBuildError: it does not say."""
    try:
        return await docker.images.inspect(name)
    except aiodocker.DockerError as error:
        if error.status == 404:
            return None
        raise ImageBuildError(f"the container engine does not say what it has of {name}: {error.message}") from error


async def listed(docker: aiodocker.Docker) -> list[Stored]:
    """Samovar's images, the newest first. InitializationError: the container engine does not say."""
    try:
        images = [
            (image, label)
            for label in (IMAGE_LABEL, LEFTOVER_LABEL, BASE_LABEL)
            for image in await docker.images.list(filters={"label": [label]})
        ]
        containers = await docker.containers.list(all="1")
    except UNREACHABLE as error:
        raise _silent(error) from error
    users = [_bare(str(container["ImageID"])) for container in containers]
    found: dict[str, Stored] = {}
    for image, label in images:
        tags = tuple(_short(tag) for tag in image.get("RepoTags") or () if tag != "<none>:<none>")
        found.setdefault(
            image["Id"],
            Stored(
                id=image["Id"],
                tags=tags,
                kind=label.removeprefix("samovar.") if tags else "leftover",
                python=(image.get("Labels") or {}).get(PYTHON_LABEL, ""),
                size=int(image["Size"]),
                created=int(image["Created"]),
                containers=users.count(_bare(image["Id"])),
            ),
        )
    return sorted(found.values(), key=lambda image: (-image.created, image.id))


async def find(docker: aiodocker.Docker, reference: str) -> Stored:
    """The image with this tag, or the id that begins so. InitializationError: samovar has none, or several."""
    images = await listed(docker)
    fitting = [image for image in images if reference in image.tags]
    fitting = fitting or [image for image in images if _bare(image.id).startswith(_bare(reference))]
    if len(fitting) != 1:
        what = "several images of samovar have an id that begins with" if fitting else "samovar has no image"
        raise InitializationError("InitializationError", f"{what} {reference}; `samovar images ls` shows what there is")
    return fitting[0]


async def remove(docker: aiodocker.Docker, image: Stored, force: bool = False) -> None:
    """Remove it under all its names. InitializationError: containers use it, or the container engine refuses."""
    if image.containers and not force:
        raise InitializationError(
            "InitializationError",
            f"{name_of(image)} is used by {image.containers} containers; end their runs first, or force it",
        )
    try:
        await docker.images.delete(_bare(image.id), force=True)
    except UNREACHABLE as error:
        raise InitializationError("InitializationError", f"{name_of(image)} cannot be removed: {why(error)}") from error


async def prune(docker: aiodocker.Docker, bases: bool = False) -> list[Stored]:
    """Remove what no container uses, images for replicas first; bases where asked. Gives what was removed."""
    await _remove_probes(docker)
    unused = [image for image in await listed(docker) if not image.containers]
    kinds = ("image", "leftover", *(["base"] if bases else []))  # what is made from others first
    removed = [image for kind in kinds for image in unused if image.kind == kind]
    for image in removed:
        await remove(docker, image)
    return removed


async def discard(docker: aiodocker.Docker, name: str) -> None:
    """Remove an image that may not be there."""
    with contextlib.suppress(aiodocker.DockerError):
        await docker.images.delete(name, force=True)


async def _remove_probes(docker: aiodocker.Docker) -> None:
    """Containers that a crash has left behind."""
    try:
        ended = json.dumps({"label": [PROBE_LABEL], "status": ["exited"]})
        for container in await docker.containers.list(all="1", filters=ended):
            await container.delete(force=True)
    except UNREACHABLE as error:
        raise _silent(error) from error


def name_of(image: Stored) -> str:
    """What people call it: its first tag, else the beginning of its id."""
    return image.tags[0] if image.tags else _bare(image.id)[:12]


def _bare(id: str) -> str:
    return id.removeprefix("sha256:")


def _short(tag: str) -> str:
    """Without the registry that Podman puts in front of a name that has none."""
    return tag[tag.index("samovar/") :] if "/samovar/" in tag else tag


def _silent(error: BaseException) -> InitializationError:
    return InitializationError("InitializationError", f"the container engine does not list what it has: {why(error)}")
