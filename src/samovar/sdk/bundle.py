"""The user's code of this process: which script it is and where a replica finds what the script imports.

A script runs as ``__main__``, a replica imports the same file under a name of its own. In the script's process that
name is an alias of ``__main__``, so that a class pickled on one side is found on the other. A replica does not look
for its code: it takes over the bundle that it was started with (``adopt``), so both sides agree on the version.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import keyword
import os
import re
import site
import sys
import sysconfig
from pathlib import Path

from samovar.errors import InitializationError
from samovar.model import Bundle

in_replica = False  # set by ``adopt``: this process runs tasks and starts no runs
_bundle: Bundle | None = None
_folder = ""  # where the code of this replica was unpacked
_main: tuple[str, str] | None = None


def current() -> Bundle:
    """The bundle of this process; found once, at the first task that is described."""
    global _bundle
    if _bundle is None:
        _bundle = _find()
    return _bundle


def set_main(path: str | Path, name: str) -> None:
    """The script is ``path``, and it is or will be imported as ``name``; for whoever loads a script by hand."""
    global _bundle, _main
    _main = (str(Path(path).resolve()), name)
    _bundle = None


def adopt(bundle: Bundle, folder: str = "") -> None:
    """This process is a replica of ``bundle``; ``folder``: where it sees what was unpacked."""
    global _bundle, _folder, in_replica
    _bundle = bundle
    _folder = folder or bundle.folder
    in_replica = True


def as_known(text: str) -> str:
    """A text for people: its paths as in the project of whoever wrote the code."""
    return text.replace(f"{_folder}/", "") if _folder else text


def module_of(module: str) -> str:
    """The name by which a replica imports the module called ``module`` here. InitializationError: there is none."""
    if module != "__main__":
        return module
    name = current().main_name
    if not name:
        raise InitializationError(
            "InitializationError",
            "a task that is declared in an interactive session cannot be found by a replica; put it into a file",
        )
    return name


def loaded() -> dict[str, str]:
    """The files of the user's modules that are imported by now, and the folder from which each is imported ("" where
    its name and its path do not say)."""
    own = sys.modules["samovar"].__path__[0] + os.sep
    found: dict[str, str] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or file.startswith(own) or _is_installed(file):
            continue
        path = os.path.realpath(file)
        if not path.startswith(own) and not _is_installed(path) and os.path.isfile(path):
            found[path] = found.get(path) or _import_root(name, path)
    return found


def hint(error: BaseException) -> str:
    """What may be the matter where shipped code misses something that was beside it; "" where it does not look so."""
    is_module = isinstance(error, ModuleNotFoundError)
    path = str(getattr(error, "filename", None) or "")
    if not _folder or not (is_module or (isinstance(error, FileNotFoundError) and path.startswith(_folder))):
        return ""
    return (
        "\n(a service gets the modules that were imported when the run began: import it at the top of a module, name "
        "it in TaskEnvironment(include=…), or use copy_style='all')"
    )


def _import_root(name: str, path: str) -> str:
    parts = tuple(name.split("."))
    file = Path(path)
    stem = file.name.partition(".")[0]
    home = file.parent if stem == "__init__" else file.parent / stem
    return str(home.parents[len(parts) - 1]) if home.parts[-len(parts) :] == parts else ""


def _find() -> Bundle:
    main, name = _main or _script()
    if main and _main is None and name not in sys.modules:
        sys.modules[name] = sys.modules["__main__"]
    root = _root(main, name) if main else os.getcwd()
    return Bundle(
        main=main,
        main_name=name,
        sys_path=_search_path(root),
        cwd=os.getcwd(),
        digest=_digest({main, *loaded()} if main else set(loaded())),
        python=sys.executable,
    )


def _script() -> tuple[str, str]:
    """(path, name) of the script that Python was started with; empty for a shell or an installed program."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not file or not os.path.isfile(file):
        return "", ""
    path = os.path.realpath(file)
    if _is_installed(path):
        return "", ""
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":  # python -m package.module: it has a name already
        return path, str(spec.name)
    return path, _name_for(path)


def _name_for(path: str) -> str:
    """A module name for a script, not taken by another module."""
    name = re.sub(r"\W", "_", Path(path).stem)
    if not name or name[0].isdigit() or keyword.iskeyword(name):
        name = "_" + name
    return name + "_main" if _is_taken(name, path) else name


def _is_taken(name: str, path: str) -> bool:
    if name in sys.stdlib_module_names or name == "samovar":
        return True
    loaded = sys.modules.get(name)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return False
        if spec is None:
            return False
        origin = spec.origin
    return not origin or os.path.realpath(origin) != path


def _root(main: str, name: str) -> str:
    """The directory that ``import name`` starts from."""
    directory = Path(main).parent
    for _ in range(name.count(".")):
        directory = directory.parent
    return str(directory)


@functools.cache
def _installed_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")]
    roots += site.getsitepackages()
    roots.append(site.getusersitepackages())
    return tuple(os.path.realpath(root) for root in roots if root)


def _is_installed(path: str) -> bool:
    """Of the interpreter or of a package, not of the user."""
    if "site-packages" in path or "dist-packages" in path or f"{os.sep}.venv{os.sep}" in path:
        return True
    return any(path == root or path.startswith(root + os.sep) for root in _installed_roots())


def _search_path(root: str) -> tuple[str, ...]:
    """The script's directory and whatever was added to the interpreter's own search path."""
    found = [root]
    for entry in sys.path:
        path = os.path.realpath(entry)
        zipped_stdlib = re.fullmatch(r"python\d+\.zip", os.path.basename(path))
        if os.path.isabs(entry) and os.path.exists(path) and not zipped_stdlib and not _is_installed(path):
            found.append(path)
    return tuple(dict.fromkeys(found))


def _digest(files: set[str]) -> str:
    """Of where the code lies, and of what it is."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        digest.update(path.encode() + b"\0")
        try:
            with open(path, "rb") as code:
                digest.update(hashlib.blake2b(code.read()).digest())
        except OSError:  # it was there when it was imported; its path is all that is left of it
            continue
    return digest.hexdigest()
