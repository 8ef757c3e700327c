"""`millstream bootstrap`: a worker begins with a recorded history and goes on in the topics."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kafka import KafkaProducer  # type: ignore[import-untyped]  # it ships no types
from running import Pipeline, until

from millstream.agents.cli import main
from millstream.agents.moment import Moment
from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.slates import decode_slate
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.topic_reading import read_to_end

THEN_MS = 1_700_000_000_000


def _events(n: int, first: int) -> list[dict[str, Any]]:
    """Events a second apart around `THEN_MS`, the first of them `first` seconds after it."""
    return [
        {"user_id": f"u{at % 7}", "item_id": f"i{at * at % 11}", "ts_ms": THEN_MS + 1_000 * (first + at)}
        for at in range(n)
    ]


def _log(directory: Path, events: list[dict[str, Any]]) -> Path:
    path = directory / "history.jsonl"
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return path


def _run(pipeline: Pipeline, *arguments: str) -> Result:
    return CliRunner(env=pipeline.environment).invoke(main, ["bootstrap", *arguments])


def _send(pipeline: Pipeline, events: list[dict[str, Any]]) -> None:
    """Send with the events' own times as the records' times."""
    producer = KafkaProducer(bootstrap_servers=pipeline.bootstrap)
    for event in events:
        producer.send(pipeline.topic, json.dumps(event).encode(), key=b"k", timestamp_ms=event["ts_ms"])
    producer.flush()
    producer.close()


def _folded(pipeline: Pipeline, history: list[dict[str, Any]], first: int) -> dict[str, list[str]]:
    """What one process makes of the history and then of the topic from offset `first` on: items by user."""
    decoder = InteractionDecoder(InputMapping())
    step = Step(LearningConfig(), [pipeline.topic])
    columns, _ = decoder.decode(
        [json.dumps(event).encode() for event in history],
        list(range(len(history))),
        [event["ts_ms"] for event in history],
        input=pipeline.topic,
        partition=0,
    )
    step.apply(Chunk(pipeline.topic, 0, 0, len(history), columns), lists=False)
    records = [record for record in read_to_end(pipeline.bootstrap, pipeline.topic) if record.offset >= first]
    columns, _ = decoder.decode(
        [record.value for record in records],
        [record.offset for record in records],
        [record.timestamp for record in records],
        input=pipeline.topic,
        partition=0,
    )
    step.positions = {(pipeline.topic, 0): first}
    applied = step.apply(Chunk(pipeline.topic, 0, first, first + len(records), columns))
    slates = [decode_slate(each.stored, list_name="main", user_id=each.user_id) for each in applied.encoded(0)]
    return {slate.user_id: [item.item_id for item in slate.items] for slate in slates}


async def test_a_worker_goes_on_from_a_history(pipeline: Pipeline) -> None:
    """Each event counts once, whether the log or the topic has it; all users are served from the start."""
    history, live = _events(300, -300), _events(40, 0)
    with_more = [*history, *live[:10]]
    await asyncio.to_thread(CliRunner(env=pipeline.environment).invoke, main, ["topics"])
    _send(pipeline, history[-20:] + live[:10])  # the topic holds some of what the log has
    options = (str(_log(pipeline.directory, with_more)), "--then", "2023-11-14T22:13:20Z", "--json")
    answer = await asyncio.to_thread(_run, pipeline, *options)
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout.splitlines()[-1])
    assert (found["events"], found["users"], found["after"], found["left_out"]) == (300, 7, 10, 0)
    assert found["positions"] == {f"{pipeline.topic}[0]": 20}
    assert len(list(read_to_end(pipeline.bootstrap, pipeline.topic))) == 30
    with pipeline.worker() as worker:
        await worker.running()
        await until(lambda: all(pipeline.slate(f"u{number}") is not None for number in range(7)))
        _send(pipeline, live[10:])
        await pipeline.learned(60)
        said = worker.interrupt()
    assert said["seq"] == 340
    expected = _folded(pipeline, history, 20)
    shown = {user: pipeline.slate(user) for user in expected}
    assert {user: [item.item_id for item in slate.items] for user, slate in shown.items() if slate} == expected
    assert "resumed from" in worker.said
    again = await asyncio.to_thread(_run, pipeline, *options)
    assert again.exit_code == 1
    assert "there are snapshots already" in again.output


def test_what_is_wrong_is_said(kafka: LocalKafka, pipeline: Pipeline, tmp_path: Path) -> None:
    """A time that is none, a log that is none, an order that stands already: each by name, and nothing is written."""
    log = _log(tmp_path, _events(3, -3))
    shown = _run(pipeline, str(log), "--then", "yesterday")
    assert shown.exit_code == 2
    assert "'yesterday' is neither ms since the epoch nor a time" in shown.output
    empty = tmp_path / "log.parquet"
    empty.write_bytes(b"PAR1\0\0")
    assert _run(pipeline, str(empty), "--then", str(THEN_MS)).exit_code == 1
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    producer.send(f"{pipeline.topic}.order", b"{}").get(10)
    producer.close()
    shown = _run(pipeline, str(log), "--then", str(THEN_MS))
    assert shown.exit_code == 1
    assert f"topic {pipeline.topic}.order has an order of events already" in shown.output
    assert not list((pipeline.directory / "snapshots").glob("*"))


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1700000000000", THEN_MS), ("2023-11-14T23:13:20+01:00", THEN_MS), ("2023-11-14", 1_699_920_000_000)],
)
def test_times(text: str, ms: int) -> None:
    """Without a zone it is UTC."""
    assert Moment().convert(text, None, None) == ms
