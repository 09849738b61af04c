"""``import flyte`` means samovar, where a command or a replica asked for it.

Called by the command, by ``python -m samovar FILE`` and by the runtime before it imports the user's script;
plain Python never sees it. What must stay true: ``flyte`` *is* samovar (the same module object, and the same
for every submodule), so that a class is the same class under both names, and a pickle made under one loads
under the other.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # importlib.abc takes as long to import as the rest of this module and of what it needs
    from importlib.abc import Loader

ALIAS = "flyte"

# samovar's own rooms: Flyte has no public module of that name, and a script has no business there.
_PRIVATE = frozenset(
    name
    for line in (
        "__main__ cli core drivers engine host images",
        "config entries family journal light model ports runtime sdk sim web wire",
    )
    for name in line.split()
)


def install() -> None:
    """From now on ``import flyte`` gives samovar in this process. Calling it twice changes nothing."""
    target = importlib.import_module("samovar")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if sys.modules.get(ALIAS) is not target:
        for name in [n for n in sys.modules if n == ALIAS or n.startswith(f"{ALIAS}.")]:
            del sys.modules[name]  # the real one, if something imported it before
        sys.modules[ALIAS] = target


def uninstall() -> None:
    """Undo ``install``; for tests."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name in [n for n in sys.modules if n == ALIAS or n.startswith(f"{ALIAS}.")]:
        del sys.modules[name]


class _Finder:
    """Comes before the path finders: they would load samovar's files a second time under the other name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == ALIAS:
            return _spec(fullname, "samovar")
        if not fullname.startswith(f"{ALIAS}."):
            return None
        real = _real_name(fullname)
        if real is None:
            raise ModuleNotFoundError(
                f"samovar stands in for flyte here and does not have {fullname!r}; "
                f"take this import out, or run the part of the program that needs it with Flyte itself",
                name=fullname,
            )
        return _spec(fullname, real)


def _real_name(fullname: str) -> str | None:
    tail = fullname.removeprefix(f"{ALIAS}.")
    if tail.split(".")[0] in _PRIVATE:
        return None
    name = f"samovar.{tail}"
    if name in sys.modules:
        return name
    try:
        return name if importlib.util.find_spec(name) is not None else None
    except ModuleNotFoundError:  # its parent is no package, or there is none
        return None


def _spec(fullname: str, real: str) -> ModuleSpec:
    return ModuleSpec(fullname, cast("Loader", _Loader(real)))


class _Loader:
    """Gives the module that is there already; the import system must not mark it as its own."""

    def __init__(self, real: str) -> None:
        self._real = real
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._real)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec
