"""Who was touched when, against a list of all events."""

from __future__ import annotations

import numpy as np
import pytest
from logs import chunk_of, columns_of, simulated

from millstream.online_learning.config import LearningConfig
from millstream.online_learning.step import Step
from millstream.schemas.columns import Chunk
from millstream.schemas.records import Kind

CONFIG = LearningConfig(max_users=2_000, max_items=1_000)


@pytest.mark.parametrize("since", [0, 1, 150, 299, 300])
def test_they_are_the_users_of_the_events_since(since: int) -> None:
    """Of each partition asked for, by their last event, whichever partition that came in; nobody twice."""
    step, last = Step(CONFIG), {}
    events = simulated(300)
    starts = [0, 0, 0]
    for at in range(0, 300, 20):
        part, partition = events.cut(at, at + 20), at // 20 % 3
        end = starts[partition] + 20
        columns = chunk_of(part).columns.cut(0, 20)
        object.__setattr__(columns, "offsets", np.arange(starts[partition], end))
        step.apply(Chunk("interactions", partition, starts[partition], end, columns), lists=False)
        starts[partition] = end
        last.update({user: (at + n + 1, partition) for n, user in enumerate(part.user_ids)})
    for partitions in ({0: since}, {0: since, 2: since}, {1: 0, 2: since}):
        expected = {user for user, (seq, at) in last.items() if at in partitions and seq > partitions[at]}
        found = step.touched.since(partitions)
        assert set(found) == expected
        assert len(found) == len(expected)


def test_a_user_that_moves_to_another_partition_raises_the_generation() -> None:
    """Each user's versions rise in the order of events, whatever partitions they come in; who stays raises nothing."""
    chance, step, in_pieces, seen = np.random.default_rng(1), Step(CONFIG), Step(CONFIG), {}
    offsets, moves = [0, 0, 0], 0
    homes: dict[str, int] = {}
    for turn in range(300):
        partition, users = int(chance.integers(3)), [f"u{n}" for n in chance.integers(0, 40, 3)]
        if turn < 100:  # keyed: nobody moves
            users = [user for user in users if int(user[1:]) % 3 == partition] or [f"v{partition}"]
        moves += sum(homes.get(user, partition) != partition for user in set(users))
        homes |= dict.fromkeys(users, partition)
        end = offsets[partition] + len(users)
        columns = columns_of(
            users, ["i"] * len(users), kinds=[Kind.dismiss if turn % 5 == 0 else Kind.click] * len(users)
        )
        object.__setattr__(columns, "offsets", np.arange(offsets[partition], end))
        chunk = Chunk("interactions", partition, offsets[partition], end, columns)
        applied = step.apply(chunk)
        for cut in range(len(users)):
            in_pieces.apply(chunk.cut(cut, cut + 1))
        offsets[partition] = end
        assert step.generation == 1 + moves, (turn, partition, users, homes)
        again = step.relist(list(seen)).encoded(0)
        for slate in (*applied.encoded(0), *again):
            assert slate.version >= seen.get(slate.user_id, slate.version)
        seen.update({slate.user_id: slate.version for slate in applied.encoded(0)})
    assert moves > 100
    assert in_pieces.state_hash() == step.state_hash()


def test_what_refreshes_no_list_touches_nobody() -> None:
    """An impression leaves its user's list as it is; a click and a hide do not."""
    step = Step(CONFIG)
    columns = columns_of(["a", "b", "c"], ["i", "i", "i"], kinds=[Kind.click, Kind.impression, Kind.hide])
    step.apply(chunk_of(columns), lists=False)
    assert set(step.touched.since({0: 0})) == {"a", "c"}
    assert step.touched.since({0: 1}) == ["c"]


def test_it_outlives_a_snapshot() -> None:
    """As everything of the state does; one from before it was kept counts everybody."""
    step = Step(CONFIG)
    step.apply(chunk_of(columns_of(["a", "b"], ["i", "j"])), lists=False)
    dump = step.dump()
    assert Step.load(CONFIG, dump).touched.since({0: 1}) == ["b"]
    del dump.arrays["touched/seq"]
    assert set(Step.load(CONFIG, dump).touched.since({0: 1})) == {"a", "b"}
