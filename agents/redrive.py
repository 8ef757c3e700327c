"""Re-driving dead letters: what decodes with the present settings goes to its own topic again, and is settled.

Each is counted once, also when this is killed between sending and settling and run again: the record sent names its
first place in a header, which is its event's id where the event has none of its own, and the worker counts an id once
(`online_learning.event_window`). An item that is sent twice is the same entry of the catalogue.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from millstream.schemas.columns import Reject
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.decode_items import ItemDecoder
from millstream.schemas.mapping import InputMapping
from millstream.schemas.records import DeadLetter
from millstream.streams.acked_producer import AckedProducer, Record
from millstream.streams.errors import Unavailable
from millstream.streams.read_ahead import EVENT_ID_HEADER
from millstream.streams.settings import Settings
from millstream.streams.standing_letters import tombstones
from millstream.streams.topic_reading import read_to_end

CUT = "original_cut"
"""Why a letter cannot be re-driven: it holds only the beginning of its record."""
NO_INPUT = "no_input"
"""Why a letter cannot be re-driven: the settings no longer name its topic."""
_AT_ONCE = 500
"""Letters sent before these are settled: what a crash in between sends again."""
_ACKNOWLEDGED_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Still:
    """A letter that cannot be used as things are."""

    letter: DeadLetter
    code: str
    """The present reason, which may be another than the letter's."""
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to become of letters."""

    usable: list[tuple[DeadLetter, Record]] = field(default_factory=list)
    """What is sent to the letter's own topic."""
    superseded: list[DeadLetter] = field(default_factory=list)
    """Of items that have a newer entry by now, so that sending would put an old one in its place."""
    still: list[Still] = field(default_factory=list)

    @property
    def by_topic(self) -> dict[str, int]:
        """How many are sent where."""
        return dict(Counter(letter.topic for letter, _ in self.usable))


class NotAcknowledged(Unavailable):
    """Kafka did not acknowledge in time what was sent."""


def plan(letters: Iterable[DeadLetter], settings: Settings) -> Plan:
    """Return what can be used now, with the settings as they are; what is asked of Kafka is only read."""
    made = Plan()
    decoders = {
        each.topic: InteractionDecoder(InputMapping(each.default_kind, each.fields, each.kinds))
        for each in settings.inputs
    }
    items, item_decoder = defaultdict[str, list[tuple[DeadLetter, Record]]](list), ItemDecoder()
    for letter in letters:
        original = letter.original
        if original is not None and letter.original_bytes > len(original):
            made.still.append(
                Still(letter, CUT, f"only {len(original):,} of its {letter.original_bytes:,} bytes were kept")
            )
        elif letter.topic == settings.topics.items:
            record = _item_record(letter, item_decoder)
            if isinstance(record, Still):
                made.still.append(record)
            else:
                items[record.key.decode()].append((letter, record))
        elif letter.topic in decoders:
            event = _event_record(letter, decoders[letter.topic])
            if isinstance(event, Still):
                made.still.append(event)
            else:
                made.usable.append((letter, event))
        else:
            made.still.append(Still(letter, NO_INPUT, f"the settings name no input {letter.topic!r}"))
    if items:
        _sort_items(made, items, settings)
    return made


async def redrive(planned: Plan, settings: Settings, on_sent: Callable[[int], None] = lambda sent: None) -> None:
    """Send what is usable, and settle it and what is superseded, some hundred at a time.

    Afterwards, or when it raises `NotAcknowledged` or `RefusedByBroker`: what is settled was acknowledged before.
    """
    brokers = settings.kafka.bootstrap_servers
    topics = {name: AckedProducer(brokers, name, client_id="millstream-redrive") for name in planned.by_topic}
    letters = AckedProducer(brokers, settings.topics.dead_letters, client_id="millstream-redrive")
    try:
        for first in range(0, len(planned.usable), _AT_ONCE):
            part = planned.usable[first : first + _AT_ONCE]
            for name, topic in topics.items():
                await _acknowledged(topic, [record for letter, record in part if letter.topic == name])
            await _acknowledged(letters, tombstones([letter for letter, _ in part]))
            on_sent(first + len(part))
        await _acknowledged(letters, tombstones(planned.superseded))
    finally:
        with suppress(TimeoutError):
            await asyncio.gather(*(topic.close() for topic in (*topics.values(), letters)))


async def _acknowledged(topic: AckedProducer, records: Sequence[Record]) -> None:
    try:
        async with asyncio.timeout(_ACKNOWLEDGED_WITHIN_S):
            await topic.send(records)
    except TimeoutError:
        raise NotAcknowledged(
            f"{topic.topic}: {len(records):,} records were not acknowledged within {_ACKNOWLEDGED_WITHIN_S:g} s; see "
            "whether all brokers are up, and run this again: what was sent already counts once"
        ) from None


def _event_record(letter: DeadLetter, decoder: InteractionDecoder) -> Record | Still:
    columns, rejects = decoder.decode(
        [letter.original], [letter.offset], [letter.ts_ms], input=letter.topic, partition=letter.partition
    )
    if rejects:
        return _still(letter, rejects[0])
    return _record(letter, columns.user_ids[0], [(EVENT_ID_HEADER, letter.first_place.encode())])


def _item_record(letter: DeadLetter, decoder: ItemDecoder) -> Record | Still:
    item = decoder.decode_item(
        letter.original or b"",
        offset=letter.offset,
        timestamp_ms=letter.ts_ms,
        input=letter.topic,
        partition=letter.partition,
    )
    return _still(letter, item) if isinstance(item, Reject) else _record(letter, item.item_id, [])


def _record(letter: DeadLetter, key: str, headers: Sequence[tuple[str, bytes]]) -> Record:
    # its own time: what names no time of its own happened then, and is judged by it as it was
    return Record(key.encode(), letter.original, headers, letter.ts_ms if letter.ts_ms >= 0 else None)


def _still(letter: DeadLetter, reject: Reject) -> Still:
    return Still(letter, reject.code, reject.message.removesuffix("; kept as a dead letter"))


def _sort_items(made: Plan, items: dict[str, list[tuple[DeadLetter, Record]]], settings: Settings) -> None:
    """Send the last usable entry of each item, unless the topic has had a newer one in the same partition."""
    start: dict[int, int] = {}
    for letter, _ in (pair for pairs in items.values() for pair in pairs):
        start[letter.partition] = min(letter.offset + 1, start.get(letter.partition, letter.offset + 1))
    newest: dict[tuple[str, int], int] = {}
    decoder = ItemDecoder()
    for record in read_to_end(settings.kafka.bootstrap_servers, settings.topics.items, start=start):
        item_id = _item_of(record, decoder)
        if item_id in items:
            newest[item_id, record.partition] = record.offset
    for item_id, pairs in items.items():
        for letter, entry in pairs:
            is_last = letter is pairs[-1][0]
            if is_last and newest.get((item_id, letter.partition), -1) < letter.offset:
                made.usable.append((letter, entry))
            else:
                made.superseded.append(letter)


def _item_of(record: object, decoder: ItemDecoder) -> str:
    """Return the item that a record of the catalogue is about, empty for one that cannot be used."""
    key, value = record.key, record.value  # type: ignore[attr-defined]  # kafka-python ships no types
    if value is None:
        return (key or b"").decode(errors="replace")
    item = decoder.decode_item(value, offset=0, timestamp_ms=record.timestamp, input="", partition=0)  # type: ignore[attr-defined]  # as above
    return "" if isinstance(item, Reject) else item.item_id
