"""One block's training of the interest vectors, in torch: pure, from copies to copies, on one thread.

The loss is softmax cross-entropy over the block's own targets, each logit less ln of the item's share of all events
(the logQ correction: a target stands among the negatives as often as it is popular). Where items say something, it is
taken once more with their own rows dropped, so that the adapter alone has to tell them apart: what it learns is of use
for those that have no row yet (DropoutNet; there a share of the targets is dropped, here each stands for both). The
user's side is held still in that, so that own rows are taught what they always were. The optimiser is Adagrad, with one
sum of squares an item row.

Source: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations", eq. 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .adapter import START_DOWN, START_GATE
from .interest import WIDTH
from .interest_trainer import Block, Learned, Said

RATE = 0.3
POOLING_RATE = 0.02
PROMPT_RATE = 0.005
ADAPTER_RATE = 0.005
FIRST_SQUARE = 1e-4

torch.set_num_threads(1)  # sums in one order, and the other core is not ours


def train(block: Block) -> Learned:
    """Return the rows, the pooling and the adapter after one step on the block."""
    own = torch.from_numpy(block.own).requires_grad_()  # (m, D)
    square = torch.from_numpy(block.square)  # (m,)
    pooling, pooling_squares = _weights(block.pooling)
    target = torch.from_numpy(block.target)  # (n,)
    log_share = torch.from_numpy(block.log_share)  # (n,)
    said = block.said
    adapter, adapter_squares = _weights(said.weights) if said is not None else ([], [])
    vector = own
    if said is not None:
        apart, count = apart_of(said), len(said.places)
        whole = adapted(apart[:count], *adapter[:2])  # (k, D)
        vector = own.index_add(0, torch.from_numpy(said.places), gates(said, adapter[2])[:count] * whole)  # (m, D)
    history, age, context = (torch.from_numpy(each) for each in (block.history, block.age, block.context))
    user = users(vector, *pooling, history=history, age=age, context=context)  # (n, D)
    loss = cross_entropy(user, vector[target], target, log_share)
    if said is not None:
        loss = loss + content_loss(said, whole, adapter[2], user.detach(), len(own), target, log_share)
    gradient, *gradients = torch.autograd.grad(loss, [own, *pooling, *adapter])
    with torch.no_grad():
        square += (gradient * gradient).mean(1)  # (m,)
        own -= RATE * gradient / (square + FIRST_SQUARE).sqrt().unsqueeze(1)  # (m, D)
        _step(pooling[:-1], pooling_squares, gradients, POOLING_RATE)
        _step(pooling[-1:], pooling_squares[-1:], gradients[len(pooling) - 1 :], PROMPT_RATE)
        _step(adapter, adapter_squares, gradients[len(pooling) :], ADAPTER_RATE)
        if said is not None:
            adapter[2][1].clamp_(min=-float(START_GATE[1]))  # an item never falls back on what it says as it is chosen
        lift = (gates(said, adapter[2]) * adapted(apart, *adapter[:2])).numpy() if said is not None else None
    return Learned(
        rows=block.rows,
        own=own.detach().numpy(),
        square=square.numpy(),
        pooling=tuple(each.detach().numpy() for each in (*pooling, *pooling_squares)),
        said=np.zeros(0, np.int32) if said is None else said.rows,
        lift=lift,
        adapter=tuple(each.detach().numpy() for each in (*adapter, *adapter_squares)),
    )


def users(
    vector: torch.Tensor,
    matrix: torch.Tensor,
    query: torch.Tensor,
    place: torch.Tensor,
    rate: torch.Tensor,
    prompt: torch.Tensor,
    *,
    history: torch.Tensor,
    age: torch.Tensor,
    context: torch.Tensor,
) -> torch.Tensor:
    """Return A'u of each event, shape (n, D)."""
    items = torch.cat([vector, torch.zeros(1, WIDTH)])[history]  # (n, L, D)
    attention = items @ query * WIDTH**-0.5 + place - rate * age  # (n, L)
    attention = attention.masked_fill(history == len(vector), -torch.inf)  # (n, L)
    pooled = (attention.softmax(1).unsqueeze(2) * items).sum(1)  # (n, D)
    said = torch.cat([prompt, torch.zeros(1, WIDTH)])[context].sum(1)  # (n, D)
    user: torch.Tensor = (pooled + said) @ matrix
    return user


def cross_entropy(
    user: torch.Tensor, wanted: torch.Tensor, target: torch.Tensor, log_share: torch.Tensor
) -> torch.Tensor:
    """Return the summed cross-entropy of each target, of vectors `wanted`, among the block's targets."""
    logits = user @ wanted.T - log_share  # (n, n)
    same = target.unsqueeze(0) == target.unsqueeze(1)  # (n, n)
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)  # a target met twice is no negative of itself
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(target)), reduction="sum")


def apart_of(said: Said) -> torch.Tensor:
    """Return c - μ, shape (K, CONTENT)."""
    content = torch.from_numpy(said.coded) * torch.from_numpy(said.scale).unsqueeze(1)
    return content - torch.from_numpy(said.mean)


def adapted(apart: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """Return B A (c - μ), shape (…, D); times `gates` it is `adapter.lift` in torch."""
    return apart @ (torch.from_numpy(START_DOWN) + down) @ up


def gates(said: Said, gate: torch.Tensor) -> torch.Tensor:
    """Return g of each item that says something, shape (K, 1)."""
    start, slope = torch.from_numpy(START_GATE) + gate
    return torch.sigmoid(start - slope * torch.from_numpy(said.grown)).unsqueeze(1)


def content_loss(
    said: Said,
    whole: torch.Tensor,
    gate: torch.Tensor,
    user: torch.Tensor,
    rows: int,
    target: torch.Tensor,
    log_share: torch.Tensor,
) -> torch.Tensor:
    """Return the same of the targets that say something, among these, by what an item never chosen would be lifted.

    `whole` is what `adapted` gives for the first k of `said`; `rows` is m.
    """
    place = torch.full((rows,), -1)
    place[torch.from_numpy(said.places)] = torch.arange(len(said.places))
    speaks = place[target] >= 0  # (n,)
    wanted = torch.sigmoid(float(START_GATE[0]) + gate[0]) * whole[place[target[speaks]]]
    return cross_entropy(user[speaks], wanted, target[speaks], log_share[speaks])


def _weights(arrays: tuple[NDArray[np.float32], ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the first half, which learns, and the second, its sums of squares."""
    tensors = [torch.from_numpy(array) for array in arrays]
    half = len(tensors) // 2
    return [each.requires_grad_() for each in tensors[:half]], tensors[half:]


def _step(
    weights: Sequence[torch.Tensor], squares: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], rate: float
) -> None:
    for value, square, gradient in zip(weights, squares, gradients, strict=False):
        square += gradient * gradient
        value -= rate * gradient / (square + FIRST_SQUARE).sqrt()
