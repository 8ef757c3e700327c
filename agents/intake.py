"""From raw batches to the step: decode, put aside what cannot be used, submit the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from millstream.schemas.columns import Chunk, Reject
from millstream.schemas.decode import InteractionDecoder
from millstream.streams.read_ahead import RawBatch, RawChunk

from .failure import Failure
from .step_thread import Reading


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


class Learner(Protocol):
    """What takes decoded chunks: `StepThread`."""

    def submit(self, readings: Sequence[Reading]) -> None:
        """Queue a batch."""


class Intake:
    """Decodes the inputs' batches, one at a time, in the order they come.

    Guarantee: a rejected record is a dead letter, acknowledged by Kafka, before the state's position moves past it. So
    a crash in between writes the letter twice, under the same key, and never loses it.
    """

    def __init__(
        self,
        decoders: Mapping[str, InteractionDecoder],
        dead_letters: DeadLetters,
        learner: Learner,
        failure: Failure,
    ) -> None:
        self.dead_letters = 0
        self._decoders = decoders
        self._letters = dead_letters
        self._learner = learner
        self._failure = failure

    async def take(self, batch: RawBatch) -> None:
        """Return when the batch is queued for learning. Errors are reported: a lost one would be a gap in the log."""
        try:
            self._learner.submit([await self._decode(raw) for raw in batch])
        except Exception as error:
            self._failure.report(error)

    async def _decode(self, raw: RawChunk) -> Reading:
        columns, rejects = self._decoders[raw.input].decode(
            raw.values,
            raw.offsets,
            raw.timestamps_ms,
            input=raw.input,
            partition=raw.partition,
            event_ids=raw.event_ids,
        )
        if rejects:
            await self._letters.write(
                rejects,
                raw.values,
                raw.timestamps_ms,
                topic=raw.input,
                partition=raw.partition,
                event_ids=raw.event_ids,
            )
            self.dead_letters += len(rejects)
        return Reading(Chunk(raw.input, raw.partition, raw.start, raw.end, columns), len(raw))
