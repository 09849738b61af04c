"""An image for containers: from an ImageSpec to the tag of an image that replicas start from, built once.

Called by the container driver and by ``samovar images``. The tag is a digest of everything that the image is made
of: its base, its steps, the files that they name, samovar itself. So an image that is there is never built again,
and one that is not is built by one of those who ask, under a file lock, while the others wait.

What is the host's own (proxies, certificates, package indexes) reaches the steps that run commands, and stays out of
the image.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import re
import sys
from pathlib import Path

import aiodocker

from samovar.images import base, cache, containerfile, dockerfile, own, settings, store
from samovar.images.build import Order, build
from samovar.images.containerfile import Base, Kit
from samovar.images.context import Context, digest
from samovar.images.store import IMAGE_LABEL, PYTHON_LABEL
from samovar.model import ImageSpec
from samovar.ports import Report


async def ensure(docker: aiodocker.Docker, image: ImageSpec, report: Report) -> str:
    """The tag of the image, built first if it is not there; its label ``samovar.python`` says where its Python is.

    ImageBuildError says which step failed, and how.
    """
    host = settings.gather()
    start = await _base(docker, image, host, report)
    context = Context()
    order = await asyncio.to_thread(_order, image, start, host, context)
    await _built(docker, order, host, report)
    return order.tag


async def _base(docker: aiodocker.Docker, image: ImageSpec, host: settings.HostSettings, report: Report) -> Base:
    if image.dockerfile:
        name = await _from_dockerfile(docker, image, host, report)
        return await base.named(docker, image, name, report)
    if image.base in ("auto", ""):
        return await base.plain(docker, image, report)
    return await base.named(docker, image, image.base, report)


async def _from_dockerfile(
    docker: aiodocker.Docker, image: ImageSpec, host: settings.HostSettings, report: Report
) -> str:
    """The tag of what the user's Dockerfile makes. Builds with the same settings come one after another."""
    settings_order = await asyncio.to_thread(dockerfile.settings_order, host)
    repository = _repository(f"{image.name} dockerfile")
    order = await asyncio.to_thread(
        dockerfile.order, Path(image.dockerfile), repository, image.platform, settings_order.tag
    )
    if await store.inspect(docker, order.tag) is None:
        async with cache.locked(_lock(settings_order)):
            try:
                await build(docker, settings_order, host, lambda line: None)
                await _built(docker, order, host, report)
            finally:
                await store.discard(docker, settings_order.tag)
    return order.tag


def _lock(order: Order) -> Path:
    return cache.folder("images") / f"{order.tag.rpartition(':')[2]}.lock"


async def _built(docker: aiodocker.Docker, order: Order, host: settings.HostSettings, report: Report) -> None:
    if await store.inspect(docker, order.tag) is not None:
        return
    async with cache.locked(_lock(order)):
        if await store.inspect(docker, order.tag) is not None:  # another may have built it while we waited
            return
        began = asyncio.get_running_loop().time()
        report(f"image: building {order.tag}")
        await build(docker, order, host, report)
        report(f"image: done in {asyncio.get_running_loop().time() - began:.1f} s")


def _order(image: ImageSpec, start: Base, host: settings.HostSettings, context: Context) -> Order:
    uv = own.uv() if _runs_here(start) else None
    kit = Kit(tuple(own.pins()), uv is not None, start.abi == own.abi())
    recipe = containerfile.recipe(image, start, kit, context.place)
    parts = [start.id, recipe.text, sorted(recipe.texts.items()), image.platform, digest(own.package()), kit]
    found = _hash(json.dumps(parts))
    context.add("Containerfile", recipe.text)
    for name, text in recipe.texts.items():
        context.add(name, text)
    for name, content in host.files().items():
        context.add(f"host/{name}", content)
    if uv is not None:
        context.add("host/uv", Path(uv))
    context.add("links/none", "")
    for index, folder in enumerate(host.links):
        context.add(f"links/{index}", folder)
    context.add("runtime/samovar", own.package())
    if kit.has_needs:
        for name, path in own.needed_files().items():
            context.add(f"runtime/{name}", path)
    labels = {IMAGE_LABEL: found, PYTHON_LABEL: recipe.python}
    tag = f"samovar/{_repository(image.name) or 'image'}:{found}"
    return Order(context, "Containerfile", tag, labels, image.platform, recipe.layers)


def _runs_here(start: Base) -> bool:
    """Whether programs of this machine run in the image."""
    return (start.libc, start.machine) == ("glibc", platform.machine()) and sys.platform == "linux"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _repository(name: str) -> str:
    """The name as part of a tag."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
