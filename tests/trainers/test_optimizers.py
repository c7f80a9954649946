"""Muon against its definition and torch's own; which parameter is whose."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bisc.network import SCUNet
from bisc.trainers.optimizers import (
    ADAM_SHARE_BESIDE_MUON,
    SHARE,
    Muon,
    make_optimizers,
    orthogonalised,
    set_rate,
)


@pytest.mark.parametrize("shape", [(4, 12), (12, 4), (6, 6)])
def test_orthogonalised_keeps_directions_and_evens_lengths(shape: tuple[int, int]) -> None:
    """Same singular vectors; singular values from 0.05 to 5 all come out near 1."""
    u, s, vh = torch.linalg.svd(torch.randn(*shape, generator=torch.manual_seed(3)), full_matrices=False)
    s = torch.logspace(-1.3, 0.7, len(s)).flip(0)
    (out,) = orthogonalised([u @ torch.diag(s) @ vh])
    inner = u.T @ out @ vh.T
    assert torch.allclose(inner, torch.diag(torch.diagonal(inner)), atol=1e-4)
    assert torch.diagonal(inner).min() > 0.3
    assert torch.diagonal(inner).max() < 1.3


def test_matrices_together_come_out_as_one_by_one_by_the_plain_iteration() -> None:
    """Of many shapes and scales, ill-conditioned ones among them, one all but zero; none at all."""
    generator = torch.manual_seed(4)
    shapes = [(4, 60), (60, 4), (32, 32), (16, 200), (1, 9)]
    matrices = [10.0**k * torch.randn(*shape, generator=generator) for k, shape in enumerate(shapes, start=-2)]
    matrices.append(torch.randn(24, 24, generator=generator) @ torch.diag(torch.logspace(-4, 0, 24)))
    matrices.append(1e-12 * torch.ones(3, 5))
    together = orthogonalised(matrices)
    for matrix, found in zip(matrices, together, strict=True):
        x = matrix.T if len(matrix) > matrix.shape[1] else matrix
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        expected = x.T if len(matrix) > matrix.shape[1] else x
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert orthogonalised([]) == []


@pytest.mark.parametrize("shape", [(8, 24), (24, 8)])
def test_muon_is_torchs_on_matrices(shape: tuple[int, int]) -> None:
    """Three steps beside torch.optim.Muon (which computes in bf16, hence the tolerance)."""
    theirs_class = getattr(torch.optim, "Muon", None)
    if theirs_class is None:
        pytest.skip("this torch has no Muon")
    start = torch.randn(*shape, generator=torch.manual_seed(5))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    one = Muon([{"params": [ours], SHARE: 1.0}], lr=0.1)
    other = theirs_class([theirs], lr=0.1, weight_decay=0.0, momentum=0.95, adjust_lr_fn="original")
    for step in range(3):
        ours.grad = torch.randn(*shape, generator=torch.manual_seed(step))
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    moved = theirs.detach() - start
    assert float((ours.detach() - theirs.detach()).norm() / moved.norm()) < 0.02


def test_a_filter_bank_is_a_matrix_of_its_outputs() -> None:
    """A (4, 2, 3, 3, 3) bank moves as its (4, 54) matrix does, in channels-last layout too."""
    grad = torch.randn(4, 2, 3, 3, 3, generator=torch.manual_seed(1))
    flat, bank = nn.Parameter(torch.zeros(4, 54)), nn.Parameter(torch.zeros(4, 2, 3, 3, 3))
    bank.data = bank.data.contiguous(memory_format=torch.channels_last_3d)
    flat.grad, bank.grad = grad.reshape(4, 54), grad.contiguous(memory_format=torch.channels_last_3d)
    for parameter in (flat, bank):
        Muon([{"params": [parameter], SHARE: 1.0}], lr=1.0).step()
    torch.testing.assert_close(bank.detach().reshape(4, 54), flat.detach())


def test_every_parameter_has_one_optimiser() -> None:
    """Muon has the filters between hidden levels; the first one, the classifiers, norms and biases are Adam's."""
    network = SCUNet(4, "instance")
    muon, adam = make_optimizers("muon", network, 0.01)
    names = {id(p): n for n, p in network.named_parameters()}
    ours = {names[id(p)] for p in muon.param_groups[0]["params"]}
    rest = {names[id(p)] for p in adam.param_groups[0]["params"]}
    assert ours | rest == set(names.values())
    assert not ours & rest
    assert {"down_1.0.weight", "region.classify.weight", "down_1.1.weight"} <= rest
    assert {"down_1.3.weight", "bottom.0.weight", "up_1.up.weight", "tumor_edge.group.convs.0.weight"} <= ours


def test_rates_are_shared_out() -> None:
    """Adam beside Muon steps at its share; Adam alone at the whole rate."""
    network = SCUNet(2, "instance")
    both = make_optimizers("muon", network, 1.0)
    set_rate(both, 0.5)
    assert [o.param_groups[0]["lr"] for o in both] == [0.5, 0.5 * ADAM_SHARE_BESIDE_MUON]
    (alone,) = make_optimizers("adam", network, 1.0)
    set_rate([alone], 0.25)
    assert alone.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("dead", [0, slice(0, 7)], ids=["one", "most"])
def test_filters_without_a_gradient_leave_no_denormal_numbers(dead: int | slice) -> None:
    """Their momentum would shrink to them within 1700 steps, and a CPU's products of such take many times as long. What
    the others have is what it would be without."""
    generator = torch.manual_seed(6)
    ours = nn.Parameter(torch.zeros(8, 4, 3, 3, 3))
    muon = Muon([{"params": [ours], SHARE: 1.0}], lr=0.1)
    momentum = torch.zeros(8, 108, dtype=torch.float64)
    for step in range(2200):
        gradient = torch.randn(8, 4, 3, 3, 3, generator=generator)
        if step > 10:
            gradient[dead] = 0.0
        ours.grad = gradient.clone()
        muon.step()
        momentum = 0.95 * momentum + 0.05 * gradient.flatten(1).double()
    kept = muon.state[ours]["momentum"]
    assert not ((kept != 0) & (kept.abs() < torch.finfo(torch.float32).tiny)).any()
    assert not kept[dead].any()
    expected = momentum.reshape(kept.shape).float()
    torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-6)
