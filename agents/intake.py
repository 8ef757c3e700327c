"""From raw batches to the order: decode, put aside what cannot be used, offer the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from millstream.schemas.columns import Chunk, InteractionColumns, Reject
from millstream.schemas.decode import InteractionDecoder
from millstream.schemas.mapping import InputMapping
from millstream.streams.read_ahead import RawBatch, RawChunk
from millstream.streams.settings import Settings

from .failure import Failure
from .ordering import Reading


class DeadLetters(Protocol):
    """Where rejected records go: `DeadLetterTopic`."""

    async def write(
        self,
        rejects: Sequence[Reject],
        values: Sequence[bytes | None],
        timestamps_ms: Sequence[int],
        *,
        topic: str,
        partition: int,
        event_ids: Mapping[int, str] | None = None,
    ) -> None:
        """Return when every letter is acknowledged."""


class Offered(Protocol):
    """What takes decoded chunks: `Ordering`."""

    def offer(self, readings: Sequence[Reading]) -> None:
        """Take in a batch."""


def decoders_of(settings: Settings) -> dict[str, InteractionDecoder]:
    """Return each input's decoder, by topic. Raises `WrongMapping`."""
    return {
        each.topic: InteractionDecoder(InputMapping(each.default_kind, each.fields, each.kinds))
        for each in settings.inputs
    }


def decode_chunk(
    decoders: Mapping[str, InteractionDecoder], raw: RawChunk
) -> tuple[InteractionColumns, Sequence[Reject]]:
    """Return the events of a chunk of an input, and what could not be used."""
    return decoders[raw.input].decode(
        raw.values,
        raw.offsets,
        raw.timestamps_ms,
        input=raw.input,
        partition=raw.partition,
        event_ids=raw.event_ids,
    )


class Intake:
    """Decodes the inputs' batches, one at a time, in the order they come.

    Guarantee: a rejected record is a dead letter, acknowledged by Kafka, before the order moves past it. So a crash in
    between writes the letter twice, under the same key, and never loses it.
    """

    def __init__(
        self,
        decoders: Mapping[str, InteractionDecoder],
        dead_letters: DeadLetters,
        ordering: Offered,
        failure: Failure,
    ) -> None:
        self.dead_letters = 0
        """Letters written."""
        self._decoders = decoders
        self._letters = dead_letters
        self._ordering = ordering
        self._failure = failure

    async def take(self, batch: RawBatch) -> None:
        """Offer the batch. Errors are reported: a lost one would be a gap in the log."""
        try:
            self._ordering.offer([self._decode(raw) for raw in batch])
        except Exception as error:
            self._failure.report(error)

    def _decode(self, raw: RawChunk) -> Reading:
        columns, rejects = decode_chunk(self._decoders, raw)
        chunk = Chunk(raw.input, raw.partition, raw.start, raw.end, columns)
        return Reading(chunk, len(raw), partial(self._put_aside, raw, rejects) if rejects else None)

    async def _put_aside(self, raw: RawChunk, rejects: Sequence[Reject]) -> None:
        await self._letters.write(
            rejects,
            raw.values,
            raw.timestamps_ms,
            topic=raw.input,
            partition=raw.partition,
            event_ids=raw.event_ids,
        )
        self.dead_letters += len(rejects)
