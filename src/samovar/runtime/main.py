"""A replica from its first instruction to its last: connect, say hello, import the user's code, serve.

Two threads stand beside the loop, so that a task that blocks it cannot hide anything: one beats and looks (``watch``),
one sees the engine's end (``guard``).
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

from samovar import collector
from samovar.model import Bundle, Failure
from samovar.runtime import capture, descriptors, guard
from samovar.runtime.call import Calls, user_frames
from samovar.runtime.link import Link
from samovar.runtime.loop import LinkSelector
from samovar.runtime.watch import Watch
from samovar.sdk import alias, bundle
from samovar.wire import frames


def main() -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address := os.environ.pop("SAMOVAR_ENGINE"))
    link = Link(sock, os.environ.pop("SAMOVAR_REPLICA"), os.environ.pop("SAMOVAR_TOKEN"))
    link.send(link.hello())
    link.flush()
    selector = LinkSelector(sock.fileno(), link.handle, link.flush)
    link.attach, link.detach = selector.attach, selector.detach
    link.loop = loop = asyncio.SelectorEventLoop(selector)
    asyncio.set_event_loop(loop)
    threading.Thread(target=guard.watch, args=(link, address), name="samovar-guard", daemon=True).start()
    calls = Calls(link, loop)
    capture.install(calls.write, calls.alone)
    calls.descriptors = descriptors.of_this_process(lambda text: calls.write(calls.alone(), "output", text))
    alias.install()
    early = _welcome(link)
    sock.setblocking(False)  # the first; one to a later engine never blocks
    watch = Watch(link, selector, calls.descriptors)
    _serve(loop, link, calls, early, watch)


def _welcome(link: Link) -> list[Any]:
    """Wait for the welcome, import what it names, report. Returns frames that came behind it."""
    while not (batch := link.read()):
        pass
    welcome = batch[0]
    if isinstance(welcome, frames.Refuse):
        sys.exit(f"samovar: the engine refused this replica: {welcome.reason}")
    link.welcomed(welcome)
    began = time.perf_counter()
    code = welcome.bundle
    if code.folder and (there := os.environ.pop("SAMOVAR_CODE", "")):
        code = code.seen_at(there)
    bundle.adopt(welcome.bundle, code.folder)
    try:
        load(code)
    except BaseException as error:
        trace = user_frames(error.__traceback__)
        text = bundle.as_known("".join(traceback.format_exception(type(error), error, trace)))
        link.send(frames.Unfit(_unfit(code, error, text, link.replica)))
        link.flush()
        sys.exit(1)
    collector.spare_what_is_there()
    link.ready(time.perf_counter() - began)
    return batch[1:]


def _unfit(code: Bundle, error: BaseException, text: str, replica: str) -> Failure:
    what = code.main or ", ".join(code.modules)
    message = bundle.as_known(f"{what} does not import in the replica: {type(error).__name__}: {error}")
    message += bundle.hint(error)
    return Failure("user", "ModuleLoadError", message, text, recoverable=False, worker=replica)


def load(code: Bundle) -> None:
    """Import the user's code once; the script under a name of its own, so that its ``__main__`` block stays quiet."""
    for path in reversed(code.sys_path):
        if path not in sys.path:
            sys.path.insert(0, path)
    if code.main:
        spec = importlib.util.spec_from_file_location(code.main_name, code.main)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[code.main_name] = sys.modules["__main__"] = module
        spec.loader.exec_module(module)
    for name in code.modules:
        importlib.import_module(name)


def _serve(loop: asyncio.AbstractEventLoop, link: Link, calls: Calls, early: list[Any], watch: Watch) -> None:
    link.handlers = {
        frames.Run: calls.run,
        frames.Answer: link.answered,
        frames.SlowDown: link.slow_down,
        frames.Cancel: lambda frame: calls.cancel(frame.epoch),
        frames.Committed: link.committed,
    }
    for frame in early:
        loop.call_soon(link.handlers[type(frame)], frame)
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine, which then stops its replicas in order
    threading.Thread(target=watch.run, name="samovar-watch", daemon=True).start()
    loop.run_forever()
    link.flush()
