"""One block's training of the interest vectors, in torch: pure, from copies to copies, on one thread.

The loss is softmax cross-entropy over the block's own targets, each logit less ln of the item's share of all events
(the logQ correction: a target stands among the negatives as often as it is popular). The optimiser is Adagrad, with one
sum of squares an item row.

Source: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations", eq. 5.
"""

from __future__ import annotations

import torch

from .interest import WIDTH
from .interest_trainer import Block, Learned

RATE = 0.3
POOLING_RATE = 0.02
FIRST_SQUARE = 1e-4

torch.set_num_threads(1)  # sums in one order, and the other core is not ours


def train(block: Block) -> Learned:
    """Return the rows and the pooling after one step on the block."""
    vector = torch.from_numpy(block.vector).requires_grad_()  # (m, D)
    square = torch.from_numpy(block.square)  # (m,)
    weights = [torch.from_numpy(array).requires_grad_() for array in block.pooling[:4]]
    squares = [torch.from_numpy(array) for array in block.pooling[4:]]
    history = torch.from_numpy(block.history)  # (n, L)
    age = torch.from_numpy(block.age)  # (n, L)
    target = torch.from_numpy(block.target)  # (n,)
    log_share = torch.from_numpy(block.log_share)  # (n,)
    loss = block_loss(vector, *weights, history=history, age=age, target=target, log_share=log_share)
    gradient, *gradients = torch.autograd.grad(loss, [vector, *weights])
    with torch.no_grad():
        square += (gradient * gradient).mean(1)  # (m,)
        vector -= RATE * gradient / (square + FIRST_SQUARE).sqrt().unsqueeze(1)  # (m, D)
        for value, of_value, g in zip(weights, squares, gradients, strict=True):
            of_value += g * g
            value -= POOLING_RATE * g / (of_value + FIRST_SQUARE).sqrt()
    return Learned(
        block.rows,
        vector.detach().numpy(),
        square.numpy(),
        tuple(each.detach().numpy() for each in (*weights, *squares)),
    )


def block_loss(
    vector: torch.Tensor,
    matrix: torch.Tensor,
    query: torch.Tensor,
    place: torch.Tensor,
    rate: torch.Tensor,
    *,
    history: torch.Tensor,
    age: torch.Tensor,
    target: torch.Tensor,
    log_share: torch.Tensor,
) -> torch.Tensor:
    """Return the summed cross-entropy of each target among the block's targets."""
    nobody = torch.zeros(1, WIDTH)
    items = torch.cat([vector, nobody])[history]  # (n, L, D)
    attention = items @ query * WIDTH**-0.5 + place - rate * age  # (n, L)
    attention = attention.masked_fill(history == len(vector), -torch.inf)  # (n, L)
    user = (attention.softmax(1).unsqueeze(2) * items).sum(1)  # (n, D)
    logits = (user @ matrix) @ vector[target].T - log_share  # (n, n)
    same = target.unsqueeze(0) == target.unsqueeze(1)  # (n, n)
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)  # a target met twice is no negative of itself
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(target)), reduction="sum")
