"""One lesson of the session transformer, in torch: pure, from copies to copies.

Each place tells what came next, all at once: softmax cross-entropy among all items to be told in the lesson, each logit
less ln of its item's share of all events (logQ, as `interest_loss` has it). Adagrad, one sum of squares an item row.

On the processor it runs on one thread, in one order. Where torch has an accelerator it runs there, in torch's
deterministic way: what it learns is then the same on accelerators of the same kind only, and is hashed apart.
Source: Kang and McAuley 2018, "Self-attentive sequential recommendation".
"""

from __future__ import annotations

import os
from math import prod

import torch

from .interest import WIDTH
from .interest_loss import cross_entropy
from .session import HEAD, HEADS, LENGTH, SHAPES
from .session_trainer import Lesson, Sequences, Taught

RATE = 0.3
WEIGHT_RATE = 0.02
FIRST_SQUARE = 1e-4


def accelerator() -> str | None:
    """Return the device that torch is to train on, None where there is only the processor."""
    if not torch.cuda.is_available():
        return None
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True)
    return "cuda"


def train(lesson: Lesson) -> Taught:
    """Return the rows and the weights after one step on the lesson."""
    device = accelerator() or "cpu"
    item = torch.tensor(lesson.item, device=device, requires_grad=True)  # (m, D)
    row = torch.tensor(lesson.row, device=device, requires_grad=True)
    square, row_square = (torch.tensor(each, device=device) for each in (lesson.square, lesson.row_square))
    known = torch.tensor(lesson.known, device=device)  # (m, D)
    places = torch.searchsorted(torch.tensor(lesson.rows), torch.tensor(lesson.sequences.items - 1)).to(device)
    told = torch.tensor(lesson.sequences.items[:, 1] > 0, device=device)  # (S, L)
    out = read(row, item, known, places[:, 0], lesson.sequences)  # (S, L, D)
    target = places[:, 1][told]  # (n,)
    share = torch.tensor(lesson.sequences.share, device=device)[told]
    loss = cross_entropy(out[told], item[target], target, share)
    gradient, row_gradient = torch.autograd.grad(loss, [item, row])
    with torch.no_grad():
        square += (gradient * gradient).mean(1)
        item -= RATE * gradient / (square + FIRST_SQUARE).sqrt().unsqueeze(1)
        row_square += row_gradient * row_gradient
        row -= WEIGHT_RATE * row_gradient / (row_square + FIRST_SQUARE).sqrt()
    kept = lesson.sequences
    return Taught(
        rows=lesson.rows,
        item=item.detach().cpu().numpy(),
        square=square.cpu().numpy(),
        row=row.detach().cpu().numpy(),
        row_square=row_square.cpu().numpy(),
        new=Sequences(kept.items[: lesson.new], kept.said[: lesson.new], kept.share[: lesson.new]),
    )


def read(
    row: torch.Tensor, item: torch.Tensor, known: torch.Tensor, places: torch.Tensor, sequences: Sequences
) -> torch.Tensor:
    """Return norm(h) of every place, shape (S, L, D): `session.read_session` in torch; `places` of items, (S, L)."""
    parts = torch.split(row, [prod(shape) for shape in SHAPES.values()])
    w = {name: part.view(shape) for part, (name, shape) in zip(parts, SHAPES.items(), strict=True)}
    held = torch.tensor(sequences.items[:, 0] > 0, device=row.device)  # (S, L)
    kind, gap = torch.tensor(sequences.said, device=row.device).long().unbind(1)  # (S, L)
    x = item[places] + known[places] @ w["vector"] + w["kind"][kind] + w["gap"][gap] + w["place"]
    normed = _norm(x, w["first"])
    query, key, value = (
        (normed @ w[name]).view(-1, LENGTH, HEADS, HEAD).transpose(1, 2) for name in ("query", "key", "value")
    )  # (S, heads, L, D / heads)
    by = query @ key.transpose(2, 3) * HEAD**-0.5  # (S, heads, L, L)
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=row.device).tril()
    seen = causal & held[:, None, None, :] | torch.eye(LENGTH, dtype=torch.bool, device=row.device)
    by = by.masked_fill(~seen, -torch.inf).softmax(3)
    x = x + (by @ value).transpose(1, 2).flatten(2) @ w["mix"]
    wide = (_norm(x, w["second"]) @ w["widen"] + w["widen_by"]).relu()
    return _norm(x + wide @ w["narrow"] + w["narrow_by"], w["last"])


def _norm(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, (WIDTH,), weights[0], weights[1])
