"""A batch that is seen in parts: with the whole batch's classes the parts' mean is the batch's loss, gradients too."""

from __future__ import annotations

import pytest
import torch

from bisc.core.labels import KIDNEY_EDGE_BIT, TUMOR_EDGE_BIT
from bisc.losses import BranchTargets, SCUNetLoss


def packed(targets: BranchTargets) -> torch.Tensor:
    """As the cache has them."""
    bits = targets.region + targets.kidney_edge * KIDNEY_EDGE_BIT + targets.tumor_edge * TUMOR_EDGE_BIT
    return bits.to(torch.uint8)


@pytest.mark.parametrize("n_parts", [2, 4])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_balanced_parts_make_the_whole(n_parts: int, threshold: float) -> None:
    """Of four patches one has a tumour; to the last digits of float64. A part alone would weigh it n times as much."""
    generator = torch.Generator().manual_seed(2)
    logits = [torch.randn((4, channels, 2, 3, 4), generator=generator, dtype=torch.float64) for channels in (3, 2, 2)]
    targets = [torch.randint(0, 2, (4, 2, 3, 4), generator=generator) for _ in range(3)]
    targets[0][2, 0, 0] = 2
    loss = SCUNetLoss("balanced_ce", threshold)

    def gradients(n: int) -> tuple[float, list[torch.Tensor]]:
        leaves = [one.clone().requires_grad_() for one in logits]
        parts = [BranchTargets(*(one.chunk(n)[i] for one in targets)) for i in range(n)]
        wholes = loss.wholes_of([packed(part) for part in parts])
        assert (wholes is None) == (n == 1)
        value = torch.zeros(())
        for i, part in enumerate(parts):
            of_branches = loss.of_branches(tuple(leaf.chunk(n)[i] for leaf in leaves), part, wholes)
            share = torch.stack([*of_branches.values()]).mean() / n
            share.backward()  # type: ignore[no-untyped-call]
            value = value + share.detach()
        return float(value), [leaf.grad for leaf in leaves if leaf.grad is not None]

    (whole, expected), (summed, found) = gradients(1), gradients(n_parts)
    assert summed == pytest.approx(whole, rel=1e-6)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["ce", "dice_ce"])
def test_others_do_not_ask_for_the_whole(name: str) -> None:
    part = torch.zeros((1, 2, 2, 2), dtype=torch.uint8)
    assert SCUNetLoss(name).wholes_of([part, part]) is None
