"""What is evaluated: a recorded log, and the options that say what the task is, alike for each command that measures.

Everything else is the settings' `learning`, the same as the worker's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk, InteractionColumns, catalogue_chunk, vectors_chunk
from millstream.schemas.item_vectors import CONTENT, ItemVector
from millstream.schemas.log_files import UnreadableLog
from millstream.schemas.recorded import read_events, read_items
from millstream.schemas.records import Item
from millstream.streams.settings import load_settings

from .encoders import load_encoder
from .errors import Problem
from .evaluate_progress import counting
from .item_contents import contents

_SHOWN_REJECTS = 5
_ENCODED_AT_ONCE = 256
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """The events to predict and learn, in time order, and what is known of the items."""

    columns: InteractionColumns
    catalogue: Mapping[str, Item]
    contents: Sequence[ItemVector] = ()
    """What items say, encoded."""

    def step(self, config: LearningConfig, off: frozenset[str] = frozenset()) -> Step:
        """Return a step that knows the catalogue and no event yet; the parts that are `off` say nothing."""
        step = Step(config, off=off)
        if self.catalogue:
            step.apply(catalogue_chunk(self.catalogue.values()))
        return step

    def arrivals(self) -> dict[int, Chunk]:
        """Return the content vectors in chunks, each by the first event after its items' `updated_ms`."""
        at = np.searchsorted(self.columns.ts_ms, [self.catalogue[each.item_id].updated_ms for each in self.contents])
        chunks: dict[int, Chunk] = {}
        told = 0
        for event in np.unique(at).tolist():
            some = [self.contents[row] for row in np.flatnonzero(at == event).tolist()]
            coded = np.frombuffer(b"".join(each.coded for each in some), np.int8).reshape(len(some), CONTENT)
            scales = np.array([each.scale for each in some], np.float32)
            chunks[event] = vectors_chunk([each.item_id for each in some], coded, scales, start=told)
            told += len(some)
        return chunks


@dataclass(frozen=True, slots=True)
class Task:
    """The options as they were given."""

    log: Path
    items: Path | None
    min_rating: float | None
    exclude_consumed: bool
    first_only: bool
    limit: int | None
    encoder: str | None = None

    def config(self) -> LearningConfig:
        """Return the learner's settings for this task. Raises `WrongSettings`."""
        learning = load_settings().learning
        return dataclasses.replace(learning, exclude_consumed=learning.exclude_consumed or self.exclude_consumed)

    def load(self) -> LoadedTask:
        """Read the log and the catalogue; what was left out goes to standard error. Raises `Problem`."""
        try:
            recorded = read_events(self.log, min_rating=self.min_rating, first_only=self.first_only, limit=self.limit)
            catalogue = read_items(self.items) if self.items else {}
        except UnreadableLog as error:
            raise Problem(str(error)) from error
        for reject in recorded.rejects[:_SHOWN_REJECTS]:
            click.echo(reject.message, err=True)
        if len(recorded.rejects) > _SHOWN_REJECTS:
            click.echo(f"… {len(recorded.rejects):,} lines left out in all", err=True)
        if catalogue:
            listed = sum(item_id in catalogue for item_id in set(recorded.columns.item_ids))
            click.echo(f"{len(catalogue):,} items in the catalogue, {listed:,} of them in the log", err=True)
        return LoadedTask(recorded.columns, catalogue, self._contents(catalogue))

    def _contents(self, catalogue: Mapping[str, Item]) -> list[ItemVector]:
        """Return what items say, encoded; nothing without an encoder. Raises `NoEncoder`."""
        if self.encoder is None:
            return []
        if not catalogue:
            raise click.UsageError("--encoder encodes what items say: name the catalogue with --items")
        encoder = load_encoder(self.encoder)
        items, found = list(catalogue.values()), []
        with counting("encoding") as on_progress:
            for first in range(0, len(items), _ENCODED_AT_ONCE):
                found += contents(items[first : first + _ENCODED_AT_ONCE], encoder)
                on_progress(len(found), len(items))
        return [each for each in found if each.scale > 0]


def takes_task(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument LOG and the options of `Task`, and call it with them as one argument, `task`."""

    @functools.wraps(function)
    def with_task(**given: Any) -> None:
        own = {each.name: given.pop(each.name) for each in dataclasses.fields(Task)}
        function(Task(**own), **given)

    for parameter in (
        click.option("--limit", type=click.IntRange(min=1), help="Take the first N events only."),
        click.option("--first-only", is_flag=True, help="Keep the first event of each user and item only."),
        click.option("--exclude-consumed", is_flag=True, help="Never predict what the user already chose."),
        click.option("--min-rating", type=float, help="Leave out ratings below this, as if they had never been."),
        click.option("--encoder", help="Encode what items say: minilm, light, or a model's folder."),
        click.option("--items", type=_FILE, help="The catalogue of the log."),
        click.argument("log", type=_FILE),
    ):
        with_task = parameter(with_task)
    return with_task
