"""SC-UNet: shapes, what trains what, its size."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from bisc.core.choices import EDGES, Edges
from bisc.network import Norm, SCUNet, count_parameters
from bisc.network.sc_unet import packed, unpacked
from bisc.planners.memory import n_parameters
from tests.support.training_fixtures import use_one_thread

use_one_thread()
NORMS: tuple[Norm, ...] = ("batch", "instance")
TRUNK = ("down_1", "down_2", "down_3", "bottom", "up_1", "up_2")
BRANCHES = ("region", "kidney_edge", "tumor_edge")


def image(*shape_zyx: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 1, *shape_zyx, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(16, 16, 16), (8, 16, 24), (32, 16, 48), (24, 8, 40)])
def test_each_branch_has_the_images_size(shape: tuple[int, int, int], norm: Norm) -> None:
    """Three regions, two classes per edge, every voxel; also where Z, Y and X differ."""
    network = SCUNet(2, norm)
    out = network(image(*shape, batch=2))
    assert [tuple(logits.shape) for logits in out] == [(2, 3, *shape), (2, 2, *shape), (2, 2, *shape)]
    assert out._fields == BRANCHES


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_each_branch_alone_trains_the_whole_trunk_and_no_other_branch(branch: str, norm: Norm) -> None:
    """The shared part learns from the regions and from both edges; the branches do not see each other."""
    torch.manual_seed(1)
    network = SCUNet(4, norm)
    logits = getattr(network(image(16, 16, 16, batch=2)), branch)
    torch.log_softmax(logits, 1)[:, 1].mean().backward()  # type: ignore[no-untyped-call]
    for name in (*TRUNK, branch):
        for weight in getattr(network, name).parameters():
            assert weight.grad is not None, name
        assert any(weight.grad.abs().max() > 0 for weight in getattr(network, name).parameters()), name
        convolutions = [m for m in getattr(network, name).modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
        assert all(m.weight.grad is not None and m.weight.grad.any() for m in convolutions), name
    for other in set(BRANCHES) - {branch}:
        assert all(weight.grad is None for weight in getattr(network, other).parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_edges_may_be_heads_or_left_out(norm: Norm) -> None:
    """Heads are two 1x1x1 classifiers on the region branch's features, which learn from them; off has none."""
    torch.manual_seed(1)
    heads, off, paper = SCUNet(4, norm, "heads"), SCUNet(4, norm, "off"), SCUNet(4, norm)
    out = heads(image(16, 8, 24, batch=2))
    assert [tuple(logits.shape) for logits in out] == [(2, 3, 16, 8, 24), (2, 2, 16, 8, 24), (2, 2, 16, 8, 24)]
    out.tumor_edge.square().mean().backward()
    for name in (*TRUNK, "tumor_edge"):
        assert all(weight.grad is not None for weight in getattr(heads, name).parameters()), name
    assert all(weight.grad is not None for weight in heads.region.group.parameters())
    assert all(weight.grad is None for weight in heads.region.classify.parameters())
    alone = off(image(16, 16, 16))
    assert (alone.kidney_edge, alone.tumor_edge) == (None, None)
    assert count_parameters(heads) == count_parameters(off) + 2 * (2 * 4 + 2)
    assert count_parameters(paper) > count_parameters(heads)
    with torch.no_grad():
        for network in (heads.eval(), off.eval()):
            x = image(16, 16, 16)
            assert torch.equal(network(x).region, network.forward_region(x))


def test_number_of_parameters_of_the_papers_width() -> None:
    """Counted again from figure 2: 3x3x3 convolutions without bias, two norm values per channel, three branches."""
    channels = [32, 64, 128, 256]
    convolutions = [(1, 32), (32, 32)]  # the encoder and the bottom group
    for narrow, wide in pairwise(channels):
        convolutions += [(narrow, wide), (wide, wide)]
    up_convolutions = [(256, 128), (128, 64)] + 3 * [(64, 32)]
    for _, out in up_convolutions:
        convolutions += [(2 * out, out), (out, out)]  # after concatenation with the encoder's `out` channels
    expected = sum(27 * i * o + 2 * o for i, o in convolutions)
    expected += sum(8 * i * o + o for i, o in up_convolutions)  # 2x2x2, with a bias
    expected += sum(32 * n + n for n in (3, 2, 2))  # 1x1x1 classifiers
    assert expected == 5_800_295
    for norm in NORMS:
        assert count_parameters(SCUNet(32, norm)) == expected


@pytest.mark.parametrize("features", [2, 8, 16])
def test_the_planner_counts_as_the_network_does(features: int) -> None:
    """The memory estimate rests on the real number of weights."""
    assert n_parameters(features) == count_parameters(SCUNet(features))


@pytest.mark.parametrize("norm", NORMS)
def test_the_region_branch_alone_gives_the_same(norm: Norm) -> None:
    """Prediction leaves the edges out and loses nothing."""
    network = SCUNet(4, norm).eval()
    with torch.no_grad():
        assert torch.equal(network.forward_region(image(16, 16, 16)), network(image(16, 16, 16)).region)


@pytest.mark.parametrize("shape", [(12, 16, 16), (16, 20, 16), (16, 16, 17), (1, 16, 16)])
def test_a_size_that_is_not_divisible_by_8_is_refused_by_name(shape: tuple[int, int, int]) -> None:
    """The message names the size and the rule, not a tensor deep inside."""
    with pytest.raises(ValueError, match=rf"\({', '.join(map(str, shape))}\) voxels.*divisible by \(8, 8, 8\)"):
        SCUNet(2)(image(*shape))


def test_squares_of_voxels_become_channels_and_come_back() -> None:
    """One 2 x 4 slice, counted by hand; and what is unpacked is what was packed, for each class."""
    slice_ = torch.tensor([[0.0, 1, 2, 3], [4, 5, 6, 7]])[None, None, None]
    assert packed(slice_, 2).tolist() == [[[[[0, 2]]], [[[1, 3]]], [[[4, 6]]], [[[5, 7]]]]]
    assert torch.equal(unpacked(packed(slice_, 2), 2), slice_)
    classes = torch.randn(2, 3, 4, 6, 8)
    apart = torch.cat([packed(classes[:, c : c + 1], 2) for c in range(3)], dim=1)
    assert torch.equal(unpacked(apart, 2), classes)
    assert packed(slice_, 1) is slice_


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("norm", NORMS)
def test_a_packed_network_answers_for_every_voxel(norm: Norm, edges: Edges) -> None:
    """Every branch has the image's size; the voxels of a square begin alike; 16 must divide the slice's sides."""
    torch.manual_seed(1)
    network = SCUNet(4, norm, edges, packing=2)
    out = network(image(8, 16, 32, batch=2))
    assert [tuple(o.shape[2:]) for o in out if o is not None] == [(8, 16, 32)] * (1 if edges == "off" else 3)
    corners = out.region.detach().unflatten(3, (8, 2)).unflatten(5, (16, 2))
    assert torch.equal(corners[:, :, :, :, 0, :, 0], corners[:, :, :, :, 1, :, 1])
    out.region.square().mean().backward()
    assert all(weight.grad is not None for weight in network.down_1.parameters())
    with pytest.raises(ValueError, match=r"\(16, 24, 16\) voxels.*divisible by \(8, 16, 16\)"):
        network(image(16, 24, 16))


def test_instance_norm_does_not_mix_the_batch_and_batch_norm_does() -> None:
    """The plan's norm is the one that is built."""
    both = torch.cat((image(16, 16, 16), 3.0 * image(16, 16, 16).flip(2)))
    for norm, mixes in (("batch", True), ("instance", False)):
        network = SCUNet(2, norm).train()  # type: ignore[arg-type]
        with torch.no_grad():
            together, alone = network(both).region[:1], network(both[:1]).region
        assert torch.allclose(together, alone, atol=1e-4) is not mixes


def test_the_start_keeps_the_signals_size() -> None:
    """Kaiming start: logits of a unit-variance image neither vanish nor explode."""
    torch.manual_seed(0)
    with torch.no_grad():
        out = SCUNet(8)(image(16, 32, 32))
    assert all(0.1 < float(logits.std()) < 10 for logits in out)
