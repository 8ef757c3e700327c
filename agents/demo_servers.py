"""The Kafka and Redis of a demo or a bench: those of the settings where they answer, else started here and stopped.

What belongs to the user is left as it was: on servers of theirs a run keeps to topics and keys of its own, which are
removed at the end. On servers that a run started the plain names of the settings are used, so that the commands of
other terminals need no more than the addresses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import redis

from millstream.streams.errors import LocalKafkaUnavailable
from millstream.streams.kafka_jars import KAFKA_VERSION
from millstream.streams.kafka_probe import answering_broker
from millstream.streams.local_kafka import find_broker
from millstream.streams.local_redis import LocalRedis
from millstream.streams.movielens import cache_folder
from millstream.streams.redis_connection import connect_sync
from millstream.streams.settings import Input, Settings
from millstream.streams.topics import admin_client, describe_topics

Say = Callable[[str], None]
INPUT = "interactions"
_ANSWER_WITHIN_S = 2.0
_KEYS_PER_CALL = 1_000


@dataclass(frozen=True, slots=True)
class Servers:
    """Where a run's events and lists go. `settings` name it all: addresses, topics, key prefix."""

    settings: Settings
    kafka: str | None
    """The broker in words; None where Kafka is left out."""
    without_kafka_because: str = ""
    """Why Kafka is left out, and what brings it."""
    kept_by: int | None = None
    """The process that goes on running both servers when the demo ends; None: they end with it, or are the user's."""


@contextmanager
def servers(
    settings: Settings,
    *,
    exclude_consumed: bool,
    with_kafka: bool,
    keep: bool,
    snapshots: Path,
    say: Say,
    name: str = "demo",
    partitions: int = 1,
    effort: Literal["adaptive", "full"] = "full",
) -> Iterator[Servers]:
    """Bring up what is missing, and take it down at the end unless `keep`.

    `name` begins the names of what is put onto servers of the user's. With one partition (the default) the log's order
    is the topic's, so that the state equals what `evaluate` makes of the file. Raises `LocalRedisUnavailable`: without
    Redis there is nothing to see. Without Kafka there is; `kafka` is None then.
    """
    run = f"{name}-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        theirs_answers = _redis_answers(settings.redis.url)
        url, bootstrap, because, kept_by = settings.redis.url, None, "", None
        broker = ""
        their_kafka = with_kafka and answering_broker(settings.kafka.bootstrap_servers, within_s=_ANSWER_WITHIN_S)
        if keep and not (theirs_answers and (their_kafka or not with_kafka)):
            bootstrap, url, kept_by = _keep_both(stack, say)
            broker, theirs_answers, their_kafka = f"Apache Kafka on this machine, {bootstrap}", False, None
        else:
            if not theirs_answers:
                say("starting Valkey")
                url = stack.enter_context(LocalRedis()).url
            if with_kafka:
                say("starting Kafka" if _kafka_cached() else "fetching Apache Kafka (43 MB, once) and starting it")
                try:
                    found = find_broker(settings.kafka.bootstrap_servers, within_s=_ANSWER_WITHIN_S)
                except LocalKafkaUnavailable as failure:
                    because = str(failure)
                else:
                    stack.callback(found.stop)
                    bootstrap, broker = found.bootstrap, found.description
            else:
                because = "--no-kafka was given; leave it out and the same events go through Kafka"
        mine = _settings_of_run(
            settings,
            url=url,
            bootstrap=bootstrap,
            topics_prefix=f"{run}." if their_kafka else "",
            keys_prefix=f"{run}:" if theirs_answers else "",
            exclude_consumed=exclude_consumed,
            snapshots=snapshots,
            group=run,
            partitions=partitions,
            effort=effort,
        )
        if not keep and theirs_answers:
            stack.callback(forget_keys, mine)
        if not keep and their_kafka:
            stack.callback(_forget_topics, mine)
        yield Servers(mine, broker if bootstrap else None, because, kept_by)


def environment(settings: Settings) -> dict[str, str]:
    """Return an environment in which another process reads exactly `settings`, whatever ours or a file says."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    sections = settings.model_dump(mode="json")
    return ours | {f"MILLSTREAM_{section}".upper(): json.dumps(values) for section, values in sections.items()}


def _settings_of_run(
    settings: Settings,
    *,
    url: str,
    bootstrap: str | None,
    topics_prefix: str,
    keys_prefix: str,
    exclude_consumed: bool,
    snapshots: Path,
    group: str,
    partitions: int,
    effort: Literal["adaptive", "full"],
) -> Settings:
    topics = settings.topics.prefixed(topics_prefix).model_copy(update={"partitions": partitions})
    kafka = {"group_id": group, **({"bootstrap_servers": bootstrap} if bootstrap else {})}
    return settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update=kafka),
            "redis": settings.redis.model_copy(update={"url": url, "prefix": keys_prefix or settings.redis.prefix}),
            "inputs": (Input(topic=topics_prefix + INPUT),),
            "topics": topics,
            "learning": replace(settings.learning, exclude_consumed=exclude_consumed),
            "snapshots": settings.snapshots.model_copy(update={"directory": str(snapshots), "start": "earliest"}),
            "worker": settings.worker.model_copy(update={"effort": effort}),
        }
    )


def _redis_answers(url: str) -> bool:
    try:
        with connect_sync(url, timeout_s=_ANSWER_WITHIN_S) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError, ValueError):
        return False


def _keep_both(stack: ExitStack, say: Say) -> tuple[str, str, int]:
    """Run `millstream up` as a process that outlives this one; return the broker, the Redis URL and its process id.

    It is kept only by a run that ends well: what stops the demo half-way stops it too.
    """
    say(
        "starting Kafka and Valkey"
        if _kafka_cached()
        else "fetching Apache Kafka (43 MB, once), starting it and Valkey"
    )
    up = subprocess.Popen(
        [sys.executable, "-m", "millstream.agents.cli", "up", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C here must not end what is to be kept
    )
    stack.push(lambda kind, *_: _end(up) if kind is not None else None)
    assert up.stdout is not None
    with up.stdout as told:
        where = json.loads(told.readline() or b"null")
    if where is None:
        raise LocalKafkaUnavailable(
            "--keep: `millstream up` could not start Kafka and Valkey; run it by itself and see why"
        )
    return where["KAFKA"], where["REDIS"], up.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


def forget_keys(settings: Settings) -> None:
    """Remove all keys of a prefix from a Redis of the user's; a Redis that has gone by now needs no removing."""
    prefix = settings.redis.prefix
    with suppress(redis.RedisError), connect_sync(settings.redis.url, timeout_s=_ANSWER_WITHIN_S) as client:
        batch: list[bytes] = []
        for key in client.scan_iter(match=f"{prefix}*", count=_KEYS_PER_CALL):
            batch.append(key)
            if len(batch) >= _KEYS_PER_CALL:
                client.unlink(*batch)
                batch.clear()
        if batch:
            client.unlink(*batch)


def _forget_topics(settings: Settings) -> None:
    """Remove this run's topics from a broker of the user's, those of its parts too."""
    names = {state.spec.name for state in describe_topics(settings) if state.exists}
    with admin_client(settings.kafka.bootstrap_servers) as client:
        of_parts = {name for name in client.list_topics() if name.startswith(f"{settings.topics.model_log}.")}
        client.delete_topics(sorted(names | of_parts))


def _kafka_cached() -> bool:
    return (cache_folder() / f"kafka-{KAFKA_VERSION}").is_dir()
