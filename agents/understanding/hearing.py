"""Hears what users say on the inputs, where nobody has understood it yet, and sends it again with what it means.

A producer that writes a `say` or `query` to Kafka has no encoder. The event stays as it is and shifts nothing; the one
sent after it has the same user, words and time, the vector, and an id made of the first one's: whoever hears it twice,
after a restart or in two processes, sends the same id, and workers count that once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from millstream.agents.from_beginning import FromBeginning
from millstream.agents.spoken import MOST_CHARACTERS, spoken_event
from millstream.schemas.avro_schemas import our_schema
from millstream.schemas.canonical import extras_of
from millstream.schemas.mapping import SPOKEN_KINDS, InputMapping
from millstream.schemas.questions import TextAnswer
from millstream.schemas.rejects import Flaw
from millstream.schemas.rules import Event, judge, pick
from millstream.schemas.wire import MessageOpener
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.settings import Settings

LOOK_BACK_MS = 3_600_000
"""What was said longer ago has faded."""
_AT_ONCE = 2_000


class Heard(NamedTuple):
    """Words that nobody has understood yet."""

    event: Event
    text: str
    extras: Mapping[str, Any]


class Ear:
    """Finds such words among the messages of one input. One thread at a time."""

    def __init__(self, mapping: InputMapping) -> None:
        self._mapping = mapping
        self._own_names = InputMapping(default_kind=mapping.default_kind)
        self._opener = MessageOpener(our_schema("interaction"), optional="kind")
        spoken = [name for name, kind in mapping.kind_table.items() if kind in SPOKEN_KINDS]
        self._names = None if None in spoken else [_plain(name.encode()) for name in spoken if name is not None]

    def hear(self, message: bytes | None, place: str, record_ms: int) -> Heard | None:
        """Return the words in a message; `place` names it where it has no event id. Never raises."""
        if message is None or (message[0:1] == b"{" and not self._may_speak(message)):
            return None
        opened = self._opener.open(message)
        if isinstance(opened, Flaw):
            return None
        mapping = self._own_names if opened.ours else self._mapping
        event = judge(opened.record, mapping, record_ms)
        if isinstance(event, Flaw) or event.kind not in SPOKEN_KINDS or event.words is not None:
            return None
        _, text = pick(opened.record, mapping.names("query"))
        if not isinstance(text, str) or not text.strip():
            return None
        named = f"{event.event_id or place}".encode("utf-8", "surrogatepass")
        event_id = f"understood:{hashlib.blake2b(named, digest_size=16).hexdigest()}"
        extras = extras_of(opened.record, mapping) or {}
        return Heard(event._replace(event_id=event_id), text[:MOST_CHARACTERS], extras)

    def _may_speak(self, message: bytes) -> bool:
        """Tell whether a JSON message may name a kind that is words: most do not, and are not decoded."""
        if self._names is None:
            return True
        plain = _plain(message)
        return any(name in plain for name in self._names)


def _plain(name: bytes) -> bytes:
    """Return it as all ways of writing a kind that `InputMapping.kind` knows come to."""
    return name.lower().replace(b"-", b"_").replace(b" ", b"_")


class Hearing:
    """Follows the inputs from an hour ago on. One event loop owns it. An outage is waited out."""

    def __init__(self, settings: Settings, meaning: Callable[[str], Awaitable[TextAnswer]]) -> None:
        self.heard = 0
        """Events sent again with what they mean."""
        self._settings = settings
        self._meaning = meaning
        self._mappings = {
            each.topic: InputMapping(each.default_kind, each.fields, each.kinds) for each in settings.inputs
        }
        self._ears = {topic: Ear(mapping) for topic, mapping in self._mappings.items()}
        brokers = settings.kafka.bootstrap_servers
        self._producers = {
            topic: AckedProducer(brokers, topic, client_id="millstream-understand") for topic in self._mappings
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        since_ms = time.time_ns() // 1_000_000 - LOOK_BACK_MS
        reading = FromBeginning(self._settings, list(self._mappings), at_once=_AT_ONCE, since_ms=since_ms)
        try:
            async with aclosing(reading.batches()) as batches:
                async for batch in batches:
                    await self._take(batch.records)
        finally:
            for producer in self._producers.values():
                await producer.close()

    async def _take(self, records: Sequence[Any]) -> None:
        out: dict[str, list[Record]] = {}
        for record in records:
            topic = record.topic
            place = f"{topic}-{record.partition}-{record.offset}"
            heard = self._ears[topic].hear(record.value, place, record.timestamp)
            if heard is None:
                continue
            meaning = await self._meaning(heard.text)
            if meaning.coded:
                value = spoken_event(heard.event, self._mappings[topic], heard.text, meaning, heard.extras)
                out.setdefault(topic, []).append(Record(heard.event.user_id.encode(), value))
        for topic, again in out.items():
            await self._producers[topic].send(again)
            self.heard += len(again)
