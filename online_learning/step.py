"""The step: the one way an event changes the model, whether it comes from Kafka, a replay, a file or the demo.

`Step.apply(chunk)` moves the state from `chunk.start` to `chunk.end` and returns the lists of the users it touched. It
reads no clock and does no I/O. One thread owns a step; nobody else looks inside. A chunk that was applied before is
stale and changes nothing, so redelivery is harmless; a chunk that leaves a gap is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from millstream.schemas.columns import Chunk, InteractionColumns, ItemColumns, VectorColumns
from millstream.schemas.records import Item, Kind

from .adapter import enter
from .applied import Applied
from .arena import Arena
from .asides import Asides
from .assembled import assembled
from .catalogue import describe
from .category_lists import CategoryLists
from .config import BUY, MAIN, LearningConfig, differences, plain
from .digest import hash_128, hash_text
from .event_window import EventWindow
from .forgetting import eviction
from .json_ids import JsonIds
from .kernel import Events, Lists, learn_events, looks
from .kinds import DEEDS, REFRESHING, SPEAKING, kept_off, kind_weights, last_of_each_user, ratings_of
from .measured import Measured, cut_measured, reserve_measured, spread_measured
from .quality import Quality
from .ranking import bench
from .shown import Shown
from .similar import AsOf, SimilarLists
from .slate_maker import Ranked, joined, list_all, reserve_lists
from .snapshot import Dump, Saved
from .touched import Touched
from .trainers import Trainers
from .vocabulary import NOT_ADMITTED, Vocabulary

NOBODY = ""
"""The user id of the list for users that are not known."""

INTERACTIONS = "interactions"
"""The input's name where nobody gives another."""


class OutOfOrderChunk(ValueError):
    """A chunk that does not begin where the state's position stands: something in between is missing."""


class Step:
    """All state of one pipeline's model, and the only writer of it.

    `inputs` are the topics it folds, in the order of the settings. The state hash knows them by place, not by name, so
    that the same events give the same hash whatever their topic is called.
    """

    def __init__(
        self, config: LearningConfig, inputs: Sequence[str] = (INTERACTIONS,), off: frozenset[str] = frozenset()
    ) -> None:
        self.config = config
        self.inputs = tuple(inputs)
        self.seq = 0
        self.generation = 1
        self.positions: dict[tuple[str, int], int] = {}
        """Next offset of each input's partitions."""
        self.catalogue: dict[tuple[str, int], int] = {}
        """Next offset of each partition of the catalogue's topics."""
        self.last_ms = 0
        self.duplicates = 0
        """Events passed over since this was made, since their ids had been learned; not state."""
        self.users = Vocabulary("users", config.max_users)
        self.items = Vocabulary("items", config.max_items)
        self.categories = Vocabulary("categories", config.max_categories)
        self.arena = Arena()
        self.model = assembled(config, self.arena, self.users, self.items, self.categories)
        self._kind_weights = kind_weights(config)
        self._kept_off = kept_off(config)
        self.item_ids = JsonIds(self.items)
        self._window = EventWindow(self.arena, config.dedupe_events)
        self.bench = bench(config, off)
        self.similar = SimilarLists(self.model, self.items, self.item_ids, config.list_length, self._as_of)
        self.in_category = CategoryLists(
            self.model, self.bench, self.items, self.categories, self.item_ids, config.list_length, self._as_of
        )
        self.shown = Shown(
            self.users,
            self.items,
            self.model.histories,
            self.model.availability,
            config.list_length * len(config.lists),
        )
        self.touched = Touched(self.arena, self.users, self.model.histories)
        self.quality = Quality(self.model.popularity)
        self._trainers = Trainers(self.model)
        self._eviction = eviction(config, self.model, self.arena, self.users, self.items, self.item_ids, self._trainers)
        self._asides = Asides(
            self.model, self.bench, self.arena, self.users, self.items, exclude=config.exclude_consumed
        )
        self._off = off

    def apply(self, chunk: Chunk, *, lists: bool | NDArray[np.bool_] = True, train_every: int = 1) -> Applied:
        """Learn the chunk's events in order; afterwards the position of its partition is `chunk.end`.

        With `lists`, each touched user's list is made right after the user's last event of the chunk, unless there is
        no row for the user then; a mask, shape (events,), says after which events instead. One event in `train_every`
        is measured and trains the blend, all are counted. A chunk behind the position is stale and teaches nothing.
        Raises `OutOfOrderChunk` for one beyond it or across it. An event whose id is in the window of event ids is
        passed over: the state is as if its record were a hole in the log.

        A chunk of the catalogue, or of content vectors, is taken in as far as it is beyond the position of its own that
        the topic has: a compacted topic is read from its beginning again and again; what has gone from it was replaced.
        """
        columns = chunk.columns
        if not isinstance(columns, InteractionColumns):
            return self._describe(chunk, columns)
        if chunk.input not in self.inputs:
            raise ValueError(f"a chunk of {chunk.input!r}, but the inputs are {', '.join(self.inputs)}")
        place = (chunk.input, chunk.partition)
        position = self.positions.setdefault(place, chunk.start)
        if chunk.end <= position and chunk.start < position:
            return Applied(chunk.input, chunk.partition, position, position, 0, self.seq, None, None)
        if chunk.start != position:
            raise OutOfOrderChunk(
                f"{chunk.input}[{chunk.partition}]: the chunk begins at {chunk.start}, the state stands at {position}; "
                f"read on from {position}"
            )
        new, lists, duplicate, owed = self._window.admit(columns, lists)
        ranked, measured = self._learn(chunk, new, lists, train_every)
        self.positions[place] = chunk.end
        self.quality.add(measured, self.seq, None if ranked is None else ranked.lists[MAIN])
        self.duplicates += len(columns) - len(new)
        if owed:
            late = self.relist(owed)
            ranked = late if ranked is None else joined([ranked, late])
        measured = spread_measured(measured, duplicate)
        return Applied(
            chunk.input, chunk.partition, chunk.start, chunk.end, len(new), self.seq, ranked, measured, duplicate
        )

    def relist(self, user_ids: Sequence[str], threads: int = 1) -> Ranked:
        """Make the lists of users again, as of now, without an event. Ids not known are passed over.

        On any number of `threads` they come out the same. Versions carry the position of the user's partition, so a
        later event's list replaces this one. `NOBODY` is the popular list; its position is the sum over all
        partitions. Changes no state.
        """
        known = {id_: row for id_ in user_ids if (row := self.users.row(id_)) is not None}
        if NOBODY in user_ids:
            known[NOBODY] = self.users.capacity
        rows = np.array(list(known.values()), np.int32)
        lists, buys = self._reserved(len(rows))
        benches = [self.bench, *(bench(self.config, self._off) for _ in range(threads - 1))]
        looked = looks(rows, self.last_ms, self.seq)
        list_all(self.model, benches, looked, self.config.exclude_consumed, lists, buys)
        return Ranked(
            user_ids=list(known),
            generations=np.full(len(rows), self.generation),
            positions=self.list_positions(list(known)),
            as_of_ms=np.full(len(rows), self.last_ms),
            lists=self._named(rows, lists, buys),
            item_ids=self.item_ids,
        )

    def list_positions(self, user_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the second numbers of the versions of users' lists made now, shape (users,)."""
        rows = {id_: self.users.row(id_) for id_ in user_ids}
        partitions = self.model.histories.partition
        everywhere = sum(self.positions.values())
        found = [everywhere if row is None else self._position(int(partitions[row])) for row in rows.values()]
        return np.array(found, np.int64)

    @property
    def revision(self) -> int:
        """Events and records of the catalogue taken in: it rises with whatever may change a list."""
        return self.seq + sum(self.catalogue.values())

    def state_hash(self) -> str:
        """Return 32 hex digits over everything that learning and ranking read, positions included."""
        vocabularies = (self.users, self.items, self.categories)
        return hash_text(self.arena.digest() + sum(each.digest() for each in vocabularies) + self.rest())

    def rest(self) -> int:
        """Return the hash of what is in no table and no vocabulary: positions, counters, rounds of eviction."""
        total = self._eviction.digest()
        for (topic, partition), position in self.positions.items():
            total += hash_128(f"position/{self.inputs.index(topic)}/{partition}/{position}")
        topics = sorted({topic for topic, _ in self.catalogue})
        for (topic, partition), position in self.catalogue.items():
            which = f"{topics.index(topic)}/" if topic != topics[0] else ""
            total += hash_128(f"catalogue/{which}{partition}/{position}")
        return total + hash_128(f"counters/{self.seq}/{self.generation}/{self.last_ms}")

    def bytes_used(self) -> dict[str, int]:
        """Return the bytes of state in use, by table of the arena."""
        return self.arena.used_bytes()

    def dump(self, meta: dict[str, Any] | None = None) -> Dump:
        """Return a copy of all state, with the positions it contains. `meta` is the caller's own, JSON-able."""
        return Dump(self.header(meta), self.arena.dump(), self.users.ids[:], self.items.ids[:], self.categories.ids[:])

    def header(self, meta: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what a snapshot says of the state beside its tables and ids, JSON-able."""
        return {
            "config": plain(self.config),
            "seq": self.seq,
            "generation": self.generation,
            "last_ms": self.last_ms,
            "positions": [[topic, partition, end] for (topic, partition), end in self.positions.items()],
            "catalogue": [[topic, partition, end] for (topic, partition), end in self.catalogue.items()],
            "eviction": self._eviction.saved(),
            "owed": sorted(self._window.owed),
            "meta": meta or {},
        }

    @classmethod
    def load(cls, config: LearningConfig, saved: Saved, inputs: Sequence[str] = (INTERACTIONS,)) -> Step:
        """Return a step that goes on where it was saved; its state hash is that one's.

        Raises `ValueError` naming the setting when `config` differs from the one it was made with.
        """
        made_with = saved.header["config"]
        if odd := differences(config, made_with):
            raise ValueError(
                f"the snapshot was made with other settings: {'; '.join(odd)}; put them back, or start without it"
            )
        # an input no longer in the settings keeps its place behind the others: its events are in the state
        gone = sorted({topic for topic, _, _ in saved.header["positions"]}.difference(inputs))
        step = cls(config, (*inputs, *gone))
        step.seq = saved.header["seq"]
        step.generation = saved.header["generation"]
        step.last_ms = saved.header["last_ms"]
        step.positions = {(topic, partition): end for topic, partition, end in saved.header["positions"]}
        step.catalogue = {(topic, partition): end for topic, partition, end in saved.header.get("catalogue", [])}
        step._eviction.restore({"users": saved.users, "items": saved.items}, saved.header.get("eviction", {}))
        step.categories.rows(saved.categories)
        saved.fill(step.arena)
        step._window.resume(saved.header.get("owed", ()))
        step._trainers.resume()
        return step

    def _describe(self, chunk: Chunk, columns: ItemColumns | VectorColumns) -> Applied:
        place = (chunk.input, chunk.partition)
        position = self.catalogue.get(place, chunk.start)
        new = columns.cut(int(np.searchsorted(columns.offsets, position)), len(columns))
        if isinstance(new, ItemColumns):
            self._take_items(new.items)
        elif len(new):
            self._take_vectors(new)
        end = max(position, chunk.end)
        self.catalogue[place] = end
        return Applied(chunk.input, chunk.partition, max(position, chunk.start), end, 0, self.seq, None, None)

    def _take_items(self, new: Sequence[Item]) -> None:
        m = self.model
        rows = [row for item in new if (row := self.items.row(item.item_id)) is not None]
        self.in_category.note(rows)  # what they are in before
        costs = m.prices if BUY in self.config.lists else None
        withdrawn = describe(m.categories, m.availability, costs, self.items, self.categories, new)
        self.in_category.note(rows)
        self.shown.withdraw(withdrawn)
        self.similar.withdraw(withdrawn)

    def _take_vectors(self, new: VectorColumns) -> None:
        m, rows = self.model, self.items.rows(new.item_ids)
        self._trainers.settle()
        for at in np.flatnonzero(rows != NOT_ADMITTED).tolist():
            enter(m.adapter, m.interest, m.content, m.popularity, rows[at], new.coded[at], new.scale[at])

    def _learn(
        self, chunk: Chunk, columns: InteractionColumns, make: bool | NDArray[np.bool_], train_every: int
    ) -> tuple[Ranked | None, Measured]:
        """Learn the events, a part at a time where rows are forgotten or an aside is taken between two of them."""
        n = len(columns)
        if isinstance(make, bool):
            make = last_of_each_user(columns) if make else np.zeros(n, np.bool_)
        measured = reserve_measured(n)
        parts = []
        asides = self._asides.places(columns)
        first = 0
        while first < n:
            until = asides[np.searchsorted(asides, first, side="right") :]
            last = first + self._eviction.room(self.seq, (int(until[0]) if len(until) else n) - first)
            part = measured if last - first == n else cut_measured(measured, first, last)
            ranked = self._learn_part(chunk, columns.cut(first, last), make[first:last], train_every, part)
            if ranked is not None:
                parts.append(ranked)
            self._eviction.turn(self.seq)
            first = last
        if n:
            self.last_ms = int(columns.as_of_ms[-1])
        return joined(parts) if parts else None, measured

    def _learn_part(
        self, chunk: Chunk, columns: InteractionColumns, make: NDArray[np.bool_], train_every: int, measured: Measured
    ) -> Ranked | None:
        """Learn events of a chunk, none of which is to see a row change hands; return the lists they make, if any.

        None but the first may be an aside.
        """
        n = len(columns)
        users = np.where(SPEAKING[columns.kinds], self.users.rows(columns.user_ids), NOT_ADMITTED).astype(np.int32)
        refreshed = np.where(REFRESHING[columns.kinds], users, NOT_ADMITTED)
        items = self._asides.take(columns, int(users[0]))
        # where partitions were added, users move to others, and offsets no longer say what is newer
        generations = self.generation + self.touched.moved(refreshed, chunk.partition)
        self.generation = int(generations[-1])
        at = np.flatnonzero(make & (users >= 0))
        listed = np.full(n, -1)
        listed[at] = np.arange(len(at))
        lists, buys = self._reserved(len(at))
        events = Events(
            user=users,
            item=items,
            ts_ms=columns.ts_ms,
            deed=DEEDS[columns.kinds],
            weight=self._kind_weights[columns.kinds],
            bought=columns.kinds == Kind.purchase,
            kept_off=self._kept_off[columns.kinds],
            rating=ratings_of(columns),
            slate=np.zeros(n, np.uint32) if columns.slates is None else columns.slates,
            slot=np.full(n, -1, np.int16) if columns.slots is None else columns.slots,
            surface=np.zeros(n, np.uint32) if columns.surfaces is None else columns.surfaces,
            seq=np.arange(self.seq + 1, self.seq + 1 + n),
            listed=listed,
        )
        self._take(events, chunk.partition, train_every, measured, lists, buys)
        self.seq += n
        self.similar.note(events.item)
        self.in_category.note(events.item)
        self.touched.note(refreshed, events.seq)
        if not len(at):
            return None
        others = self._position(chunk.partition) - self.positions[chunk.input, chunk.partition]
        return Ranked(
            user_ids=[columns.user_ids[k] for k in at.tolist()],
            generations=generations[at],
            positions=columns.offsets[at] + (1 + others),
            as_of_ms=columns.as_of_ms[at],
            lists=self._named(users[at], lists, buys),
            item_ids=self.item_ids,
        )

    def _take(
        self, events: Events, partition: int, train_every: int, measured: Measured, lists: Lists, buys: Lists
    ) -> None:
        done = 0
        while done < len(events.user):
            done = learn_events(
                self.model,
                self.bench,
                events,
                done,
                partition,
                len(self.items),
                self.config.exclude_consumed,
                train_every,
                self.config.first_trained,
                measured,
                lists,
                buys,
            )
            self._trainers.turn(len(self.items))

    def _reserved(self, count: int) -> tuple[Lists, Lists]:
        """Reserve `count` lists and as many of what to buy, none of these where no such list is made."""
        length = self.config.list_length
        return reserve_lists(count, length), reserve_lists(count if BUY in self.config.lists else 0, length)

    def _named(self, users: NDArray[np.int32], lists: Lists, buys: Lists) -> dict[str, Lists]:
        """Return lists just made by their names, with the revisions they are of."""
        self.shown.note(users, lists.item, buys.item)
        for made in (lists, buys):
            made.seq[:] += self.revision - self.seq
        return dict(zip(self.config.lists, (lists, buys), strict=False))

    def _as_of(self) -> AsOf:
        return AsOf(self.seq, self.generation, self.revision, self.last_ms)

    def _position(self, partition: int) -> int:
        """Return the sum over all inputs of the next offset of one partition."""
        return sum(end for (_, number), end in self.positions.items() if number == partition)
