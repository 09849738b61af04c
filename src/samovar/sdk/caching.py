"""Which calls of a task need not run: from what its ``cache`` says to the key of one call.

A key is made of the task's name, a version (of its code, or the user's own), the salt, and the inputs that count. It is
made where the inputs are, for cached tasks alone; who has the results is the engine's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from samovar.model import CacheCall
from samovar.sdk.digest import NoDigest, digest, source_of
from samovar.sdk.log import logger
from samovar.sdk.policies import Cache, CachePolicy


@dataclass(frozen=True)
class VersionParameters:
    """What a policy makes a version from."""

    func: Callable[..., Any] | None
    image: Any = None


class FunctionBodyPolicy:
    """The version is a digest of the function's source, so a change of its code is another version."""

    def get_version(self, salt: str, params: VersionParameters) -> str:
        if params.func is None:
            return ""
        return hashlib.blake2b(f"{salt}\0{source_of(params.func)}".encode(), digest_size=16).hexdigest()


class CachePlan:
    """How calls of one task are cached. ``names``: of its parameters; None: it takes any.

    ValueError: an ignored input is no parameter of it.
    """

    def __init__(self, cache: Cache, task: str, params: VersionParameters, names: tuple[str, ...] | None) -> None:
        self._cache = cache
        self._task = task
        self._params = params
        ignored = cache.ignored_inputs
        self._ignored = frozenset([ignored] if isinstance(ignored, str) else ignored)
        self._prefix: bytes | None = None  # of the keys of all calls
        self._warned = False
        if names is not None and (unknown := sorted(self._ignored.difference(names))):
            raise ValueError(
                f"task {task!r}: ignored_inputs names {', '.join(unknown)}, which is no parameter; "
                f"its parameters are {', '.join(names) or 'none'}"
            )

    def call(self, inputs: dict[str, Any]) -> CacheCall | None:
        """None: there is no key for these inputs, so the call is not cached. ValueError: a policy fails."""
        try:
            key = hashlib.blake2b(self._start(), digest_size=20)
            key.update(digest({name: value for name, value in inputs.items() if name not in self._ignored}))
        except (NoDigest, OSError) as error:
            self._warn(error)
            return None
        cache = self._cache
        return CacheCall(key.hexdigest(), cache.behavior == "override" and not cache.version_override, cache.serialize)

    def _start(self) -> bytes:
        if self._prefix is None:
            self._prefix = digest((self._task, self._version(), self._cache.salt))
        return self._prefix

    def _version(self) -> str:
        cache = self._cache
        if cache.version_override is not None:
            return cache.version_override
        found = []
        for policy in cast("list[CachePolicy] | None", cache.policies) or [FunctionBodyPolicy()]:
            try:
                found.append(policy.get_version(cache.salt, self._params))
            except OSError:
                raise
            except Exception as error:
                raise ValueError(
                    f"task {self._task!r}: the cache policy {policy!r} gives no version: {error}"
                ) from error
        return "\0".join(found)

    def _warn(self, why: Exception) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("task %r is not cached for some of its calls: there is no key for them: %s", self._task, why)


def plan_of(asked: Any, task: str, params: VersionParameters, names: tuple[str, ...] | None) -> CachePlan | None:
    """What ``cache=…`` of a task comes to; None: it is not cached. ValueError: it is no such thing."""
    cache = asked if isinstance(asked, Cache) else Cache(asked)
    return None if cache.behavior == "disable" else CachePlan(cache, task, params, names)
