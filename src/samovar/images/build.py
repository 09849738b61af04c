"""One build by the container engine: send the context, report its steps, say what failed.

Called by ``oci``. Podman answers with lines of text, Docker (its BuildKit) with records of what runs; both become
the same lines of progress.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import aiodocker

from samovar.errors import ImageBuildError
from samovar.images import dockerapi
from samovar.images.containerfile import Layer
from samovar.images.context import Context
from samovar.images.settings import MOUNT, HostSettings
from samovar.ports import Report

OUTPUT_CHARS = 2000
"""How much of the builder's output an error carries."""

_STEP = re.compile(r"(?:\[\d+/\d+\] )?(?:STEP |\[(?:[\w.-]+ +| *))(\d+)/(\d+)(?:: |\] )(.*)", re.DOTALL)
_OURS = re.compile(rf'--mount=type=bind,from=\S+ |\. {MOUNT}/env; |"|^LABEL .*')
_STATUS = re.compile(r"exit (?:status|code):? (\d+)")
_KEPT = 4 * OUTPUT_CHARS
_TITLE_CHARS = 100


class Order(NamedTuple):
    """What is to be built."""

    context: Context
    containerfile: str  # its path in the context
    tag: str
    labels: Mapping[str, str]
    platform: str = ""
    layers: Sequence[Layer] = ()


async def build(docker: aiodocker.Docker, order: Order, host: HostSettings, report: Report) -> None:
    """Build it and tag it. ImageBuildError: which step failed, with the end of its output, or why none could begin."""
    params = {
        "t": order.tag,
        "dockerfile": order.containerfile,
        "rm": "1",
        "forcerm": "1",
        "labels": json.dumps(order.labels),
        "buildargs": json.dumps(host.proxies),
    }
    if order.platform:
        params["platform"] = order.platform
    if host.on_loopback:
        params["networkmode"] = "host"
    progress = _Progress(order.layers, report)
    try:
        if (await dockerapi.server(docker)).kind == "docker":
            params["version"] = "2"  # BuildKit: the classic builder knows no mounts
        with tempfile.TemporaryFile() as archive:
            await asyncio.to_thread(order.context.write, archive)
            archive.seek(0)
            async for event in dockerapi.stream(docker, "build", params, archive):
                progress.take(event)
    except dockerapi.UNREACHABLE as error:
        raise ImageBuildError(f"the container engine cannot build: {dockerapi.why(error)}") from error


class _Progress:
    """What the builder does now, and what the present step has written."""

    def __init__(self, layers: Sequence[Layer], report: Report) -> None:
        self._titles = {_plain(layer.instruction): layer.title for layer in layers}
        self._report = report
        self._step = ""
        self._output = ""
        self._names: dict[bytes, str] = {}  # BuildKit's steps by their digest

    def take(self, event: Mapping[str, Any]) -> None:
        if event.get("id") == "moby.buildkit.trace":
            self._take_trace(base64.b64decode(event["aux"]))
        elif (text := event.get("stream")) and not self._begin(str(text).strip()):
            self._write(str(text))
        if error := event.get("error"):
            raise ImageBuildError(self._failure(str(error)))

    def _begin(self, text: str) -> bool:
        found = _STEP.fullmatch(text)
        if found is None:
            return False
        instruction = _plain(found[3])
        title = self._titles.get(instruction, "") if self._titles else instruction
        self._step, self._output = title or instruction, ""
        if title:
            self._report(f"image: {found[1]}/{found[2]} {_short(title)}")
        return True

    def _write(self, text: str) -> None:
        self._output = (self._output + text)[-_KEPT:]

    def _take_trace(self, record: bytes) -> None:
        """A StatusResponse: its vertexes (1: digest, 3: name, 5: started, 7: error) and logs (1: digest, 4: text)."""
        for number, value in _fields(record):
            part = dict(_fields(value))
            if number == 1 and part.get(5) and part.get(1) not in self._names:
                self._names[part[1]] = part.get(3, b"").decode(errors="replace")
                self._begin(self._names[part[1]])
            elif number == 3:
                self._write(part.get(4, b"").decode(errors="replace"))

    def _failure(self, error: str) -> str:
        step = f"the step '{_short(self._step)}' failed" if self._step else "the build failed"
        output = self._output.strip()[-OUTPUT_CHARS:]
        status = _STATUS.search(error)
        why = f"It ended with exit status {status[1]}." if status else _short(error, OUTPUT_CHARS)
        hint = "What to do: correct this step, and see that what it downloads can be reached."
        return "\n".join(filter(None, [f"the image cannot be made: {step}", output, why, hint]))


def _plain(instruction: str) -> str:
    """As both builders write it, without what samovar put in and without quotes, which one of them leaves away."""
    return _OURS.sub("", instruction).strip()


def _short(text: str, chars: int = _TITLE_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= chars else f"{line[:chars]}…"


def _fields(record: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that hold bytes, as (number, bytes)."""
    at = 0
    while at < len(record):
        key, at = _varint(record, at)
        match key & 7:
            case 0:
                _, at = _varint(record, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(record, at)
                yield key >> 3, record[at : at + length]
                at += length
            case 5:
                at += 4
            case _:
                return


def _varint(record: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(record):
        byte = record[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
