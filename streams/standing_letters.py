"""The dead letters that stand: the latest of each record, less those that were settled by a tombstone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from millstream.schemas.records import DeadLetter

from .acked_producer import Record
from .dead_letters import read_letter
from .settings import Settings
from .topic_reading import read_to_end


@dataclass(frozen=True, slots=True)
class Standing:
    """What the dead-letter topic comes to."""

    letters: list[DeadLetter]
    """In the order of their places: topic, partition, offset."""
    settled: int
    """Keys whose latest record is a tombstone."""
    unreadable: int
    """Keys whose latest record is no letter of ours."""


def standing_letters(settings: Settings, on_read: Callable[[int, int], None] = lambda read, end: None) -> Standing:
    """Read the dead-letter topic to its end. Raises as `read_to_end` does."""
    latest: dict[bytes | None, DeadLetter | None] = {}
    unreadable: set[bytes | None] = set()
    for record in read_to_end(settings.kafka.bootstrap_servers, settings.topics.dead_letters, on_read=on_read):
        unreadable.discard(record.key)
        letter = None
        if record.value is not None:
            try:
                letter = read_letter(record.value)
            except (ValueError, KeyError, TypeError):
                unreadable.add(record.key)
        latest[record.key] = letter
    letters = [letter for letter in latest.values() if letter is not None]
    return Standing(
        sorted(letters, key=lambda letter: (letter.topic, letter.partition, letter.offset)),
        settled=len(latest) - len(letters) - len(unreadable),
        unreadable=len(unreadable),
    )


def tombstones(letters: Sequence[DeadLetter]) -> list[Record]:
    """Return the records that settle letters."""
    return [Record(letter.key.encode(), None) for letter in letters]
