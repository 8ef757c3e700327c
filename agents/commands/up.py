"""`millstream up`: Kafka and Valkey on this machine, until Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import click

from millstream.agents.errors import Problem
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import is_free
from millstream.streams.local_redis import LocalRedis
from millstream.streams.settings import load_settings

_LOOK_EVERY_S = 0.25
_LOCAL_HOSTS = ("127.0.0.1", "localhost")


@click.command("up")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the data here over restarts.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of KEY=VALUE lines.")
def command(data: Path | None, as_json: bool) -> None:
    """Run Kafka and Valkey on this machine, in the foreground.

    Both get the port that the settings name, if that is on this machine and free, and any free one otherwise; the
    lines printed are settings for other terminals. Ctrl-C stops both. Without --data nothing is kept.

    \b
    Example:
      millstream up --data ./local
    """
    settings = load_settings()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_once)
    kafka = LocalKafka(data and data / "kafka", port=_wanted_port(f"//{settings.kafka.bootstrap_servers}"))
    redis = LocalRedis(data and data / "redis", append_only=data is not None, port=_wanted_port(settings.redis.url))
    try:
        with redis, kafka:
            _say_where(kafka.bootstrap, redis.url, as_json)
            while kafka.running and redis.running:
                time.sleep(_LOOK_EVERY_S)
            ended = "Kafka" if not kafka.running else "Valkey"
            raise Problem(
                f"{ended} ended by itself; its log is in {data or 'a temporary folder, now gone: use --data'}"
            )
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


def _say_where(bootstrap: str, url: str, as_json: bool) -> None:
    where = {
        "KAFKA": bootstrap,
        "REDIS": url,
        "MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "MILLSTREAM_REDIS__URL": url,
    }
    click.echo(json.dumps(where) if as_json else "\n".join(f"{key}={value}" for key, value in where.items()))
    click.echo("Kafka and Valkey are up; Ctrl-C stops both", err=True)


def _wanted_port(url: str) -> int | None:
    """Return the port of an address of this machine, if a server can listen on it now."""
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError:  # several brokers, or a socket's path
        return None
    return port if port and address.hostname in _LOCAL_HOSTS and is_free(port) else None


def _stop_once(number: int, frame: FrameType | None) -> None:
    # a second signal must not break off the stopping that the first began
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt
