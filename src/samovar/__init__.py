"""samovar: reusable containers for Python tasks, heated once, then serving execution after execution.

The public names, each imported when it is first used: ``import samovar`` loads nothing else, since every replica
does it. A name of Flyte's that samovar does not have is an error that says so.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samovar import errors as errors
    from samovar import models as models
    from samovar import remote as remote
    from samovar.sdk.ctx import ctx as ctx
    from samovar.sdk.ctx import current_domain as current_domain
    from samovar.sdk.ctx import current_project as current_project
    from samovar.sdk.ctx import custom_context as custom_context
    from samovar.sdk.ctx import get_custom_context as get_custom_context
    from samovar.sdk.ctx import group as group
    from samovar.sdk.environment import TaskEnvironment as TaskEnvironment
    from samovar.sdk.image import Image as Image
    from samovar.sdk.log import logger as logger
    from samovar.sdk.map import map as map
    from samovar.sdk.map import map_task as map_task
    from samovar.sdk.policies import Backoff as Backoff
    from samovar.sdk.policies import Cache as Cache
    from samovar.sdk.policies import PodTemplate as PodTemplate
    from samovar.sdk.policies import RetryStrategy as RetryStrategy
    from samovar.sdk.policies import Secret as Secret
    from samovar.sdk.policies import Timeout as Timeout
    from samovar.sdk.policies import Trigger as Trigger
    from samovar.sdk.resources import Resources as Resources
    from samovar.sdk.reuse import ReusePolicy as ReusePolicy
    from samovar.sdk.run import Run as Run
    from samovar.sdk.run import init as init
    from samovar.sdk.run import init_from_config as init_from_config
    from samovar.sdk.run import run as run
    from samovar.sdk.run import with_runcontext as with_runcontext
    from samovar.sdk.trace import trace as trace
    from samovar.sdk.workflow import workflow as workflow

__version__ = "0.1.0"

_ROOMS = {
    "samovar.sdk.ctx": "ctx current_domain current_project custom_context get_custom_context group",
    "samovar.sdk.environment": "TaskEnvironment",
    "samovar.sdk.image": "Image",
    "samovar.sdk.log": "logger",
    "samovar.sdk.map": "map map_task",
    "samovar.sdk.policies": "Backoff Cache PodTemplate RetryStrategy Secret Timeout Trigger",
    "samovar.sdk.resources": "Resources",
    "samovar.sdk.reuse": "ReusePolicy",
    "samovar.sdk.run": "Run init init_from_config run with_runcontext",
    "samovar.sdk.trace": "trace",
    "samovar.sdk.workflow": "workflow",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}
_MODULES = ("errors", "models", "remote")

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"samovar.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name.startswith("_"):
        raise AttributeError(f"module 'samovar' has no attribute {name!r}")
    errors = importlib.import_module("samovar.errors")
    raise errors.NotSupportedError(f"flyte.{name} is not part of samovar; its names are {', '.join(sorted(_HOME))}")


def __dir__() -> list[str]:
    return sorted(__all__)
