"""The user's file: load it as a module, find its tasks. Its mistakes are bad input (exit status 2)."""

from __future__ import annotations

import difflib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from types import ModuleType, TracebackType
from typing import Any

import click


class BadInput(click.ClickException):
    """Something the user gave cannot be used; the message says what and how to go on."""

    exit_code = 2


def load(path: str) -> ModuleType:
    """Import the file under the name that replicas import it by, its directory first on ``sys.path``."""
    from samovar.sdk import alias, bundle  # only here, like all of the SDK: help without a file stays light

    path = os.path.abspath(path)
    if not os.path.isfile(path):
        what = "is a directory, not a Python file" if os.path.isdir(path) else "does not exist"
        raise BadInput(f"FILE {path} {what}.")
    alias.install()
    directory = os.path.dirname(path)
    if directory not in sys.path:
        sys.path.insert(0, directory)
    name = module_name(path)
    bundle.set_main(path, name)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadInput(f"FILE {path} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        del sys.modules[name]
        raise BadInput(
            f"{path} called sys.exit({error.code!r}) while it was imported; put that under "
            f"`if __name__ == '__main__':`."
        ) from error
    except Exception as error:
        del sys.modules[name]
        raise BadInput(f"{path} cannot be imported.\n{user_traceback(error, path)}") from error
    return module


def module_name(path: str) -> str:
    """The file's stem, unless a module of that name is there already."""
    stem = os.path.splitext(os.path.basename(path))[0]
    name = "".join(c if c.isalnum() or c == "_" else "_" for c in stem)
    if not name.isidentifier():
        name = f"_{name}"
    taken = name in sys.stdlib_module_names or name in ("samovar", "flyte")
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if taken or (name in sys.modules and loaded != path):
        return f"{name}_script"
    return name


def user_traceback(error: BaseException, path: str) -> str:
    """The traceback from the user's file on, without the frames of whoever imported it."""
    start: TracebackType | None = error.__traceback__
    while start is not None and start.tb_frame.f_code.co_filename != path:
        start = start.tb_next
    return "".join(traceback.format_exception(type(error), error, start)).rstrip()


def find_tasks(module: ModuleType) -> dict[str, Any]:
    """The tasks of a module by the name one calls them by, in the order of the file.

    Also those that only their environment still knows, because the name of the function was taken again.
    """
    from samovar.sdk.task import Task

    attributes = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    found: dict[str, Any] = {name: value for name, value in attributes.items() if isinstance(value, Task)}
    known = {id(task) for task in found.values()}
    for value in attributes.values():
        for task in _tasks_of(value):
            if isinstance(task, Task) and id(task) not in known:
                known.add(id(task))
                found.setdefault(task.name.rpartition(".")[2], task)
    return found


def _tasks_of(value: object) -> Iterable[Any]:
    if isinstance(value, type | ModuleType) or not hasattr(type(value), "task"):  # what is no environment
        return ()
    tasks = getattr(value, "tasks", ())
    if isinstance(tasks, Mapping):
        return tasks.values()
    return tasks if isinstance(tasks, list | tuple) else ()


def pick(tasks: Mapping[str, Any], name: str, path: str) -> Any:
    """The task of that name; ``environment.function`` is understood as well."""
    if name in tasks:
        return tasks[name]
    by_full_name = {task.name: task for task in tasks.values()}
    if name in by_full_name:
        return by_full_name[name]
    if not tasks:
        raise BadInput(f"{path} has no tasks: none of its functions is decorated with @env.task.")
    close = difflib.get_close_matches(name, [*tasks, *by_full_name], n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise BadInput(f"{path} has no task {name!r}.{hint}\nIts tasks: {', '.join(tasks)}")
