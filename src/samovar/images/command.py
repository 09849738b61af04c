"""Run a program that makes something for an image; called by ``venv`` and ``base``."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence


async def run(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int, str]:
    """(exit status, output). A cancelled wait ends the program. A plain Popen: the loop may run in any thread."""
    process = subprocess.Popen(
        command,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    reading = asyncio.ensure_future(asyncio.to_thread(process.communicate))
    try:
        output, _ = await asyncio.shield(reading)
    except asyncio.CancelledError:
        process.kill()
        await asyncio.wait([reading])
        raise
    return process.returncode, output
