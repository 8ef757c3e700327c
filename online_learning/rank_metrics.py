"""What one event's rank is worth, by each metric: `hit@10`, `NDCG@10` and `MRR@20`.

`hit@k = 1[rank ≤ k]`; `NDCG@10 = 1 / log2(1 + rank)` if rank ≤ 10; `MRR@20 = 1 / rank` if rank ≤ 20. Reported figures
are means of these, so a difference of two figures is a mean of differences event by event.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

METRICS = ("hit@10", "ndcg@10", "mrr@20")
"""The names that scripts rely on, in the order of the rows of `metrics_by_event`."""


def metrics_by_event(rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each event's value by each metric, shape (3, n), 0 to 1.

    `rank` has shape (n,), from 1; NaN marks an item never seen, a miss.
    """
    known = np.where(np.isnan(rank), np.inf, rank)
    return np.stack(
        [
            (known <= 10).astype(np.float64),
            np.where(known <= 10, 1.0 / np.log2(1.0 + known), 0.0),
            np.where(known <= 20, 1.0 / known, 0.0),
        ]
    )
