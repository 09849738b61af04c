"""A Dockerfile of the user's, so that its steps see the settings of this machine and its image keeps none.

Called by ``oci``. The settings lie in an image of their own, which every ``RUN`` mounts while it runs and which is
removed when the build has ended: in the Dockerfile's own context a ``COPY . .`` would take them into the image. A
``RUN`` in the shell form is given their variables, too; one in the exec form, or with a here-document, is not, since
no shell of ours comes before it. Proxies are build arguments and reach every step.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from samovar.errors import ImageBuildError
from samovar.images.build import Order
from samovar.images.context import Context, Keep, digest, ignoring
from samovar.images.settings import LINKS_MOUNT, MOUNT, HostSettings
from samovar.images.store import BASE_LABEL, LEFTOVER_LABEL

SETTINGS_REPOSITORY = "samovar/settings"

_OURS = ".samovar-containerfile"
_RUN = re.compile(r"(\s*RUN)((?:(?:\s|\\\n)+--\w+(?:=\S+)?)*)((?:\s|\\\n)+)(.*)", re.DOTALL | re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?[\"']?(\w+)[\"']?")


def settings_order(host: HostSettings) -> Order:
    """How the image with the settings is built."""
    context = Context()
    hashed = hashlib.blake2b(digest_size=8)
    for name, content in sorted(host.files(ours=False).items()):
        hashed.update(f"{name}\0{content if isinstance(content, str) else digest(content)}\0".encode())
        context.add(f"host/{name}", content)
    context.add("links/none", "")
    for index, folder in enumerate(host.links):
        hashed.update(digest(folder).encode())
        context.add(f"links/{index}", folder)
    context.add("Containerfile", "FROM scratch\nCOPY host/ /host/\nCOPY links/ /links/\n")
    tag = f"{SETTINGS_REPOSITORY}:{hashed.hexdigest()}"
    return Order(context, "Containerfile", tag, {LEFTOVER_LABEL: "settings"})


def order(file: Path, repository: str, platform: str, settings: str) -> Order:
    """How the Dockerfile's own image is built, in the Dockerfile's folder; ``settings`` is the image with these."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ImageBuildError(f"the Dockerfile {file} cannot be read: {error}") from error
    keep = _keep(file)
    context = Context()
    context.add(".", file.parent, keep)
    context.add(_OURS, with_settings(text, settings))
    context.add(".dockerignore", f"{_OURS}\n.dockerignore\n")
    found = hashlib.blake2b(f"{text}\0{digest(file.parent, keep)}\0{platform}".encode(), digest_size=8).hexdigest()
    return Order(context, _OURS, f"samovar/{repository}:{found}", {BASE_LABEL: "dockerfile"}, platform)


def with_settings(text: str, settings: str) -> str:
    """The same Dockerfile, with the settings of this image mounted in every RUN."""
    return "".join(_mounted(instruction, settings) for instruction in _instructions(text))


def _mounted(instruction: str, settings: str) -> str:
    found = _RUN.fullmatch(instruction)
    if found is None:
        return instruction
    run, flags, space, rest = found.groups()
    mounts = (("/host", MOUNT), ("/links", LINKS_MOUNT))
    ours = "".join(f" --mount=type=bind,from={settings},source={source},target={target}" for source, target in mounts)
    shell = "" if rest.startswith(("[", "<<")) else f". {MOUNT}/env; "
    return f"{run}{ours}{flags}{space}{shell}{rest}"


def _instructions(text: str) -> Iterator[str]:
    """The text, cut at the ends of instructions: lines that go on, comments within, here-documents."""
    found = ""
    until: list[str] = []
    for line in text.splitlines(keepends=True):
        found += line
        word = line.strip()
        if until:
            if word == until[0]:
                until.pop(0)
        elif re.match(r"\s*(RUN|COPY|ADD)\b", found, re.IGNORECASE) and not word.startswith("#"):
            until = _HEREDOC.findall(line)
        is_within = found != line and (word.startswith("#") or not word)  # a comment between lines that go on
        if not until and not is_within and not word.endswith("\\"):
            yield found
            found = ""
    if found:
        yield found


def _keep(file: Path) -> Keep | None:
    for ignore in (file.with_name(f"{file.name}.dockerignore"), file.with_name(".dockerignore")):
        if ignore.is_file():
            return ignoring(ignore.read_text(encoding="utf-8"))
    return None
