"""Processes that a bench starts beside itself: awaited with a bound, and ended by their id whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from millstream.agents.demo_servers import environment
from millstream.streams.errors import Unavailable
from millstream.streams.settings import Settings

_STOP_WITHIN_S = 5.0
_COMMAND_STOPS_WITHIN_S = 20.0
_SHOWN_LINES = 12


@contextlib.asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m module arguments` with pipes; at the end close its stdin, then insist."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is ours to act on
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def our_command(settings: Settings, folder: Path, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run one of our commands, under exactly these settings, its log in `folder`; at the end ask it to stop, insist."""
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "millstream.agents.cli", *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment(settings),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _COMMAND_STOPS_WITHIN_S)
            except TimeoutError:
                process.kill()
                await process.wait()


async def answer_of(module: str, *arguments: str, within_s: float) -> Any:
    """Return the JSON that such a process writes last. Raises `Unavailable` with what it said if it wrote none."""
    async with child(module, *arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        streams = asyncio.gather(process.stdout.read(), process.stderr.read())
        try:
            said, complaints = await asyncio.wait_for(streams, within_s)
        except TimeoutError:
            raise Unavailable(f"{module} did not end within {within_s:g} s") from None
    try:
        return json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        last = "\n".join(complaints.decode(errors="replace").splitlines()[-_SHOWN_LINES:])
        raise Unavailable(f"{module} ended without an answer; the last lines it wrote:\n{last}") from None
