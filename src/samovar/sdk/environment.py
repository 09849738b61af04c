"""A task environment: what the containers of its tasks are made of and how they are reused."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, overload

from samovar import model
from samovar.light import msgspec
from samovar.sdk import bundle
from samovar.sdk.image import Image
from samovar.sdk.policies import Secret, to_secrets
from samovar.sdk.resources import Resources
from samovar.sdk.reuse import ReusePolicy
from samovar.sdk.task import P, R, Task, TaskOptions

_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
E = TypeVar("E", bound="TaskEnvironment")
_declared: list[TaskEnvironment] = []  # of this process, in order; of two with one name the later counts


@dataclass(eq=False)
class TaskEnvironment:
    """Declare one, then decorate functions with ``@env.task``. Without ``reusable`` every execution gets a new
    container; with a ``ReusePolicy`` they are kept.

    ``network`` is that of the containers: "none", "bridge", "host" or a name. None leaves it to the container engine;
    processes have the network of their machine. ``include`` names files that a service gets beside the modules: paths
    and globs from the folder of the file that declares the environment; of a folder it is all that is in it.
    """

    name: str
    depends_on: list[TaskEnvironment] = field(default_factory=list)
    pod_template: Any = None
    description: str | None = None
    secrets: str | Secret | Sequence[str | Secret] | None = None
    env_vars: dict[str, str] | None = None
    resources: Resources | None = None
    interruptible: bool = False
    image: str | Image | None = "auto"
    include: Sequence[str] = ()
    cache: Any = "disable"
    reusable: ReusePolicy | None = None
    plugin_config: Any = None
    queue: str | None = None
    network: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"TaskEnvironment: the name {self.name!r} must be lower-case letters and digits, "
                "in words joined by single '-' or '_'"
            )
        if self.reusable is not None and not isinstance(self.reusable, ReusePolicy):
            raise TypeError(f"environment {self.name!r}: reusable must be a ReusePolicy, not {self.reusable!r}")
        if self.reusable is not None and self.pod_template is not None:
            raise ValueError(
                f"environment {self.name!r}: reusable and pod_template cannot be combined; drop one of the two"
            )
        if self.resources is not None and not isinstance(self.resources, Resources):
            raise TypeError(f"environment {self.name!r}: resources must be Resources, not {self.resources!r}")
        if self.image is not None and not isinstance(self.image, str | Image):
            raise TypeError(f"environment {self.name!r}: image must be an Image or its name, not {self.image!r}")
        if self.network is not None and not (isinstance(self.network, str) and _NETWORK.fullmatch(self.network)):
            raise ValueError(
                f"environment {self.name!r}: network={self.network!r} must be 'none', 'bridge', 'host' "
                "or the name of a network"
            )
        if isinstance(self.include, str):
            raise TypeError(f"environment {self.name!r}: include must be a list or tuple of paths, not a string")
        self._included_from = _declaring_folder() if self.include else ""
        wanted, self.depends_on = self.depends_on, []
        self.add_dependency(*wanted)
        self._tasks: dict[str, Task[Any, Any]] = {}
        _declared.append(self)

    @property
    def tasks(self) -> dict[str, Task[Any, Any]]:
        """The tasks by full name."""
        return self._tasks

    def add_dependency(self, *environments: TaskEnvironment) -> None:
        """Tasks of these environments are called from here."""
        for environment in environments:
            if not isinstance(environment, TaskEnvironment):
                raise TypeError(f"environment {self.name!r}: {environment!r} is no TaskEnvironment to depend on")
            if environment is self or environment.name == self.name:
                raise ValueError(f"environment {self.name!r} cannot depend on itself")
            if environment not in self.depends_on:
                self.depends_on.append(environment)

    def clone_with(self: E, name: str, **changes: Any) -> E:
        """A new environment, without tasks, that differs in what is given; None keeps a value, except that
        ``reusable=None`` turns reuse off. TypeError: an unknown keyword."""
        known = {each.name for each in fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise TypeError(f"environment {self.name!r}: clone_with() has no parameter {', '.join(unknown)}")
        given = {key: value for key, value in changes.items() if value is not None or key == "reusable"}
        given.setdefault("depends_on", list(self.depends_on))
        return replace(self, name=name, **given)

    @classmethod
    def from_task(
        cls, name: str, *tasks: Task[Any, Any], depends_on: Sequence[TaskEnvironment] | None = None
    ) -> TaskEnvironment:
        """An environment that lists tasks which exist. ValueError: none, or tasks of different images."""
        if not tasks:
            raise ValueError(f"environment {name!r}: from_task needs at least one task")
        images = [task.environment.image for task in tasks]
        if any(image != images[0] for image in images):
            raise ValueError(f"environment {name!r}: the tasks have different images; make an environment for each")
        made = cls(name=name, image=images[0], depends_on=list(depends_on or ()))
        made._tasks.update({task.name: task for task in tasks})
        return made

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        short_name: str | None = ...,
        cache: Any = ...,
        retries: Any = 0,
        timeout: Any = 0,
        docs: Any = ...,
        report: bool = False,
        interruptible: bool | None = ...,
        max_inline_io_bytes: int = ...,
        pod_template: Any = ...,
        queue: str | None = ...,
        triggers: Any = ...,
        links: Any = ...,
        entrypoint: bool = False,
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(self, function: Any = None, /, **options: Any) -> Any:
        """Declare a function as a task, bare or with options.

        ValueError: it cannot be one (a sync function where a replica runs several executions at a time).
        """
        for name in ("resources", "env_vars", "secrets", "reusable"):
            if name in options:
                raise TypeError(f"environment {self.name!r}: {name} belongs to the environment, not to @task")
        try:
            prepared = TaskOptions(**options)
        except TypeError as error:
            message = str(error).replace("TaskOptions.__init__()", "@task")
            raise TypeError(f"environment {self.name!r}: {message}") from None

        def declare(fn: Callable[..., Any]) -> Task[..., Any]:
            if not callable(fn):
                raise TypeError(f"environment {self.name!r}: @task needs a function, not {fn!r}")
            made: Task[..., Any] = Task(fn, self, prepared)
            self._tasks[made.name] = made
            return made

        return declare if function is None else declare(function)

    def _image_spec(self) -> model.ImageSpec:
        """In a replica it is what the script has found: the files that an image names need not be there."""
        if bundle.in_replica and (given := dict(bundle.current().images).get(self.name)) is not None:
            return given
        if isinstance(self.image, Image):
            return self.image.spec()
        return model.ImageSpec() if self.image in (None, "auto") else model.ImageSpec(base=str(self.image))

    def needs(self) -> tuple[model.Environment, ...]:
        """The environments that this one depends on, and these in turn, as an engine sees them."""
        found: dict[str, TaskEnvironment] = {}
        waiting = list(self.depends_on)
        while waiting:
            environment = waiting.pop()
            if environment.name not in found:
                found[environment.name] = environment
                waiting += environment.depends_on
        found.pop(self.name, None)
        described = []
        for each in found.values():
            with contextlib.suppress(ValueError):  # its image cannot be read: told when one of its tasks is called
                described.append(each.describe(TaskOptions(), each.reusable))
        return tuple(described)

    def describe(self, options: TaskOptions, reusable: ReusePolicy | None) -> model.Environment:
        """The environment of one task as an engine sees it. ``scope`` "run" stands for the run to come."""
        resources = options.resources if options.resources is not None else self.resources
        env_vars = options.env_vars if options.env_vars is not None else self.env_vars
        secrets = options.secrets if options.secrets is not None else self.secrets
        return model.Environment(
            name=self.name,
            image=self._image_spec(),
            limits=resources.limits() if resources is not None else model.Limits(),
            env_vars=tuple(sorted((str(key), str(value)) for key, value in (env_vars or {}).items())),
            secrets=to_secrets(secrets),
            bundle=msgspec.structs.replace(bundle.current(), images=_images()),
            network=self.network or "",
            settings=_one_task_a_replica() if reusable is None else reusable.settings(),
            scope="run" if reusable is not None and reusable.scope == "run" else "",
        )


def included() -> list[tuple[str, str, str]]:
    """What the environments of this process include: the environment, the folder that it is declared in, the path."""
    return [(env.name, env._included_from, path) for env in _declared for path in env.include]


def _declaring_folder() -> str:
    """Of the file whose code makes the environment."""
    frame = sys._getframe(2)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__") in (__name__, "dataclasses") or not os.path.isfile(frame.f_code.co_filename)
    ):  # dataclasses make ``__init__`` without a file
        frame = frame.f_back
    file = frame.f_code.co_filename
    return os.path.dirname(os.path.realpath(file)) if os.path.isfile(file) else os.getcwd()


def _images() -> tuple[tuple[str, model.ImageSpec], ...]:
    """The images of all environments that ask for one; one that cannot be read fails when it is run, and not here."""
    if bundle.in_replica:
        return bundle.current().images
    found: dict[str, model.ImageSpec] = {}
    for environment in _declared:
        if isinstance(environment.image, Image):
            with contextlib.suppress(ValueError):
                found[environment.name] = environment.image.spec()
    return tuple(sorted(found.items()))


def _one_task_a_replica() -> model.PoolSettings:
    """Without reuse it is the same machine, with replicas that retire after one execution."""
    return model.PoolSettings(
        min_replicas=0, max_replicas=max(4, 2 * (os.cpu_count() or 1)), concurrency=1, max_tasks=1
    )
