"""msgspec, loaded lightly; ``model``, which every room imports first, takes it from here.

Where typing_extensions is installed, msgspec takes from it what the ``typing`` of Python 3.11 has as well, at 25 ms
and 5 MB a process. And of its formats samovar speaks msgpack alone: the others are imported when somebody uses them.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_LATER = ("inspect", "json", "toml", "yaml")


class _Later(ModuleType):
    """Stands for a module of msgspec until its first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what looks through all modules uses none
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


if "msgspec" in sys.modules:
    import msgspec
else:
    hidden = {} if "typing_extensions" in sys.modules else {"typing_extensions": None}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    sys.modules.update({f"msgspec.{name}": _Later(f"msgspec.{name}") for name in _LATER})
    import msgspec

    for name in hidden:
        del sys.modules[name]

__all__ = ["msgspec"]
