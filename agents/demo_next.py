"""What to type after the demo: commands that work as they stand, against what is still running or from nothing."""

from __future__ import annotations

import json
import shlex

from millstream.streams.settings import Settings, load_settings

from .demo_log import DemoLog
from .demo_servers import Servers

_OF_THE_RUN = {("kafka", "group_id"), ("topics", "partitions")}
"""What a run sets for itself and no later command needs."""


def next_commands(log: DemoLog, used: Servers, user_id: str | None, *, keep: bool) -> list[str]:
    """Return three commands. With `keep` they read what the run left; else they need nothing of it."""
    if keep:
        redis = assignments(used.settings, only={"redis"})
        everything = assignments(used.settings)
        commands = [f"{redis}millstream recommend {shlex.quote(user_id or '')}"]
        if used.kafka is not None:
            return [*commands, f"{everything}millstream topics --describe", f"{everything}millstream worker"]
        return [*commands, log.evaluate or "millstream demo", "millstream demo"]
    return ["millstream demo --keep", log.evaluate or "millstream demo --simulate --no-kafka", "millstream up"]


def assignments(settings: Settings, *, only: set[str] | None = None) -> str:
    """Return `NAME=value ` for each setting that a command would read otherwise; "" where none differs."""
    ours, theirs = settings.model_dump(mode="json"), load_settings().model_dump(mode="json")
    words = []
    for section in ours.keys() - {"snapshots"} if only is None else only:
        if not isinstance(ours[section], dict):
            if ours[section] != theirs[section]:
                words.append(f"MILLSTREAM_{section}".upper() + f"={shlex.quote(json.dumps(ours[section]))}")
            continue
        for key, value in ours[section].items():
            if value != theirs[section][key] and (section, key) not in _OF_THE_RUN:
                text = value if isinstance(value, str) else json.dumps(value)
                words.append(f"MILLSTREAM_{section}__{key}".upper() + f"={shlex.quote(text)}")
    return "".join(f"{word} " for word in sorted(words))
