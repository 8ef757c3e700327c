"""From raw chunks to the step: decode, put aside what cannot be used, submit the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from millstream.schemas.columns import Chunk, Reject
from millstream.schemas.decode import InteractionDecoder
from millstream.streams.source import RawChunk

from .failure import Failure


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
    ) -> None:
        """Return when every letter is acknowledged."""


class Learner(Protocol):
    """What takes decoded chunks: `StepThread`."""

    async def submit(self, chunk: Chunk, *, records: int) -> None:
        """Queue a chunk; waits for room."""


class Intake:
    """Decodes the inputs' chunks, one at a time, in the order they come.

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

    async def take(self, raw: RawChunk) -> None:
        """Return when the chunk is queued for learning. Errors are reported: a lost chunk would be a gap in the log."""
        try:
            columns, rejects = self._decoders[raw.input].decode(
                raw.values, raw.offsets, raw.timestamps_ms, input=raw.input, partition=raw.partition
            )
            if rejects:
                await self._letters.write(
                    rejects, raw.values, raw.timestamps_ms, topic=raw.input, partition=raw.partition
                )
                self.dead_letters += len(rejects)
            chunk = Chunk(raw.input, raw.partition, raw.start, raw.end, columns)
            await self._learner.submit(chunk, records=len(raw))
        except Exception as error:
            self._failure.report(error)
