"""`millstream understand` beside a test's pipeline."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from running import Pipeline, Worker

from millstream.streams.settings import Settings

CLI = (sys.executable, "-m", "millstream.agents.cli")


def settings(pipeline: Pipeline) -> Settings:
    """The settings that its processes have."""
    found: dict[str, Any] = {}
    for name, value in pipeline.environment.items():
        if name.startswith("MILLSTREAM_"):
            section, _, key = name.removeprefix("MILLSTREAM_").lower().partition("__")
            if key:
                found.setdefault(section, {})[key] = value
            else:
                found[section] = json.loads(value)
    return Settings.model_validate(found)


@contextmanager
def understanding(pipeline: Pipeline, encoder: str) -> Iterator[Worker]:
    """The process, with this encoder."""
    started = pipeline.start("env", f"MILLSTREAM_CONTENT__ENCODER={encoder}", *CLI, "understand", "--json")
    try:
        yield started
    finally:
        started.kill()


def put(pipeline: Pipeline, *items: dict[str, Any]) -> None:
    """Put items into the catalogue."""
    pipeline.send([json.dumps(item).encode() for item in items], topic=f"{pipeline.topic}.items")
