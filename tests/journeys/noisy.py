"""Tasks that write past Python, and tasks that keep the event loop of their replica from turning."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pathlib
import subprocess
import threading
import time

import samovar

env = samovar.TaskEnvironment("noisy", reusable=samovar.ReusePolicy(replicas=1, concurrency=8, idle_ttl=60))
single = samovar.TaskEnvironment("single", reusable=samovar.ReusePolicy(replicas=1, idle_ttl=60))


def wait_for(path: str) -> None:
    while not pathlib.Path(path).exists():
        time.sleep(0.01)


@env.task
async def writes(word: str) -> None:
    os.write(1, f"{word} by os.write\n".encode())
    os.write(2, f"{word} to 2\n".encode())
    subprocess.run(["sh", "-c", f"echo {word} by a subprocess; echo {word} of its stderr >&2"], check=True)
    libc = ctypes.CDLL(None)
    libc.printf(f"{word} by printf\n".encode())
    libc.fflush(None)
    os.write(1, f"{word} without an end".encode())


@single.task
def writes_in_a_thread(word: str) -> None:
    thread = threading.Thread(target=print, args=(f"{word} printed by a thread",))
    thread.start()
    thread.join()
    os.write(1, f"{word} in a thread\n".encode())


@env.task
async def calls_writes(word: str) -> None:
    await writes(word)


@env.task
async def waits(path: str) -> None:
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)


@env.task
async def writes_beside(path: str) -> None:
    """Two at work, one of which writes."""
    beside = waits(path)
    await writes("shared")
    pathlib.Path(path).touch()
    await beside


@env.task
async def says_and_waits(word: str, path: str) -> None:
    os.write(1, f"{word}\n".encode())
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)


def deep_inside(path: str) -> None:
    wait_for(path)


@env.task
async def blocks(path: str) -> None:
    deep_inside(path)


@env.task
async def blocks_in_a_helper(path: str) -> None:
    async def helper() -> None:
        deep_inside(path)

    await asyncio.gather(helper(), asyncio.sleep(0))
