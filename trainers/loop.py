"""The training loop both stages share: steps, validation on fixed patches, log, checkpoints, interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from bisc.core.errors import WorkError
from bisc.losses import SCUNetLoss, Whole, unpack_targets
from bisc.network import Branches, SCUNet
from bisc.network.checkpoint import Checkpoint, save_checkpoint
from bisc.network.device import Device
from bisc.system.console import Stopped, stoppable, track
from bisc.system.paths import CHECKPOINT_BEST, CHECKPOINT_LAST
from bisc.trainers.allocator import keep_freed_memory
from bisc.trainers.augment import Augmentation
from bisc.trainers.compiled import LEAST_STEPS, Forward, compiled_where_it_pays
from bisc.trainers.log import BranchLosses, EpochTimes, write_log
from bisc.trainers.optimizers import learning_rate, make_optimizers, set_rate
from bisc.trainers.ranks import ALONE, Ranks
from bisc.trainers.resident import batches_for
from bisc.trainers.sampler import Batch, Sampler
from bisc.trainers.settings import RunSettings, to_plain

SAVE_EVERY_S: Final = 300.0
VALIDATION_BATCHES: Final = 12
GRADIENT_NORM: Final = 12.0
"""nnU-Net's clip; it only matters for the first steps of the fast presets."""
SETTLE_EVERY: Final = 32
"""Steps after which a GPU's losses are looked at: looking waits until it has done all it was given."""
OPTIMIZERS, SCALER = "optimizers", "scaler"


@dataclass
class TrainingRun:
    """One stage of one fold in training.

    Attributes:
        settings: What determines the run.
        plan: The plan as plain values; travels in the checkpoint.
        network: On `device`.
        train: Sampler of training batches.
        validation: Sampler of the fixed validation batches.
        folder: Where log and checkpoints go.
        device: Where and in which precision to compute.
        n_workers: Loader processes.
        compiles: Whether a GPU's network is compiled; None: where there are steps enough to go.
        track: Takes the log's rows by step, when a run goes on and at every epoch's end (`bisc.trainers.trackers`).
        ranks: The processes that train it together; the samplers cut this one's share.
    """

    settings: RunSettings
    plan: dict[str, Any]
    network: SCUNet
    train: Sampler
    validation: Sampler
    folder: Path
    device: Device
    n_workers: int
    compiles: bool | None = None
    track: Callable[[Mapping[int, Mapping[str, float]]], object] = lambda _: None
    ranks: Ranks = ALONE
    state: Checkpoint = field(init=False)
    saved_step: int = field(init=False, default=0)
    unsettled: list[Tensor] = field(init=False, default_factory=list)  # losses of the last steps, still on the device
    passed: list[dict[str, Tensor]] = field(init=False, default_factory=list)  # of the last step's passes, by branch
    by_branch: BranchLosses = field(init=False, default_factory=BranchLosses)
    """Of this epoch's passes."""
    forward: Forward = field(init=False)
    """The network's pass in training, compiled where that pays."""

    def __post_init__(self) -> None:
        s = self.settings
        self.optimizers = make_optimizers(s.optimizer, self.network, s.learning_rate)
        self.loss = SCUNetLoss(s.loss, s.loss_threshold, self.ranks.total)
        self.scaler = torch.amp.GradScaler(self.device.kind, enabled=self.device.scales_gradients)
        self.state = Checkpoint(settings=to_plain(s), plan=self.plan, network={})
        self.forward = self.network
        self.level_step, self.air = self.train.intensity.level_step, self.train.intensity.air
        self.augmented: Augmentation | None = None
        if s.augment:
            # Rough images differ a little in their spacing; what is turned out of the slice is little too.
            spacing = self.train.regions[0].record.spacing_mm_zyx
            places = self.ranks.places(s.batch_size, s.passes)
            self.augmented = Augmentation(s.seed, s.batch_size, places, spacing, self.train.intensity)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of the same settings."""
        self.network.load_state_dict(checkpoint.network)
        for optimizer, saved in zip(self.optimizers, checkpoint.optimizer[OPTIMIZERS], strict=True):
            optimizer.load_state_dict(saved)
        self.scaler.load_state_dict(checkpoint.optimizer[SCALER])
        self.state = checkpoint
        self.saved_step = checkpoint.step

    def run(self) -> None:
        """Train from the state's step to the end.

        Raises:
            Stopped: After SIGINT or SIGTERM, at the end of the step in hand, the state saved.
        """
        with stoppable(f"{self.folder}: interrupted"):
            try:
                self._train()
            except Stopped:  # raised between steps alone
                if self.saved_step < self.state.step:
                    self.save(CHECKPOINT_LAST)
                self.ranks.wait()  # whose launcher ends all as soon as one has ended
                raise

    def _train(self) -> None:
        s, state = self.settings, self.state
        if state.rows and self.ranks.first:  # the run may have been cut off between its checkpoint and its log
            self.track(write_log(self.folder, s, state.rows, None))
        self.prepare()
        fixed = [self.validation.batch(i) for i in range(VALIDATION_BATCHES)]
        if len(state.rows) < state.step // s.iterations:  # or between an epoch's last step and its validation
            self.end_epoch(fixed, EpochTimes())
        saved_at = time.monotonic()
        times = EpochTimes()
        with batches_for(self.train, self.device, state.step, s.total_steps, self.n_workers) as ahead:
            steps = track(
                range(state.step, s.total_steps),
                f"{s.stage} fold {s.fold}",
                s.total_steps,
                "step",
                state.step,
                between=self.ranks.check,
            )
            for step in steps:
                with times.waiting():
                    batch = next(ahead)
                with times.stepping():
                    self.train_step(batch, step)
                if state.step % s.iterations == 0:
                    self.end_epoch(fixed, times)
                    times, saved_at = EpochTimes(), time.monotonic()
                    steps.set_postfix_str(f"validation {state.rows[-1]['score']:.3f}")
                elif time.monotonic() - saved_at > SAVE_EVERY_S:
                    self.save(CHECKPOINT_LAST)
                    saved_at = time.monotonic()

    def prepare(self) -> None:
        """What is done once, before the first step."""
        s = self.settings
        if self.device.kind == "cpu":
            keep_freed_memory()
        pays = s.total_steps - self.state.step >= LEAST_STEPS if self.compiles is None else self.compiles
        of_pass = len(self.ranks.places(s.batch_size, s.passes)) // s.passes
        self.forward = compiled_where_it_pays(self.network, self.device, pays, of_pass, s.patch_size_zyx)

    def train_step(self, batch: Batch, step: int) -> None:
        """One optimiser step, after which the state counts it.

        Raises:
            WorkError: If the loss or its gradient, on a GPU one of the last `SETTLE_EVERY` steps', is not finite.
        """
        loss = self.gradients(batch, step)
        self.by_branch.add(self.passed)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        set_rate(self.optimizers, learning_rate(self.settings, step))
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        # A gradient that is not finite, which the scaler of half precision skips, is in all weights by now.
        self.unsettled.append(loss if self.scaler.is_enabled() else loss + 0.0 * norm)
        self.state.step = step + 1
        if self.device.kind == "cpu" or len(self.unsettled) == SETTLE_EVERY:
            self.settle()

    def gradients(self, batch: Batch, step: int) -> Tensor:
        """Leave a step's gradients in the network; returns the loss."""
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        self.passed = []
        parts = [self._on_device(part, step, i) for i, part in enumerate(batch.parts(self.settings.passes))]
        wholes = self.loss.wholes_of([packed for _, packed in parts])
        loss = torch.stack([self._pass(image, packed, wholes) for image, packed in parts]).sum()
        self.ranks.add_gradients(self.network)
        return loss

    def _pass(self, image: Tensor, packed: Tensor, wholes: tuple[Whole, ...] | None) -> Tensor:
        """Add the gradients of one part of a step's batch; returns its share of the loss."""
        with self.device.autocast():
            logits: Branches = self.forward(image)
        losses = self.loss.of_branches(logits, unpack_targets(packed), wholes)
        self.passed.append({branch: loss.detach() for branch, loss in losses.items()})
        loss: Tensor = torch.stack([*losses.values()]).mean() / self.settings.passes
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _on_device(self, part: Batch, step: int | None = None, number: int = 0) -> tuple[Tensor, Tensor]:
        """A part's normalised images and packed targets, augmented for a step's pass of that number."""
        image = self.device.put(part.levels).float().mul_(self.level_step).add_(self.air)
        targets = self.device.put(part.targets)
        if self.augmented is not None and step is not None:
            image, targets = self.augmented(image, targets, step, number)
        return image, targets

    def settle(self) -> None:
        """Wait for the steps in hand, and put their losses into the state.

        Raises:
            WorkError: If one is not finite.
        """
        if not self.unsettled:
            return
        values: list[float] = torch.stack(self.unsettled).tolist()
        first = self.state.step - len(values)
        self.unsettled = []
        for step, value in enumerate(values, first):
            if not math.isfinite(value):
                raise WorkError(
                    f"{self.folder}: the loss, or its gradient, is {value} at step {step}; lower the rate or use "
                    f"--precision fp32; the last good state is in {CHECKPOINT_LAST}"
                )
        self.state.epoch_losses += values

    def end_epoch(self, fixed: list[Batch], times: EpochTimes) -> None:
        """Validate, log, and save the last and, where it is, the best state."""
        self.settle()
        self.ranks.align(self.network)
        of_validation = BranchLosses()
        with times.validating():
            scores = self.validate(fixed, of_validation)
        self._count_epoch(*scores)
        of_training, self.by_branch = self.by_branch, BranchLosses()
        if not self.ranks.first:
            return
        rows = write_log(self.folder, self.settings, self.state.rows, None if self.device.deterministic else times)
        rows[self.state.step] |= of_training.means("train_loss", self.settings.iterations * self.settings.passes)
        rows[self.state.step] |= of_validation.means("val_loss", of_validation.n)
        self.track({self.state.step: rows[self.state.step]})

    def _count_epoch(self, loss: float, dice_kidney: float, dice_tumor: float) -> None:
        state, s = self.state, self.settings
        row = {
            "epoch": float(state.step // s.iterations),
            "step": float(state.step),
            "learning_rate": learning_rate(s, state.step - 1),
            "train_loss": float(np.mean(state.epoch_losses)),
            "val_loss": loss,
            "dice_kidney": dice_kidney,
            "dice_tumor": dice_tumor,
            "score": (dice_kidney + dice_tumor) / 2.0,
        }
        state.rows.append(row)
        state.epoch_losses = []
        better = row["score"] > state.best
        state.best = max(state.best, row["score"])
        self.save(*((CHECKPOINT_BEST,) if better else ()), CHECKPOINT_LAST)

    @torch.no_grad()
    def validate(self, fixed: list[Batch], by_branch: BranchLosses) -> tuple[float, float, float]:
        """Mean loss, and Dice of kidney (label > 0) and tumour over all voxels of the fixed patches by argmax;
        `by_branch` counts the losses of the branches.

        Raises:
            Stopped: If the user asks for it meanwhile.
        """
        self.network.eval()
        losses = []
        counts = torch.zeros((2, 3), dtype=torch.int64, device=self.device.device)
        for part in (part for batch in fixed for part in batch.parts(self.settings.passes)):
            self.ranks.check()
            image, packed = self._on_device(part)
            targets = unpack_targets(packed)
            with self.device.autocast():
                logits = self.network(image)
            of_branches = self.loss.of_branches(logits, targets)
            by_branch.add([of_branches])
            losses.append(float(torch.stack([*of_branches.values()]).mean()))
            found = logits.region.argmax(dim=1)
            for i, threshold in enumerate((1, 2)):
                p, y = found >= threshold, targets.region >= threshold
                counts[i] += torch.stack([(p & y).sum(), p.sum(), y.sum()])
        dice = [2 * c[0] / (c[1] + c[2]) if c[1] + c[2] else 1.0 for c in self.ranks.total(counts).tolist()]
        return float(np.mean(losses)), dice[0], dice[1]

    def save(self, *names: str) -> None:
        """Write the state, which is one between steps, under `names`, one after the other."""
        self.settle()
        if self.ranks.first:
            self.state.network = {**self.network.state_dict()}
            states = [optimizer.state_dict() for optimizer in self.optimizers]
            self.state.optimizer = {OPTIMIZERS: states, SCALER: self.scaler.state_dict()}
            first, *more = (self.folder / name for name in names)
            save_checkpoint(first, self.state, *more)
        if CHECKPOINT_LAST in names:
            self.saved_step = self.state.step
