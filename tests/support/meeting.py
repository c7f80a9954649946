"""What two processes do together in a test, and one alone: a few steps of each kind of run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.network.device import choose_device
from bisc.pipeline.train import TrainedFold
from bisc.planners.dataset import load_plan
from bisc.system.console import Stopped, ask_to_stop
from bisc.trainers.log import BranchLosses
from bisc.trainers.meeting import join
from bisc.trainers.place import Place
from bisc.trainers.ranks import ALONE, Ranks
from bisc.trainers.settings import RunSettings, run_settings
from bisc.trainers.stages import RoughTrainer, load_fold
from tests.support.training_fixtures import TINY, use_one_thread

KINDS: dict[str, dict[str, Any]] = {
    "balanced_ce": {"loss": "balanced_ce"},
    "ce": {"loss": "ce"},
    "dice_ce": {"loss": "dice_ce"},
    "augmented": {"loss": "balanced_ce", "augment": True},
    "briefly": {"loss": "balanced_ce", "augment": True, "passes": 2, "batch_size": 8, "patch_size_zyx": (16, 16, 16)},
    "in passes": {"loss": "balanced_ce", "passes": 2, "batch_size": 8},
    "uneven": {"loss": "dice_ce", "batch_size": 5},
}


def settings_of(preprocessed: Path, kind: str) -> RunSettings:
    """Adam at the paper's rate, instance norm, a batch of 4 where the kind says nothing."""
    made = run_settings(load_plan(preprocessed), "rough", 0, TINY, "fp32", epochs=1, iterations=24)
    common: dict[str, Any] = {"batch_size": 4, "norm": "instance", "optimizer": "adam", "learning_rate": 1e-4}
    return replace(made, **{**common, **KINDS[kind]})


def trained(
    preprocessed: Path, folder: Path, kind: str, steps: int, ranks: Ranks = ALONE
) -> tuple[list[float], torch.Tensor]:
    """Losses of so many steps with mean loss and both Dice of the validation after them, and all weights."""
    use_one_thread()
    settings = settings_of(preprocessed, kind)
    trainer = RoughTrainer(settings, preprocessed, folder, choose_device("cpu", "fp32"), ranks=ranks)
    run = trainer.training(load_plan(preprocessed), load_fold(preprocessed, 0))
    for step in range(steps):
        run.train_step(run.train.batch(step), step)
    scores = run.validate([run.validation.batch(i) for i in range(2)], BranchLosses())
    weights = torch.cat([p.detach().flatten() for p in run.network.parameters()])
    return [*run.state.epoch_losses, *scores], weights


def meet(
    preprocessed: Path,
    folder: Path,
    device: str,
    stage: str,
    fold: int,
    kinds: tuple[str, ...],
    steps: int,
    done: Callable[[TrainedFold], object],
) -> None:
    """Some kinds of run; words that only some say; the second process is asked to stop."""
    ranks = join(Place.from_environment(), device)
    curves = {}
    for kind in kinds:
        curves[kind], weights = trained(preprocessed, folder, kind, steps, ranks)
        torch.save(weights, folder / f"{kind} {ranks.number}.pt")
    assert (ranks.said(ranks.number + 0.25), ranks.least(5.0 - ranks.number)) == (0.25, 4.0)
    ranks.agree_on("the same")
    try:
        ranks.agree_on(f"mine: {ranks.number}")
        told = "nothing"
    except InputError as error:
        told = str(error)
    ranks.check()
    if not ranks.first:
        ask_to_stop()
    try:
        ranks.check()
        stopped = False
    except Stopped:
        stopped = True
    network = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.fill_(5.0 + ranks.number)
    ranks.align(network)
    ranks.wait()
    told_of = {"curves": curves, "told": told, "stopped": stopped, "aligned": network.weight.flatten().tolist()}
    text = json.dumps(told_of)
    done(TrainedFold(folder / str(ranks.number), settings_of(preprocessed, "ce"), (text,)))
    ranks.leave()
