"""`millstream dead-letters`: shows what stands, sends again what can be used now, and each counts once."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kafka import KafkaConsumer
from running import Pipeline, until

from millstream.agents import redrive
from millstream.agents.cli import main
from millstream.agents.redrive import CUT, NO_INPUT
from millstream.schemas.columns import Reject
from millstream.schemas.records import DeadLetter
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.dead_letters import KEPT_BYTES, dead_letter, letter_record
from millstream.streams.local_kafka import LocalKafka
from millstream.streams.local_process import free_ports
from millstream.streams.read_ahead import EVENT_ID_HEADER

_NOW_MS = time.time_ns() // 1_000_000
_READ_WITHIN_MS = 3_000


class Shop:
    """One pipeline's topics and settings, and the command run with them."""

    def __init__(self, kafka: LocalKafka, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bootstrap, self.pipeline, self.topic = kafka.bootstrap, pipeline, pipeline.topic
        self.letters = f"{pipeline.topic}.dlq"
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
            monkeypatch.delenv(name)
        for name, value in pipeline.environment.items():
            if name.startswith("MILLSTREAM_"):
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "240")

    def run(self, *arguments: str, exit_code: int = 0, answer: str | None = None) -> str:
        done = CliRunner().invoke(main, ["dead-letters", *arguments], input=answer)
        assert done.exit_code == exit_code, done.output
        return done.output

    def asked(self, *arguments: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.run(*arguments, "--json").splitlines()[-1])
        return said

    def set(self, **settings: str) -> None:
        for name, value in settings.items():
            self._monkeypatch.setenv(f"MILLSTREAM_{name}", value)

    def mend(self, **mapping: Any) -> str:
        """Change the input's mapping; return it as the setting."""
        inputs = json.dumps([{"topic": self.topic, **mapping}])
        self.set(INPUTS=inputs)
        return inputs

    def write(self, records: Sequence[Record], topic: str) -> None:
        async def send() -> None:
            producer = AckedProducer(self.bootstrap, topic)
            await producer.send(records)
            await producer.close()

        asyncio.run(send())

    def letter(self, offset: int, code: str, original: bytes | None, **fields: Any) -> DeadLetter:
        fields = {"topic": self.topic, "partition": 0, "ts_ms": _NOW_MS + offset, **fields}
        where = f"{fields['topic']}[{fields['partition']}]@{offset}"
        return dead_letter(Reject(0, offset, code, f"{where}: so; kept as a dead letter"), original, **fields)

    def put_aside(self, *letters: DeadLetter) -> None:
        self.write([letter_record(letter) for letter in letters], self.letters)

    def records(self, topic: str) -> list[Any]:
        consumer = KafkaConsumer(
            topic,
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            consumer_timeout_ms=_READ_WITHIN_MS,
            group_id=None,
        )
        found = sorted(consumer, key=lambda record: (record.partition, record.offset))
        consumer.close()
        return found


@pytest.fixture
def shop(kafka: LocalKafka, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(kafka, pipeline, monkeypatch)
    done = CliRunner().invoke(main, ["topics"])
    assert done.exit_code == 0, done.output
    return made


def event(**fields: Any) -> bytes:
    return json.dumps({"item_id": "i", "ts_ms": _NOW_MS, **fields}).encode()


def test_letters_are_shown_with_place_reason_and_beginning(shop: Shop) -> None:
    """The latest letter of a key, counted by reason; settled ones are not shown; what cannot be printed is escaped."""
    shop.put_aside(
        shop.letter(3, "broken_json", b"\x00\xffnot json [bold]\n" + b"x" * 100),
        shop.letter(7, "missing_user", event()),
        shop.letter(8, "unknown_kind", event(user_id="u", kind="teleport")),
        shop.letter(9, "null_message", None),
        shop.letter(8, "missing_user", event()),
    )
    shop.write([Record(shop.letter(9, "", None).key.encode(), None), Record(b"other", b"no letter")], shop.letters)
    said = shop.asked()
    assert (said["letters"], said["settled"], said["unreadable"]) == (3, 1, 1)
    assert said["reasons"] == {"missing_user": 2, "broken_json": 1}
    assert [each["place"] for each in said["shown"]] == [f"{shop.topic}-0-{offset}" for offset in (3, 7, 8)]
    assert said["shown"][0]["original"].startswith(r"\x00\xffnot json [bold]\n" + "xxx")
    assert said["shown"][0]["original"].endswith("…")
    shown = shop.run()
    assert f"{shop.topic}[0]@3" in shown
    assert "not json [bold]" in shown
    assert f"3 letters stand in {shop.letters} (3 shown), 1 are settled; 1 records are no letters" in shown


def test_letters_are_chosen_by_reason_topic_and_number(shop: Shop) -> None:
    """Counts are of what was chosen; the newest are shown."""
    shop.put_aside(*(shop.letter(offset, "missing_user", event()) for offset in range(5)))
    shop.put_aside(shop.letter(6, "broken_json", b"{"), shop.letter(1, "missing_user", event(), topic="other"))
    said = shop.asked("--reason", "missing_user", "--topic", shop.topic, "--limit", "2")
    assert (said["letters"], said["reasons"]) == (5, {"missing_user": 5})
    assert [each["offset"] for each in said["shown"]] == [3, 4]


def test_what_can_be_used_now_is_sent_as_it_was_and_settled(shop: Shop) -> None:
    """Byte for byte, keyed by user, at its own time, named by its first place; the others say why not now."""
    good, cut = event(customer="ann"), event(customer="x" * KEPT_BYTES)
    shop.put_aside(
        shop.letter(3, "missing_user", good),
        shop.letter(4, "missing_user", event()),
        shop.letter(5, "id_too_long", cut),
        shop.letter(6, "missing_user", good, topic="gone"),
        shop.letter(9, "missing_user", good, event_id=f"{shop.topic}-0-2"),
    )
    assert shop.asked("--redrive", "--yes")["still"] == {"missing_user": 3, CUT: 1, NO_INPUT: 1}
    shop.mend(fields={"user_id": "customer"})
    said = shop.asked("--redrive", "--yes")
    assert (said["sent"], said["to"], said["settled"]) == (2, {shop.topic: 2}, 2)
    assert said["still"] == {"missing_user": 1, CUT: 1, NO_INPUT: 1}
    assert said["still_shown"][1]["now"] == {"code": "missing_user", "message": f"{shop.topic}[0]@4: no customer"}
    sent = shop.records(shop.topic)
    assert [(record.key, record.value, record.timestamp) for record in sent] == [
        (b"ann", good, _NOW_MS + 3),
        (b"ann", good, _NOW_MS + 9),
    ]
    places = [f"{shop.topic}-0-3".encode(), f"{shop.topic}-0-2".encode()]
    assert [record.headers for record in sent] == [[(EVENT_ID_HEADER, place)] for place in places]
    left = shop.asked()
    assert (left["letters"], left["settled"]) == (3, 2)
    assert shop.asked("--redrive", "--yes")["sent"] == 0
    assert len(shop.records(shop.topic)) == 2


def test_an_item_goes_back_unless_it_has_a_newer_entry(shop: Shop) -> None:
    """To the catalogue, keyed by the item; of two letters of an item the later one; none over a newer entry."""
    items = f"{shop.topic}.items"
    entries = [b'{"item": "a", "price": 1}', b'{"item": "a", "price": 2}', b'{"item": "b"}', b"{"]
    shop.write([Record(b"b", b'{"item": "b", "title": "newer"}')] * 8, items)
    shop.put_aside(*(shop.letter(at, "wrong_type", entry, topic=items) for at, entry in enumerate(entries)))
    said = shop.asked("--redrive", "--yes")
    assert (said["to"], said["superseded"], said["settled"]) == ({items: 1}, 2, 3)
    assert said["still"] == {"broken_json": 1}
    last = shop.records(items)[-1]
    assert (last.key, last.value) == (b"a", entries[1])
    assert shop.asked()["settled"] == 3


def test_it_asks_before_it_sends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many and where to; "no" sends nothing. Where nobody can answer, --yes is needed: exit 2, one line."""
    shop.put_aside(shop.letter(3, "missing_user", event(user_id="ann")))
    assert "nobody can answer here: add --yes to send" in shop.run("--redrive", exit_code=2)
    assert "--yes goes with --redrive" in shop.run("--yes", exit_code=2)
    monkeypatch.setattr("millstream.agents.commands.dead_letters._can_ask", lambda: True)
    asked = shop.run("--redrive", exit_code=1, answer="n\n")
    assert f"1 of 1 can be used now: 1 to {shop.topic}. Send?" in asked
    assert shop.records(shop.topic) == []
    assert f"1 sent: 1 to {shop.topic}; their letters are settled" in shop.run("--redrive", answer="y\n")


def test_without_a_broker_or_a_topic_it_says_so(
    kafka: LocalKafka, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1 and one line, with the remedy."""
    shop = Shop(kafka, pipeline, monkeypatch)
    missing = shop.run(exit_code=1)
    assert f"there is no topic '{shop.letters}'" in missing
    assert "`millstream topics` creates" in missing
    address = f"127.0.0.1:{free_ports(1)[0]}"
    shop.set(KAFKA__BOOTSTRAP_SERVERS=address)
    for arguments in ([], ["--redrive", "--yes"]):
        (line,) = shop.run(*arguments, exit_code=1).splitlines()
        assert line.startswith(f"Error: no Kafka broker answers at {address}; start one with `millstream up`")


def test_what_was_redriven_counts_once_even_if_it_was_sent_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bad records become letters, the mapping is mended, the first run dies before it settles, the second does not.

    Every event is learned once; what is sent twice is counted as a duplicate; no letter stands.
    """
    pipeline, n = shop.pipeline, 30
    wrong = [event(customer=f"u{at}", item_id=f"i{at % 5}") for at in range(n)]

    async def run() -> None:
        with pipeline.worker() as worker:
            await worker.running()
            pipeline.send(wrong)
            await until(lambda: (status := pipeline.status()) is not None and status.dead_letters == n)
            worker.interrupt()
        inputs = shop.mend(fields={"user_id": "customer"})
        monkeypatch.setattr(
            Pipeline, "environment", property(lambda self: base | {"MILLSTREAM_INPUTS": inputs}), raising=True
        )
        with pipeline.worker() as worker:
            await worker.running()
            with monkeypatch.context() as killed:
                killed.setattr(redrive, "tombstones", lambda letters: [])
                assert (await asyncio.to_thread(shop.asked, "--redrive", "--yes"))["sent"] == n
            assert (await asyncio.to_thread(shop.asked))["letters"] == n
            assert (await asyncio.to_thread(shop.asked, "--redrive", "--yes"))["sent"] == n
            status = await pipeline.learned(3 * n)
            await until(lambda: (status := pipeline.status()) is not None and status.duplicates == n)
            status = pipeline.status() or status
            assert (status.events, status.seq, status.duplicates, status.dead_letters) == (n, n, n, 0)
            for at in range(n):
                assert pipeline.slate(f"u{at}") is not None
            said = worker.interrupt()
        assert (said["seq"], said["duplicates"]) == (n, n)
        left = await asyncio.to_thread(shop.asked)
        assert (left["letters"], left["settled"]) == (0, n)

    base = pipeline.environment
    asyncio.run(run())
