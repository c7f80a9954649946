"""Edge branches beside the region branch's outline: views by the network's own branches, agreement by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bisc.core.choices import Edges
from bisc.inference.model import FoldNetwork
from bisc.inference.outlines import edges_on, outline_agreement
from bisc.network import SCUNet
from bisc.network.edge_view import EDGE_BRANCHES, EdgeView
from bisc.preprocessing.edges import canny_edges
from tests.support.stub_model import CPU, OBLIQUE, kidneys, stub_model
from tests.support.training_fixtures import use_one_thread

use_one_thread()


@pytest.mark.parametrize(("edges", "packing"), [("branches", 1), ("heads", 1), ("branches", 2)])
def test_a_view_gives_what_its_branch_gives(edges: Edges, packing: int) -> None:
    torch.manual_seed(1)
    network = SCUNet(2, "instance", edges, packing).eval()
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.inference_mode():
        branches = network(image)
        for branch in EDGE_BRANCHES:
            seen = EdgeView(network, branch).forward_region(image).softmax(dim=1)
            assert torch.allclose(seen[:, :2], getattr(branches, branch).softmax(dim=1), atol=1e-6)
            assert not seen[:, 2].any()


def square(first: int, last: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros((2, 40, 40), bool)
    mask[:, 10:30, first:last] = True
    return mask


def test_agreement_by_hand() -> None:
    """The same line, one a pixel beside it, one far off, half of it, none."""
    mask = square(10, 30)
    outline = canny_edges(mask)
    assert outline_agreement(outline, mask) == 1.0
    assert outline_agreement(np.roll(outline, 1, axis=2), mask) == 1.0
    more, n = outline.copy(), np.count_nonzero(outline)
    more[0, 2, :5] = True  # far off
    assert outline_agreement(more, mask) == pytest.approx(2 * n / (2 * n + 5))
    assert outline_agreement(np.zeros_like(mask), mask) == 0.0
    assert outline_agreement(outline, np.zeros_like(mask)) == 0.0
    assert outline_agreement(np.zeros_like(mask), np.zeros_like(mask)) is None
    half = outline & (np.arange(2) == 0)[:, None, None]  # one of two slices
    assert outline_agreement(half, mask) == pytest.approx((0.5 + 1.0 * 0.5) / 1.5)


class Constant(torch.nn.Module):
    """Says 'outline' with one probability everywhere."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.logit = float(np.log(p / (1 - p)))

    def forward_region(self, image: torch.Tensor) -> torch.Tensor:
        logits = torch.full((image.shape[0], 3, *image.shape[2:]), -torch.inf)
        logits[:, 0], logits[:, 1] = 0.0, self.logit
        return logits


@pytest.mark.parametrize(("organ", "expected"), [((0.9, 0.3), True), ((0.5, 0.3), False)])
def test_folds_are_averaged(organ: tuple[float, float], expected: bool) -> None:
    image, model = kidneys(OBLIQUE.geometry)[0], stub_model()
    grid = image.geometry.cropped((0, 0, 0), (16, 16, 16))

    def with_edges(p: float, number: int) -> FoldNetwork:
        views = tuple(FoldNetwork(number, Constant(q), CPU, None, None) for q in (p, 0.1))
        return replace(model.fine[0], edges=views)

    without = model.fine[0]
    found = edges_on(grid, image, replace(model, fine=(with_edges(organ[0], 0), without, with_edges(organ[1], 1))))
    assert found is not None
    assert found.shape == (2, 16, 16, 16)
    assert (bool(found[0].all()), bool(found[0].any()), bool(found[1].any())) == (expected, expected, False)
    assert edges_on(grid, image, model) is None
