"""What one replica of an environment may use, in the notation of Kubernetes.

A pair is (request, limit); one machine has no scheduler to ask, so the limit is what counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from samovar.model import Limits

_UNITS = {
    "": 1.0,
    "m": 1e-3,
    **{unit: 1000.0**power for power, unit in enumerate("kMGTPE", 1)},
    "K": 1e3,
    **{unit + "i": 1024.0**power for power, unit in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([A-Za-z]*)")
_GPU = re.compile(r"\d+|[A-Za-z][\w .-]*:\d+")


@dataclass(frozen=True)
class Resources:
    """cpu in cores (1, 0.5, "500m"), memory, disk and shm in bytes ("512Mi", "1Gi"), gpu as 1, "1" or "T4:1".

    In containers, disk bounds what can be written to /tmp, and pids how many processes and threads there can be.
    """

    cpu: float | str | tuple[float | str, float | str] | None = None
    memory: int | str | tuple[int | str, int | str] | None = None
    gpu: int | str | None = None
    disk: int | str | None = None
    shm: int | str | None = None
    pids: int | None = None

    def __post_init__(self) -> None:
        self.limits()  # a bad value is told where it is written

    def limits(self) -> Limits:
        """The bounds of a replica; None where there is none."""
        return Limits(
            cpu=_amount("cpu", self.cpu),
            memory=_bytes("memory", self.memory),
            gpu=_gpu(self.gpu),
            disk=_bytes("disk", self.disk),
            shm=None if self.shm == "auto" else _bytes("shm", self.shm),
            pids=_count("pids", self.pids),
        )


def _amount(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ValueError(f"Resources: {name} must be one value or a pair (request, limit), not {value!r}")
        request, limit = (_amount(name, part) for part in value)
        if request is not None and limit is not None and request > limit:
            raise ValueError(f"Resources: the request of {name} is above its limit in {value!r}")
        return limit
    if isinstance(value, str) and (found := _QUANTITY.fullmatch(value.strip())) and found[2] in _UNITS:
        amount = float(found[1]) * _UNITS[found[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        amount = float(value)
    else:
        raise ValueError(f"Resources: {name}={value!r} is no quantity; write for example {_example(name)}")
    if not 0 < amount < float("inf"):
        raise ValueError(f"Resources: {name} must be positive, not {value!r}")
    return amount


def _bytes(name: str, value: object) -> int | None:
    amount = _amount(name, value)
    return None if amount is None else int(amount)


def _count(name: str, value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"Resources: {name} must be an int of at least 1, not {value!r}")
    return value


def _example(name: str) -> str:
    return "2 or '500m'" if name == "cpu" else "'512Mi' or '1Gi'"


def _gpu(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not _GPU.fullmatch(text):
        raise ValueError(f"Resources: gpu={value!r} is neither a number nor 'device:number', for example 'T4:1'")
    return text
