"""``python -m samovar FILE [args…]`` runs FILE as a script in which ``import flyte`` gives samovar.

``python -m samovar run …`` and the options of the command are the command itself.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

from samovar.sdk import alias

COMMANDS = frozenset(
    {"abort", "attach", "completion", "get", "images", "logs", "pool"}
    | {"run", "serve", "start", "status", "stop", "token"}
)


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in COMMANDS or arguments[0].startswith("-"):
        from samovar.cli.main import main as command  # only here: a script needs no click

        _forget_working_directory()
        command(arguments or ["--help"])
    else:
        run_script(arguments[0], arguments[1:])


def _forget_working_directory() -> None:
    """``python -m`` puts it on the search path and the command ``samovar`` does not: one program, one version."""
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]


def run_script(path: str, arguments: list[str]) -> None:
    """Run the file as ``python FILE`` would: as ``__main__``, with its ``sys.argv`` and ``sys.path[0]``.

    Unlike ``runpy.run_path`` the module stays ``__main__`` until the process ends: threads and exit handlers
    of the script still need it, and the code bundle is found through it.
    """
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), os.path.abspath(path), "exec", dont_inherit=True)
    except OSError as error:
        print(f"samovar: cannot run {path!r}: {error.strerror}", file=sys.stderr)
        print(
            "usage: python -m samovar FILE [ARGS...]  or  python -m samovar run FILE TASK ...",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except (SyntaxError, ValueError) as error:
        sys.excepthook(type(error), error, None)
        raise SystemExit(1) from None
    module = ModuleType("__main__")
    module.__file__ = os.path.abspath(path)
    module.__loader__ = SourceFileLoader("__main__", module.__file__)
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    sys.argv = [path, *arguments]
    here = os.path.dirname(module.__file__)
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path[0] = here  # `python -m` put the working directory there; `python FILE` would not
    else:
        sys.path.insert(0, here)
    alias.install()
    try:
        exec(code, module.__dict__)
    except Exception as error:
        trace = error.__traceback__.tb_next if error.__traceback__ else None  # without the frame of this function
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(sys.argv[1:])
