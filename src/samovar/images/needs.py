"""What an image asks for, as far as it decides what a replica can be. Light: every engine asks, few then build."""

from __future__ import annotations

from samovar.model import ImageSpec

INSTALLED = frozenset({"pip", "uv_project"})
"""The kinds of steps that a virtual environment can have."""


def beyond(image: ImageSpec) -> list[str]:
    """What this image asks for and a process cannot have."""
    kinds = {step.kind for step in image.steps} - {*INSTALLED, "env"}
    if image.base not in ("auto", ""):
        kinds.add(f"base {image.base}")
    if image.dockerfile:
        kinds.add(f"base {image.dockerfile}")
    return sorted(kinds)


def is_plain(image: ImageSpec) -> bool:
    """It asks for nothing but a Python: whichever runs the engine will do."""
    return image.python_version is None and not beyond(image) and all(step.kind == "env" for step in image.steps)
