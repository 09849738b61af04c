"""Small declarations that go with a task: retries, timeouts, caching, secrets. Values, nothing that acts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePath
from typing import Any, Literal, Protocol, cast, get_args

from samovar.model import Retry, SecretSpec, Timeouts

Seconds = int | float | timedelta
CacheBehavior = Literal["auto", "override", "disable", "enabled"]
_BEHAVIORS = get_args(CacheBehavior)


@dataclass(frozen=True)
class Backoff:
    """The wait before the n-th retry: base · factorⁿ⁻¹, at most cap; seconds or timedelta."""

    base: Seconds = 1.0
    factor: float = 2.0
    cap: Seconds | None = None


@dataclass(frozen=True)
class RetryStrategy:
    """``count`` retries after the first attempt."""

    count: int = 0
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise ValueError(f"retries must be an int of at least 0, not {self.count!r}")


@dataclass(frozen=True)
class Timeout:
    """Bounds in seconds or as timedelta: of one attempt, of the wait for a slot, of everything together."""

    max_runtime: Seconds | None = None
    max_queued_time: Seconds | None = None
    deadline: Seconds | None = None


class CachePolicy(Protocol):
    """Gives the version of a task's code; ``params`` has its ``func`` and its ``image``."""

    def get_version(self, salt: str, params: Any) -> str: ...


@dataclass
class Cache:
    """How results are reused: a call with the same version, salt and inputs as one that has succeeded gives its result.

    ``behavior``: "auto" ("enabled" is the same) takes the version from the code, "override" takes ``version_override``,
    or, without one, runs every call and replaces what is kept; "disable" neither keeps nor takes results.
    ``serialize``: of several such calls at a time one runs, and the others wait for it. ``ignored_inputs`` are left out
    of the comparison. ``policies`` give the version in place of the function's source.
    """

    behavior: CacheBehavior = "auto"
    version_override: str | None = None
    serialize: bool = False
    ignored_inputs: Sequence[str] | str = ()
    salt: str = ""
    policies: Sequence[CachePolicy] | CachePolicy | None = None

    def __post_init__(self) -> None:
        if self.behavior not in _BEHAVIORS:
            raise ValueError(
                f"cache={self.behavior!r}: it must be a Cache or one of {', '.join(map(repr, _BEHAVIORS))}"
            )
        if self.policies is not None and not isinstance(self.policies, list | tuple):
            self.policies = [cast("CachePolicy", self.policies)]
        if self.policies == [] and self.version_override is None:
            raise ValueError("Cache: without a version_override there must be a policy that gives the version")


@dataclass(frozen=True)
class Secret:
    """A value that a replica gets, as an environment variable or as a file, and that is never written to a disk.

    With ``mount``, an absolute path, it is a file named after the key in that folder, and the environment variable
    holds the path of the file. In a replica that is no container the file lies elsewhere, and the variable says where.
    """

    key: str
    group: str | None = None
    mount: PurePath | str | None = None
    as_env_var: str | None = None

    def __post_init__(self) -> None:
        if self.as_env_var is None:
            name = f"{self.group}_{self.key}" if self.group else self.key
            object.__setattr__(self, "as_env_var", re.sub(r"\W", "_", name).upper())
        elif not re.fullmatch(r"[A-Za-z_]\w*", self.as_env_var):
            raise ValueError(f"Secret {self.key!r}: as_env_var={self.as_env_var!r} is no name for a variable")
        if self.mount is not None and not (
            PurePath(self.mount).is_absolute() and ".." not in PurePath(self.mount).parts
        ):
            raise ValueError(f"Secret {self.key!r}: mount={str(self.mount)!r} must be the absolute path of a folder")

    @property
    def lookup(self) -> str:
        """The key under which it is kept: "group/key", or "key" without a group."""
        return f"{self.group}/{self.key}" if self.group else self.key


@dataclass
class PodTemplate:
    """A pod of Kubernetes to start from. Accepted and stored."""

    pod_spec: Any = None
    primary_container_name: str = "primary"
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


@dataclass
class Trigger:
    """When a task starts by itself. Accepted and stored: samovar starts nothing by itself."""

    name: str
    automation: Any = None
    description: str = ""
    auto_activate: bool = True
    inputs: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)


def to_retry(retries: int | RetryStrategy) -> Retry:
    """What the engine knows of ``retries``."""
    strategy = retries if isinstance(retries, RetryStrategy) else RetryStrategy(retries)
    if strategy.backoff is None:
        return Retry(count=strategy.count)
    backoff = strategy.backoff
    cap = _seconds("Backoff.cap", backoff.cap)
    base = _seconds("Backoff.base", backoff.base) or 0.0
    return Retry(strategy.count, base, backoff.factor, Retry().cap if cap is None else cap)


def to_timeouts(timeout: Seconds | Timeout | None) -> Timeouts:
    """What the engine knows of ``timeout``; 0 is no bound."""
    if not isinstance(timeout, Timeout):
        return Timeouts(max_runtime=_seconds("timeout", timeout) or None)
    return Timeouts(
        _seconds("Timeout.max_runtime", timeout.max_runtime) or None,
        _seconds("Timeout.max_queued_time", timeout.max_queued_time) or None,
        _seconds("Timeout.deadline", timeout.deadline) or None,
    )


def to_secrets(secrets: str | Secret | Sequence[str | Secret] | None) -> tuple[SecretSpec, ...]:
    """What the engine knows of ``secrets``, in a fixed order."""
    if secrets is None:
        return ()
    each = [secrets] if isinstance(secrets, str | Secret) else secrets
    found = [Secret(secret) if isinstance(secret, str) else secret for secret in each]
    specs = [SecretSpec(secret.as_env_var or "", secret.lookup, str(secret.mount or "")) for secret in found]
    return tuple(sorted(specs, key=lambda spec: (spec.variable, spec.key, spec.mount)))


def _seconds(name: str, value: Seconds | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} must be seconds of at least 0 or a timedelta, not {value!r}")
    return float(value)
