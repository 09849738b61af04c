"""Shipping: the code of this process goes to its service, once, and its tasks are described by what was shipped.

Called by whoever starts a run, outside of the turn. A task that is known costs one look into a dictionary.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from samovar import errors
from samovar.host import packing
from samovar.light import msgspec
from samovar.model import Bundle, TaskSpec
from samovar.wire.frames import Kept, Offer, Parcel

if TYPE_CHECKING:
    from samovar.host.remote import RemoteHost

SECONDS = 60.0
"""How long a service may take to look for code, or to take in one parcel of it."""

IN_PLACE = "none"
"""The style of whoever ships nothing: a service on this machine uses the files where they lie."""


class Shipping:
    """``is_here``: the service is on this machine, so what this process has by path may be of use there."""

    def __init__(self, host: RemoteHost, is_here: bool) -> None:
        self._host = host
        self._is_here = is_here
        self._lock = threading.Lock()
        self._specs: dict[tuple[int, str], tuple[TaskSpec, TaskSpec]] = {}  # id and style → the spec, and as shipped
        self._shipped: dict[str, packing.Cargo] = {}  # by style

    def described(self, spec: TaskSpec, style: str) -> TaskSpec:
        """The task, whose code the service has from here on. InitializationError: it cannot have it."""
        if style == IN_PLACE:
            return spec
        known = self._specs.get((id(spec), style))
        if known is None:
            with self._lock:
                known = self._specs[id(spec), style] = (spec, self._describe(spec, style))
        return known[1]

    def _describe(self, spec: TaskSpec, style: str) -> TaskSpec:
        cargo = self._shipped.get(style)
        if cargo is None or not cargo.has_module(spec.module):
            cargo = self._ship(style)
        images = spec.environment.bundle.images
        code = msgspec.structs.replace(cargo.bundle if self._is_here else _without_paths(cargo.bundle), images=images)
        environment = msgspec.structs.replace(spec.environment, bundle=code)
        return msgspec.structs.replace(spec, environment=environment)

    def _ship(self, style: str) -> packing.Cargo:
        try:
            cargo = packing.pack(style)
            if not self._offer(cargo):
                self._send(cargo)
                self._offer(cargo)
        except OSError as error:
            raise _refusal(f"the code cannot be shipped: {error}") from error
        self._shipped[style] = cargo
        return cargo

    def _offer(self, cargo: packing.Cargo) -> bool:
        return self._kept(self._host.bring(Offer(0, cargo.bundle.digest, cargo.project))).is_there

    def _send(self, cargo: packing.Cargo) -> None:
        for pieces, is_last in packing.parcels(cargo.files):
            self._kept(self._host.bring(Parcel(0, cargo.bundle.digest, pieces, is_last)))

    def _kept(self, answer: object) -> Kept:
        if not isinstance(answer, Kept):
            raise _refusal("the service is gone, and has not taken the code")
        if answer.problem:
            raise _refusal(f"the service cannot keep the code: {answer.problem}")
        return answer


def _without_paths(code: Bundle) -> Bundle:
    """For another machine, where a path of this one means nothing."""
    search_path = tuple(path for path in code.sys_path if not os.path.isabs(path))
    return msgspec.structs.replace(code, sys_path=search_path, cwd="", python="")


def _refusal(message: str) -> errors.InitializationError:
    return errors.InitializationError("InitializationError", message)
