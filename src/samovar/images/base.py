"""What an image starts from: an image of the local store, one that is pulled, or a Debian that is made here.

Called by ``oci``. A base of the user's is taken as it is, if it has a Python. A plain Python is looked for in this
order: the local store, a pull, mmdebstrap or debootstrap; so a machine that reaches no registry has one, too. The
Debian is made once a machine and kept as an archive, which any container engine of the machine can take in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import aiodocker

from samovar.errors import ImageBuildError
from samovar.images import cache, dockerapi, own
from samovar.images.command import run
from samovar.images.containerfile import Base
from samovar.images.store import BASE_LABEL, PROBE_LABEL, inspect
from samovar.light import msgspec
from samovar.model import ImageSpec
from samovar.ports import Report

SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""Which Debian has which Python."""

PULL_SECONDS = 20.0
"""How long a registry may take for the first word of its answer."""

_OUTPUT_CHARS = 1000
_INCLUDED = "python3,python3-venv,ca-certificates"
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
_PROBE = """
import importlib.util, json, os, platform, sys, sysconfig
print("samovar:" + json.dumps(dict(
    python=sys.executable, version="%d.%d" % sys.version_info[:2], abi=str(sysconfig.get_config_var("SOABI")),
    libc=platform.libc_ver()[0], machine=platform.machine(), site=sysconfig.get_path("purelib"),
    is_venv=sys.prefix != sys.base_prefix, has_pip=importlib.util.find_spec("ensurepip") is not None)))
"""


async def named(docker: aiodocker.Docker, image: ImageSpec, name: str, report: Report) -> Base:
    """A base that the user named, pulled if it is not in the local store."""
    if not await _is_here(docker, name, image.platform) and (reason := await _pulled(docker, name, image, report)):
        raise ImageBuildError(
            f"the base image is not in the local store, and {reason}\n"
            "What to do: check its name, log in to its registry, or load it into the local store."
        )
    wanted = image.python_version
    pythons = await _pythons(docker, name)
    if not pythons:
        raise ImageBuildError(f"the base image {name} has no Python; choose one that has Python 3.11 or later")
    fitting = [base for base in pythons if base.version == (wanted or own.python())]
    if wanted and not fitting:
        has = ", ".join(dict.fromkeys(base.version for base in pythons))
        raise ImageBuildError(
            f"the base image {name} has Python {has}, and python_version asks for {wanted}: leave python_version away, "
            f"or choose a base with Python {wanted}"
        )
    base = (fitting or pythons)[0]
    if own.too_old(base.version):
        raise ImageBuildError(f"the base image {name} has Python {base.version}; samovar needs 3.11 or later")
    if base.version != own.python():
        report(f"image: {name} has Python {base.version}, the engine {own.python()}: pickled code may not run in both")
    return msgspec.structs.replace(base, is_users=True)


async def plain(docker: aiodocker.Docker, image: ImageSpec, report: Report) -> Base:
    """A base with nothing but Python. ImageBuildError says why each way to one failed."""
    wanted = image.python_version or own.python()
    if own.too_old(wanted):
        raise ImageBuildError(f"samovar needs Python 3.11 or later; the image asks for {wanted}")
    official, made = f"python:{wanted}-slim", f"samovar/base:{SUITES.get(wanted, wanted)}"
    for name in (official, made):
        if await _is_here(docker, name, image.platform) and (found := await _with_python(docker, name, wanted)):
            return found
    failures: list[str] = []
    for name, way in ((official, _pulled), (made, _made)):
        failure = await way(docker, name, image, report)
        if not failure and (found := await _with_python(docker, name, wanted)):
            return found
        failures.append(failure or f"{name} has no Python {wanted}")
    raise ImageBuildError(
        f"there is no base image with Python {wanted}:\n"
        + "".join(f"- {failure}\n" for failure in failures)
        + f"What to do: load {official} into the local store, make a registry reachable, or install mmdebstrap."
    )


async def _is_here(docker: aiodocker.Docker, name: str, platform: str) -> bool:
    """Whether the local store has it, for the platform that is asked for."""
    about = await inspect(docker, name)
    return about is not None and (not platform or platform.split("/")[1:2] == [about.get("Architecture")])


async def _pulled(docker: aiodocker.Docker, name: str, image: ImageSpec, report: Report) -> str:
    """Why it cannot be pulled; "" if it was."""
    report(f"image: pulling {name}")
    reason = await _pull(docker, name, image.platform)
    return reason and f"{name} cannot be pulled: {reason}"


async def _made(docker: aiodocker.Docker, name: str, image: ImageSpec, report: Report) -> str:
    """Why no Debian can be made; "" if there is one now."""
    if image.platform and not _is_own(image.platform):
        return f"a Debian for {image.platform} cannot be made on this machine"
    suite = name.rpartition(":")[2]
    if suite not in SUITES.values():
        has = " or ".join(f"{version} ({suite})" for version, suite in SUITES.items())
        return f"no Debian has Python {suite}: python_version can be {has}"
    async with cache.locked(cache.folder("bases") / f"{suite}.lock"):
        return "" if await inspect(docker, name) else await _make(docker, suite, name, report)


async def _pull(docker: aiodocker.Docker, name: str, platform: str) -> str:
    """Why it did not work; "" if it did."""
    tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
    params = {"fromImage": tagged, **({"platform": platform} if platform else {})}
    events = dockerapi.stream(docker, "images/create", params)
    try:
        async with asyncio.timeout(PULL_SECONDS) as patience:
            async for event in events:
                patience.reschedule(None)
                if "error" in event:
                    return str(event["error"])
    except TimeoutError:
        return f"no answer within {PULL_SECONDS:.0f} s"
    except dockerapi.UNREACHABLE as error:
        return dockerapi.why(error)
    finally:
        await events.aclose()
    return ""


async def _with_python(docker: aiodocker.Docker, name: str, version: str) -> Base | None:
    return next((base for base in await _pythons(docker, name) if base.version == version), None)


async def _pythons(docker: aiodocker.Docker, name: str) -> list[Base]:
    """The image once for each Python that is in it; they are looked for once an image, in a container."""
    about = await inspect(docker, name)
    if about is None:
        raise ImageBuildError(f"the base image {name} has gone from the local store; try again")
    id = str(about["Id"]).removeprefix("sha256:")
    asked = hashlib.blake2b(_PROBE.encode(), digest_size=4).hexdigest()
    known = cache.folder("bases") / f"{id}-{asked}.json"
    try:
        found = json.loads(known.read_text())
    except (OSError, ValueError):
        found = await _probe(docker, name)
        partial = known.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found))
        partial.replace(known)
    config = about.get("Config") or {}
    user, workdir = str(config.get("User") or ""), str(config.get("WorkingDir") or "")
    return [Base(name=name, id=id, user=user, workdir=workdir, **python) for python in found]


async def _probe(docker: aiodocker.Docker, name: str) -> list[dict[str, Any]]:
    versions = " ".join(f"python3.{minor}" for minor in range(own.OLDEST_PYTHON[1], 20))
    script = f'for p in python3 python {versions}; do command -v $p > /dev/null && "$p" -I -c "$0"; done; true'
    config: dict[str, Any] = {
        "Image": name,
        "Entrypoint": ["/bin/sh", "-c", script, _PROBE],
        "Labels": {PROBE_LABEL: "1"},
        "HostConfig": {"NetworkMode": "none"},
    }
    try:
        container = await docker.containers.create(config)
        try:
            await container.start()
            await container.wait()
            lines = "".join(await container.log(stdout=True)).splitlines()
        finally:
            await container.delete(force=True)
    except aiodocker.DockerError as error:
        raise ImageBuildError(f"the base image {name} cannot be looked into: {error.message}") from error
    found = [json.loads(line.removeprefix("samovar:")) for line in lines if line.startswith("samovar:")]
    return list({python["version"]: python for python in reversed(found)}.values())[::-1]


async def _make(docker: aiodocker.Docker, suite: str, name: str, report: Report) -> str:
    """Take a Debian into the local store. Gives why it did not work; "" if it did."""
    archive = cache.folder("bases") / f"{suite}-{platform.machine()}.tar"
    if not archive.exists() and (reason := await _bootstrap(suite, archive, report)):
        return reason
    report(f"image: loading Debian {suite}")
    repository, _, tag = name.partition(":")
    params = {"fromSrc": "-", "changes": f"LABEL {BASE_LABEL}={suite}"}
    try:
        with archive.open("rb") as file:
            events = [event async for event in dockerapi.stream(docker, "images/create", params, file)]
        if failed := [event["error"] for event in events if "error" in event]:
            return f"Debian {suite} cannot be loaded: {failed[0]}"
        await docker.images.tag(str(events[-1]["status"]), repository, tag=tag)
    except dockerapi.UNREACHABLE as error:
        return f"Debian {suite} cannot be loaded: {dockerapi.why(error)}"
    return ""


async def _bootstrap(suite: str, archive: Path, report: Report) -> str:
    """Make the archive. Gives why it did not work; "" if it did."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="debian-") as folder:
        made = f"{folder}/root.tar"
        mirror = list(filter(None, [os.environ.get("SAMOVAR_DEBIAN_MIRROR")]))
        if shutil.which("mmdebstrap"):
            excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
            wanted = ["--quiet", "--variant=minbase", f"--include={_INCLUDED}", *excluded]
            commands = [["mmdebstrap", *wanted, suite, made, *mirror]]
        elif shutil.which("debootstrap"):
            wanted = ["--variant=minbase", f"--include={_INCLUDED}"]
            commands = [
                ["debootstrap", *wanted, suite, f"{folder}/root", *mirror],
                ["tar", "-C", f"{folder}/root", "--numeric-owner", "--exclude=./dev/*", "-cf", made, "."],
            ]
        else:
            return "neither mmdebstrap nor debootstrap is installed to make one"
        report(f"image: making Debian {suite} with {commands[0][0]}, about half a minute")
        for command in commands:
            status, output = await run(command, os.environ)
            if status != 0:
                return f"{command[0]} failed:\n{output.strip()[-_OUTPUT_CHARS:]}"
        Path(made).replace(archive)
    return ""


def _is_own(wanted: str) -> bool:
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine()
    return wanted.split("/")[1:2] in ([machine], [names.get(machine, machine)])
