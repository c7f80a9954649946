"""Losses: against arithmetic in view, and equation 1 against a slow literal loop."""

from __future__ import annotations

import subprocess
import sys
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from bisc.cli import train
from bisc.core.errors import InputError
from bisc.core.labels import pack_targets
from bisc.losses import LOSSES, SCUNetLoss, balanced_ce, ce, dice_ce, loss_by_name, unpack_targets
from bisc.network.checkpoint import load_checkpoint
from bisc.trainers import loop
from bisc.trainers.presets import PRESETS
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()


def voxels(*logits: tuple[float, ...]) -> Tensor:
    """(1, channels, 1, 1, n) logits of n voxels."""
    return torch.tensor(logits).T[None, :, None, None]


def classes(*values: int) -> Tensor:
    """(1, 1, 1, n) targets."""
    return torch.tensor(values)[None, None, None]


# Softmax of (log 3, 0) is (3/4, 1/4), of (0, log 4) is (1/5, 4/5).
TWO = voxels((log(3.0), 0.0), (0.0, log(4.0)))


def test_balanced_ce_of_two_voxels() -> None:
    """One voxel per channel: each channel's mean is its voxel's -log p."""
    assert float(balanced_ce(TWO, classes(0, 1))) == pytest.approx((-log(3 / 4) - log(4 / 5)) / 2)


def test_balanced_ce_leaves_out_a_channel_without_voxels() -> None:
    """Both voxels background: the mean is over one channel, not over two."""
    assert float(balanced_ce(TWO, classes(0, 0))) == pytest.approx((-log(3 / 4) - log(1 / 5)) / 2 / 1)


def test_balanced_ce_weighs_channels_not_voxels() -> None:
    """Three background voxels and one of channel 1: (3 * -log 3/4) / 3 and (-log 4/5) / 1 weigh the same."""
    logits = torch.cat((TWO[..., :1], TWO[..., :1], TWO), dim=-1)
    assert float(balanced_ce(logits, classes(0, 0, 0, 1))) == pytest.approx((-log(3 / 4) - log(4 / 5)) / 2)
    assert float(ce(logits, classes(0, 0, 0, 1))) == pytest.approx((-3 * log(3 / 4) - log(4 / 5)) / 4)


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, (-log(3 / 4) - log(4 / 5)) / 2),
        (0.22, (-log(3 / 4) - 0.0) / 2),  # 1 - 4/5 = 0.20 is not above T: the voxel drops out, its channel counts
        (0.3, 0.0),  # 1 - 3/4 = 0.25 drops out too
    ],
)
def test_balanced_ce_drops_voxels_below_the_threshold(threshold: float, expected: float) -> None:
    """The indicator of equation 1, worked out for 1/4 and 1/5 of missing probability."""
    assert float(balanced_ce(TWO, classes(0, 1), threshold)) == pytest.approx(expected)


def test_a_dropped_voxel_still_counts_in_the_denominator() -> None:
    """Two background voxels, one of them sure (p = 4/5 > 1 - T): -log(3/4) is divided by 2."""
    logits = voxels((log(3.0), 0.0), (log(4.0), 0.0))
    assert float(balanced_ce(logits, classes(0, 0), 0.22)) == pytest.approx(-log(3 / 4) / 2)


def test_ce_of_two_voxels() -> None:
    """The mean over voxels."""
    assert float(ce(TWO, classes(0, 0))) == pytest.approx((-log(3 / 4) - log(1 / 5)) / 2)


def test_dice_ce_of_two_voxels() -> None:
    """Channel 1 has p = (1/4, 4/5) and y = (0, 1): Dice 2 * 4/5 / (1/4 + 4/5 + 1); background has no Dice."""
    dice = 2 * 0.8 / (0.25 + 0.8 + 1.0)
    expected = (-log(3 / 4) - log(4 / 5)) / 2 + 1.0 - dice
    assert float(dice_ce(TWO, classes(0, 1))) == pytest.approx(expected, abs=1e-4)


def test_dice_ce_is_over_the_batch_and_over_foreground_channels() -> None:
    """Two images of one voxel, three channels, certain and right: both foreground Dices are 1, though one image has
    no voxel of channel 2."""
    logits = torch.tensor([[-50.0, 50.0, -50.0], [-50.0, -50.0, 50.0]])[:, :, None, None, None]
    target = torch.tensor([1, 2])[:, None, None, None]
    assert float(dice_ce(logits, target)) == pytest.approx(0.0, abs=1e-4)
    missed = dice_ce(logits, torch.tensor([1, 1])[:, None, None, None])  # Dice 2/3 and 0; cross-entropy (0 + 100) / 2
    assert float(missed) == pytest.approx(50.0 + 1.0 - (2 / 3) / 2, abs=1e-3)


def equation_1(logits: Tensor, target: Tensor, threshold: float) -> Tensor:
    """Equation 1 letter by letter, voxel by voxel, in double precision; the indicator reads plain numbers."""
    n_channels = logits.shape[1]
    flat = logits.double().movedim(1, -1).reshape(-1, n_channels)
    y = target.reshape(-1)
    channels = []
    for c in range(n_channels):
        total, count = torch.zeros((), dtype=torch.float64), 0
        for n in range(len(y)):
            y_cn = 1.0 if int(y[n]) == c else 0.0
            count += int(y_cn)
            p_cn = flat[n, c].exp() / flat[n].exp().sum()
            indicator = 1.0 if abs(y_cn - float(p_cn.detach())) > threshold else 0.0
            total = total + indicator * y_cn * p_cn.log()
        if count:
            channels.append(total / count)
    return -torch.stack(channels).sum() / len(channels)


@st.composite
def branch_cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    """Logits (batch, channels, 1, 1, n), targets in which channels may be missing, and T."""
    channels, batch, n = draw(st.integers(2, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 4))
    size = batch * channels * n
    values = draw(st.lists(st.floats(-6, 6, width=32), min_size=size, max_size=size))
    target = draw(st.lists(st.integers(0, channels - 1), min_size=batch * n, max_size=batch * n))
    threshold = draw(st.one_of(st.just(0.0), st.floats(0.0, 0.95)))
    logits = torch.tensor(values).reshape(batch, channels, 1, 1, n)
    return logits, torch.tensor(target).reshape(batch, 1, 1, n), threshold


@settings(max_examples=150, deadline=None)
@given(branch_cases())
def test_balanced_ce_is_equation_1(case: tuple[Tensor, Tensor, float]) -> None:
    """Value and gradient equal those of the literal loop, whose indicator is a constant for the gradient."""
    logits, target, threshold = case
    missing = 1.0 - logits.double().softmax(1).gather(1, target[:, None])
    assume(bool(((missing - threshold).abs() > 1e-5).all()))  # float32 may fall to either side of the edge
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = balanced_ce(fast, target, threshold), equation_1(slow, target, threshold)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-6)
    torch.autograd.backward([value, expected])
    assert fast.grad is not None
    assert slow.grad is not None
    assert torch.allclose(fast.grad, slow.grad, rtol=1e-3, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(branch_cases(), st.integers(2, 5), st.integers(0, 2))
def test_balanced_ce_does_not_see_how_many_voxels_a_class_has(
    case: tuple[Tensor, Tensor, float], times: int, which: int
) -> None:
    """Every voxel of one class repeated: nothing changes (plain cross-entropy does)."""
    logits, target, threshold = case
    flat, y = logits.movedim(1, -1).reshape(-1, logits.shape[1]), target.reshape(-1)
    assume(bool((y == which).any()))
    more = torch.cat((flat, flat[y == which].repeat(times, 1)))
    more_y = torch.cat((y, y[y == which].repeat(times)))
    value = balanced_ce(more.T[None, :, None, None], more_y[None, None, None], threshold)
    assert float(value) == pytest.approx(float(balanced_ce(logits, target, threshold)), rel=1e-4, abs=1e-6)


def test_losses_stay_finite_far_out() -> None:
    """A voxel wrong by 300 logits costs 300, not infinity, in half precision too."""
    for dtype in (torch.float32, torch.bfloat16):
        logits = voxels((300.0, 0.0), (0.0, 300.0)).to(dtype).requires_grad_()
        for name in LOSSES:
            loss = loss_by_name(name, 0.5)(logits, classes(1, 0))
            torch.autograd.backward(loss)
            assert 250 < float(loss.detach()) < 350
        assert logits.grad is not None
        assert bool(torch.isfinite(logits.grad).all())


def test_names_give_the_losses_they_say() -> None:
    """T reaches the balanced loss alone."""
    assert float(loss_by_name("balanced_ce", 0.22)(TWO, classes(0, 1))) == pytest.approx(-log(3 / 4) / 2)
    assert float(loss_by_name("ce", 0.22)(TWO, classes(0, 1))) == float(ce(TWO, classes(0, 1)))
    assert float(loss_by_name("dice_ce", 0.22)(TWO, classes(0, 1))) == float(dice_ce(TWO, classes(0, 1)))


@pytest.mark.parametrize("name", LOSSES)
def test_each_branch_has_its_own_loss(name: str) -> None:
    """By name, of its own logits and targets; a branch that is not there has none."""
    generator = torch.Generator().manual_seed(3)
    region, kidney_edge, tumor_edge = (torch.randn(2, c, 2, 2, 2, generator=generator) for c in (3, 2, 2))
    logits = region, kidney_edge, tumor_edge
    packed = torch.randint(0, 3, (2, 2, 2, 2), generator=generator, dtype=torch.uint8)
    packed |= torch.randint(0, 4, packed.shape, generator=generator, dtype=torch.uint8) << 2
    targets = unpack_targets(packed)
    one = loss_by_name(name, 0.1)
    expected = {branch: one(a, b) for branch, a, b in zip(targets._fields, logits, targets, strict=True)}
    assert SCUNetLoss(name, 0.1).of_branches(logits, targets) == expected
    alone = SCUNetLoss(name, 0.1).of_branches((region, None, None), targets)
    assert alone == {"region": expected["region"]}


def test_unpacked_targets_are_what_was_packed() -> None:
    """Each of the twelve combinations of label and edges: label + 4 * kidney edge + 8 * tumour edge."""
    labels = np.repeat(np.arange(3, dtype=np.uint8), 4)[None, None, None]
    kidney_edge = np.tile([False, False, True, True], 3)[None, None, None]
    tumor_edge = np.tile([False, True], 6)[None, None, None]
    packed = pack_targets(labels, kidney_edge, tumor_edge)
    assert packed.ravel().tolist() == [0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14]
    targets = unpack_targets(torch.from_numpy(packed))
    assert all(t.dtype == torch.int64 and t.shape == packed.shape for t in targets)
    for got, expected in zip(targets, (labels, kidney_edge, tumor_edge), strict=True):
        assert np.array_equal(got.numpy(), expected)


def test_a_sure_network_pays_what_its_certainty_says() -> None:
    """-log p of p = e^10 / (e^10 + 1) for every voxel, whatever the classes' sizes."""
    logits = voxels(*[(10.0, 0.0)] * 5, (0.0, 10.0))
    assert float(balanced_ce(logits, classes(0, 0, 0, 0, 0, 1))) == pytest.approx(log(1 + exp(-10.0)), rel=1e-2)


def test_a_loss_is_added_by_one_function(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """`focal`, as docs show it: the parser offers it, a training by the command uses it, and says so."""
    home = planned(tmp_path_factory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOSSES, "focal", focal)
        patch.setitem(PRESETS, "tiny", TINY)
        patch.setattr(loop, "VALIDATION_BATCHES", 1)
        patch.setenv("BISC_PREPROCESSED", str(home / "preprocessed"))
        patch.setenv("BISC_RESULTS", str(tmp_path))
        brief = ["--preset", "tiny", "--epochs", "1", "--iterations", "1", "--device", "cpu", "--no-validation"]
        assert train.main(["rough", "0", "-d", NAME, "--loss", "focal", *brief]) == 0
        assert "focal" in train.build_parser().format_help()
    saved = load_checkpoint(tmp_path / NAME / "rough" / "fold_0" / "checkpoint_last.pt")
    assert (saved.settings["loss"], saved.step) == ("focal", 1)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017), gamma 2: cross-entropy, each voxel weighed by (1 - p)^2."""
    log_p = logits.float().log_softmax(dim=1).gather(1, target[:, None])
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def test_focal_of_two_voxels() -> None:
    """Probabilities 3/4 and 4/5 of the right classes."""
    expected = -((1 / 4) ** 2 * log(3 / 4) + (1 / 5) ** 2 * log(4 / 5)) / 2
    assert float(focal(TWO, classes(0, 1))) == pytest.approx(expected)


def test_an_unknown_loss_is_refused_with_the_known_ones() -> None:
    """From Python, where no parser looks at the name first."""
    with pytest.raises(InputError, match="--loss: no loss 'none'; expected balanced_ce or ce or dice_ce"):
        SCUNetLoss("none")


def test_the_names_are_there_without_torch() -> None:
    """Whose import takes seconds: --help is quick."""
    script = "import sys, bisc.losses, bisc.cli.train as t; t.build_parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
