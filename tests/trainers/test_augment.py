"""Augmentation: turned, scaled and toned by hand; image and targets together; the same draws whatever the device."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bisc.network.device import choose_device
from bisc.planners.dataset import load_plan
from bisc.trainers.augment import Draws, draw, moved, toned
from bisc.trainers.log import BranchLosses
from bisc.trainers.settings import run_settings
from bisc.trainers.stages import FineTrainer, load_fold
from tests.support.training_fixtures import NAME, TINY, planned, use_one_thread

use_one_thread()
AIR, TOP = -2.0, 3.0
SEEDS = ((1, 2, 0), (1, 2, 1))
NONE = Draws(
    turn_deg=np.zeros((2, 3)),
    scale=np.ones((2, 3)),
    noise=np.zeros(2),
    shift=np.zeros(2),
    blur=np.zeros(2),
    contrast=np.ones(2),
    gamma=np.ones(2),
    coarse=np.ones(2),
)


def case(shape: tuple[int, ...] = (2, 1, 4, 6, 6)) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 4 - 1.5


def test_nothing_drawn_changes_nothing() -> None:
    image, targets = case(), torch.arange(2 * 4 * 6 * 6).reshape(2, 4, 6, 6).to(torch.uint8)
    there, marks = moved(image, targets, NONE, (3.0, 1.0, 1.0), AIR)
    assert there is image
    assert marks is targets
    assert torch.allclose(toned(image, NONE, AIR, TOP, SEEDS), image, atol=1e-5)


def test_a_quarter_turn_in_the_slice_is_rot90() -> None:
    """Of the first case alone; voxels of 2 x 1 x 1 mm; targets go with the image."""
    image = case()
    targets = (image[:, 0] * 10 + 30).round().to(torch.uint8)
    turned = replace(NONE, turn_deg=np.array([[90.0, 0, 0], [0, 0, 0]]))
    there, marks = moved(image, targets, turned, (2.0, 1.0, 1.0), AIR)
    way = next(k for k in (1, 3) if torch.allclose(there[0], image[0].rot90(k, (2, 3)), atol=1e-4))
    assert torch.equal(marks[0], targets[0].rot90(way, (1, 2)))
    assert torch.allclose(there[1], image[1], atol=1e-5)
    assert torch.equal(marks[1], targets[1])


def test_a_quarter_turn_out_of_the_slice_is_in_mm() -> None:
    """About x: z and y change places. Rows 2.5 mm off the middle lie between slices at 1 and 3 mm, a quarter from 3."""
    image = torch.zeros(2, 1, 4, 8, 2)
    image[:, :, 0] = 1.0
    turned = replace(NONE, turn_deg=np.array([[0, 0, 90.0], [0, 0, 90.0]]))
    there, _ = moved(image, torch.zeros(2, 4, 8, 2, dtype=torch.uint8), turned, (2.0, 1.0, 1.0), AIR)
    rows = there[0, 0, 1, :, 0]
    assert sorted([float(rows[1]), float(rows[-2])]) == pytest.approx([0.0, 0.75], abs=1e-5)


def test_twice_as_large_about_the_middle() -> None:
    """A marked cube of 2 voxels becomes one of 4; what comes from outside is air, by a scale below 1."""
    image = torch.full((2, 1, 8, 8, 8), AIR)
    image[:, :, 3:5, 3:5, 3:5] = 1.0
    targets = (image[:, 0] > 0).to(torch.uint8)
    _, marks = moved(image, targets, replace(NONE, scale=np.full((2, 3), 2.0)), (3.0, 1.0, 1.0), AIR)
    assert marks[0].nonzero().min() == 2
    assert int(marks[0].sum()) == 4**3
    full = torch.full((2, 1, 8, 8, 8), 1.0)
    there, marks = moved(full, targets * 0 + 2, replace(NONE, scale=np.full((2, 3), 0.5)), (1.0, 1.0, 1.0), AIR)
    assert float(there[0, 0, 0, 0, 0]) == AIR
    assert int(marks[0, 0, 0, 0]) == 0
    assert int((marks[0] == 2).sum()) == 4**3


def test_tones_by_hand() -> None:
    """Contrast about the mean, shift, gamma between the clips; nothing leaves them."""
    image = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 1, 2).repeat(2, 1, 1, 1, 1)
    strong = replace(NONE, contrast=np.array([2.0, 1.0]), shift=np.array([0.0, 0.5]))
    assert toned(image, strong, AIR, TOP, SEEDS).flatten().tolist() == pytest.approx([-0.5, 1.5, 0.5, 1.5], abs=1e-5)
    dark = toned(image, replace(NONE, gamma=np.array([2.0, 1.0])), AIR, TOP, SEEDS).flatten()
    assert dark[:2].tolist() == pytest.approx([AIR + 5 * 0.4**2, AIR + 5 * 0.6**2], abs=1e-5)
    far = toned(image, replace(NONE, shift=np.array([9.0, -9.0])), AIR, TOP, SEEDS)
    assert (float(far.max()), float(far.min())) == (TOP, AIR)


def test_blur_and_coarse_sampling_keep_the_mean_and_noise_has_its_deviation() -> None:
    """A spot spreads within its slice alone, and only in the case that is blurred."""
    image = torch.zeros(2, 1, 3, 16, 16)
    image[:, :, 1, 8, 8] = 1.0
    blurred = toned(image, replace(NONE, blur=np.array([1.0, 0.0])), AIR, TOP, SEEDS)
    assert float(blurred[0].sum()) == pytest.approx(1.0, abs=1e-3)
    assert float(blurred[0, 0, 1, 8, 8]) == pytest.approx(1 / (2 * np.pi), rel=0.05)
    assert float(blurred[0, 0, 0].abs().max()) < 1e-5
    assert torch.allclose(blurred[1], image[1], atol=1e-5)
    coarse = toned(image, replace(NONE, coarse=np.array([0.5, 1.0])), AIR, TOP, SEEDS)
    assert torch.allclose(coarse[1], image[1], atol=1e-5)
    assert float(coarse[0].max()) < 1.0
    flat = torch.zeros(2, 1, 16, 16, 16)
    noisy = toned(flat, replace(NONE, noise=np.array([0.2, 0.0])), AIR, TOP, SEEDS)
    assert float(noisy[0].std()) == pytest.approx(0.2, rel=0.05)
    assert torch.allclose(noisy[1], flat[1], atol=1e-5)
    assert torch.equal(noisy, toned(flat, replace(NONE, noise=np.array([0.2, 0.0])), AIR, TOP, SEEDS))


@pytest.mark.parametrize("factor", [0.5, 0.625, 0.75, 0.999])
def test_coarse_sampling_moves_nothing(factor: float) -> None:
    """A ramp of 0.1 a pixel comes back in its place, but for its ends; half of the pixels alone moved it by half a
    pixel, which is 0.05."""
    ramp = (0.1 * torch.arange(32.0) - 1.6).repeat(2, 1, 2, 16, 1)
    moved = toned(ramp, replace(NONE, coarse=np.array([factor, 1.0])), AIR, TOP, SEEDS)[0] - ramp[0]
    assert abs(float(moved[..., 4:-4].mean())) < 0.01


def test_draws_depend_on_seed_and_step_alone_and_are_of_each_kind() -> None:
    """Over a thousand cases every kind is drawn as often as it says, and is neutral in the others."""
    many = draw(1, 7, 1000)
    again = draw(1, 7, 1000)
    for field in fields(Draws):
        values, neutral = getattr(many, field.name), getattr(NONE, field.name).flat[0]
        assert np.array_equal(values, getattr(again, field.name))
        assert not np.array_equal(values, getattr(draw(1, 8, 1000), field.name))
        assert not np.array_equal(values, getattr(draw(2, 7, 1000), field.name))
        share = np.mean(values.reshape(1000, -1)[:, 0] != neutral)
        assert 0.1 < share < 0.36
    part = many.of(range(4, 6))
    assert np.array_equal(part.scale, many.scale[4:6])


def test_an_augmented_run_is_the_same_again_and_another_than_without(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Two steps: weights equal to the bit when repeated, and not those of a run without; validation sees none
    of it."""
    preprocessed = planned(tmp_path_factory) / "preprocessed" / NAME
    plan = load_plan(preprocessed)
    weights, losses = [], []
    for augment in (True, True, False):
        settings = run_settings(plan, "fine", 0, TINY, "fp32", augment=augment)
        trainer = FineTrainer(settings, preprocessed, tmp_path, choose_device("cpu", "fp32"))
        run = trainer.training(plan, load_fold(preprocessed, 0))
        fixed = [run.validation.batch(0)]
        losses.append(run.validate(fixed, BranchLosses())[0])
        for step in range(2):
            run.train_step(run.train.batch(step), step)
        weights.append(torch.cat([p.detach().flatten() for p in run.network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert len(set(losses)) == 1
