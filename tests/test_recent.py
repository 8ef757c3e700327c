"""What was measured lately, and nothing older."""

from __future__ import annotations

from millstream.agents.recent import Recent


def test_a_value_is_there_until_it_is_older_than_the_window() -> None:
    """Oldest first; with more than `most` the oldest leave sooner."""
    now_s = 100.0
    recent = Recent(10.0, most=3, clock_s=lambda: now_s)
    assert recent.values() == []
    for now_s in (100.0, 104.0, 109.0):
        recent.add(now_s)
    assert recent.values() == [100.0, 104.0, 109.0]
    now_s = 110.0
    assert recent.values() == [100.0, 104.0, 109.0]
    now_s = 110.5
    assert recent.values() == [104.0, 109.0]
    recent.add(1.0)
    recent.add(2.0)
    assert recent.values() == [109.0, 1.0, 2.0]
    now_s = 200.0
    assert recent.values() == []
