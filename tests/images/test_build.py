"""What the answers of both builders become: lines of progress, and errors that name the step."""

from __future__ import annotations

import base64

import pytest

from samovar.errors import ImageBuildError
from samovar.images.build import _Progress
from samovar.images.containerfile import Layer

LAYERS = (
    Layer("FROM tea"),
    Layer('RUN --mount=type=bind,source=host,target=/run/samovar-host ["/bin/sh", "-c", "brew"]', "command: brew"),
    Layer('COPY ["runtime/", "/opt/samovar/"]', "samovar"),
)


def field(number: int, value: bytes) -> bytes:
    """A field of a protobuf message; lengths below 16384."""
    size = len(value)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + value


def vertex(name: str, started: bool = True) -> bytes:
    return field(1, field(1, name.encode()) + field(3, name.encode()) + (field(5, b"\x08\x01") if started else b""))


def trace(*parts: bytes) -> dict[str, object]:
    return {"id": "moby.buildkit.trace", "aux": base64.b64encode(b"".join(parts)).decode()}


def podman() -> list[dict[str, object]]:
    texts = [f"STEP 1/3: {LAYERS[0].instruction}\n", f"STEP 2/3: {LAYERS[1].instruction}\n", "water\n", "hot\n"]
    return [{"stream": text} for text in texts]


def docker() -> list[dict[str, object]]:
    started = [vertex("[internal] load build definition"), vertex(f"[1/3] {LAYERS[0].instruction}")]
    brew = f"[ 2/3] {LAYERS[1].instruction}"
    log = field(3, field(1, b"digest") + field(4, b"water\nhot\n"))
    return [trace(*started), trace(vertex(brew, started=False)), trace(vertex(brew)), trace(vertex(brew), log)]


ENDS = {
    "podman": (podman, 'building at STEP "RUN brew": while running runtime: exit status 3', "STEP 3/3: {}"),
    "docker": (docker, "executor failed running [/bin/sh -c brew]: exit code: 3", "[stage-1 3/3] {}"),
}


@pytest.fixture(params=ENDS)
def builder(request):
    return ENDS[request.param]


def test_steps_are_reported_by_their_titles(builder):
    events, _, step = builder
    lines: list[str] = []
    progress = _Progress(LAYERS, lines.append)
    for event in events():
        progress.take(event)
    progress.take({"stream": step.format("COPY [runtime/, /opt/samovar/]")})
    assert lines == ["image: 2/3 command: brew", "image: 3/3 samovar"]


def test_a_failure_names_its_step_and_ends_with_its_output(builder):
    events, error, _ = builder
    progress = _Progress(LAYERS, lambda line: None)
    for event in events():
        progress.take(event)
    with pytest.raises(ImageBuildError) as caught:
        progress.take({"error": error, "errorDetail": {"message": error}})
    assert str(caught.value).splitlines()[:4] == [
        "the image cannot be made: the step 'command: brew' failed",
        "water",
        "hot",
        "It ended with exit status 3.",
    ]
    assert "What to do" in str(caught.value)


def test_an_error_before_any_step_is_told_as_it_is():
    with pytest.raises(ImageBuildError, match=r"the build failed\nno space left"):
        _Progress(LAYERS, lambda line: None).take({"error": "no space left"})


def test_an_error_carries_the_end_of_long_output_only():
    progress = _Progress(LAYERS, lambda line: None)
    progress.take(podman()[1])
    for number in range(5000):
        progress.take({"stream": f"line {number}\n"})
    with pytest.raises(ImageBuildError) as caught:
        progress.take({"error": "exit status 1"})
    assert "line 4999" in str(caught.value)
    assert len(str(caught.value)) < 2500


def test_a_users_dockerfile_is_told_without_what_was_put_in():
    lines: list[str] = []
    mount = "--mount=type=bind,from=samovar/settings:1,source=/host,target=/run/samovar-host"
    run = f"RUN {mount} . /run/samovar-host/env; make"
    _Progress((), lines.append).take({"stream": f"[1/2] STEP 2/4: {run}\n"})
    _Progress((), lines.append).take({"stream": 'STEP 3/4: LABEL "samovar.base"="dockerfile"\n'})
    assert lines == ["image: 2/4 RUN make"]


@pytest.mark.parametrize(
    "step", ["STEP 10/11: X", "[1/2] STEP 10/11: X", "[10/11] X", "[stage-1 10/11] X", "[a.b  10/11] X"]
)
def test_steps_are_numbered_as_the_builder_numbers_them(step):
    lines: list[str] = []
    _Progress((), lines.append).take({"stream": step})
    assert lines == ["image: 10/11 X"]


@pytest.mark.parametrize("record", [b"", b"\x0a", b"\x0a\xff", b"\xff\xff\xff", b"\x0f\x01", b"\x09\x01"])
def test_a_broken_record_breaks_nothing(record):
    lines: list[str] = []
    _Progress((), lines.append).take(trace(record))
    assert lines == []
