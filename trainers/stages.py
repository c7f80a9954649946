"""RoughTrainer and FineTrainer: what differs between the stages, over one loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import torch

from bisc.core.choices import Stage, TrackerName
from bisc.core.errors import InputError
from bisc.network import SCUNet
from bisc.network.checkpoint import (
    CASCADE_KEYS,
    Checkpoint,
    differences,
    load_checkpoint,
    mark_of,
    plan_conflicts,
)
from bisc.network.device import Device
from bisc.planners.dataset import cache_settings, load_plan, load_splits
from bisc.planners.plan import Plan
from bisc.planners.splits import Fold
from bisc.preprocessing.cache import JITTER_MM, check_settings, digest_of_voxels
from bisc.system.console import notice
from bisc.system.files import make_folder
from bisc.system.jsonfile import load_json, save_json
from bisc.system.locks import only_user
from bisc.system.paths import CHECKPOINT_BEST, CHECKPOINT_LAST, fold_folder
from bisc.trainers.loop import TrainingRun
from bisc.trainers.passes import check_shares
from bisc.trainers.ranks import ALONE, Ranks
from bisc.trainers.sampler import Sampler, SamplingPolicy, index_regions
from bisc.trainers.settings import LEGACY_SHARE, RunSettings, to_plain
from bisc.trainers.trackers import tracker_of

PREVIOUS = "previous"
RUN = "run.json"
PLAN = "plan.json"
ADDED = {"passes": 1, "edges": "branches", "packing": 1, "augment": False, "decoys": False, "decoy_share": LEGACY_SHARE}
"""Settings of runs that were begun before there were others."""
TRAIN_ANEW = "go on with those, or leave --continue out to train anew"


@dataclass
class Trainer:
    """Trains one stage on one fold.

    Attributes:
        settings: What determines the run.
        preprocessed: The data set's folder of plan, splits and caches.
        results: The data set's folder of results.
        device: Where to compute.
        n_workers: Loader processes; 0 loads in this process.
        compiles: Whether a GPU's network is compiled; None: where there are steps enough.
        log: What else is told of the run, beside log.csv.
        ranks: The processes that train together.
    """

    stage: ClassVar[Stage]
    policy: ClassVar[SamplingPolicy]

    settings: RunSettings
    preprocessed: Path
    results: Path
    device: Device
    n_workers: int = 0
    compiles: bool | None = None
    log: TrackerName | None = None
    ranks: Ranks = ALONE

    @property
    def folder(self) -> Path:
        """RESULTS/NAME/STAGE/fold_K."""
        return fold_folder(self.results, self.stage, self.settings.fold)

    def run(self, resume: bool = False) -> Path:
        """Train to the end and return the fold's folder.

        Args:
            resume: Go on from the last checkpoint where there is one (`--continue`).

        Raises:
            InputError: If plan, splits, caches or checkpoint are missing or do not fit.
            KeyboardInterrupt: After SIGINT or SIGTERM, the state saved.
        """
        plan, fold = load_plan(self.preprocessed), load_fold(self.preprocessed, self.settings.fold)
        training = self.training(plan, fold)
        last = self.folder / CHECKPOINT_LAST
        if resume and last.exists():
            self.go_on(training, last, plan, fold)
        elif self.ranks.first:
            set_aside(self.folder)
        if self.ranks.first:
            make_folder(self.folder)
            self.ranks.mark(self.folder)
            save_json(self.folder / RUN, self.settings)
            save_json(self.results / PLAN, plan)
            if self.log is not None:
                training.track = tracker_of(self.log, self.folder, self.settings, training.plan)
        state = training.state
        told = f"{training.settings} {training.plan} {fold} {state.step} {state.rows} {state.best}"
        if self.ranks.n > 1 and state.step:  # fresh weights may differ by rounding; those of a checkpoint may not
            told += f" {mark_of(training.network)}"
        self.ranks.agree_on(told)
        self.ranks.align(training.network)
        training.run()
        return self.folder

    def go_on(self, training: TrainingRun, last: Path, plan: Plan, fold: Fold) -> None:
        """Bring `training` to the state of a checkpoint of the same settings.

        Raises:
            InputError: If the checkpoint is of other settings, another plan or other cases, or its state does not fit.
        """
        checkpoint = self._resumable(last, plan, fold)
        try:
            training.resume(checkpoint)
        except Exception as error:  # optimisers take any dictionary apart, each in its own way
            reason = f"its state does not fit ({type(error).__name__}: {error})"
            raise InputError(last, reason, "an unchanged checkpoint", TRAIN_ANEW) from error

    def _resumable(self, last: Path, plan: Plan, fold: Fold) -> Checkpoint:
        checkpoint = load_checkpoint(last)
        settings = to_plain(self.settings)
        begun = {**ADDED, **checkpoint.settings}
        if begun != settings:
            raise InputError(last, _difference(begun, settings), "the settings it was begun with", TRAIN_ANEW)
        conflicts = plan_conflicts(checkpoint, msgspec.to_builtins(plan))
        if conflicts:
            raise InputError(
                last, f"was begun with another plan: {conflicts}", "the plan it was begun with", TRAIN_ANEW
            )
        check_unseen(last, checkpoint, fold)
        if checkpoint.cases and {*checkpoint.cases} != {*fold.train}:
            found = f"was trained on {len(checkpoint.cases)} cases, others than the {len(fold.train)} of this fold now"
            raise InputError(last, found, "the folds it was begun with", TRAIN_ANEW)
        if checkpoint.voxels and checkpoint.voxels != (self._voxels(fold) or checkpoint.voxels):
            found = "was trained on other voxels or labels of its cases than their caches hold now"
            if checkpoint.step < self.settings.total_steps:
                raise InputError(last, found, "those it was begun with", TRAIN_ANEW)
            notice(last, found, "it stays as it is; leave --continue out to train anew")
        if checkpoint.step > self.settings.total_steps:
            raise InputError(last, f"step {checkpoint.step}", f"at most {self.settings.total_steps}", TRAIN_ANEW)
        if not checkpoint.optimizer:
            raise InputError(last, "holds no optimiser state", "a checkpoint that was not exported", TRAIN_ANEW)
        return checkpoint

    def training(self, plan: Plan, fold: Fold) -> TrainingRun:
        """The run at its start, nothing on disk yet.

        Raises:
            InputError: If the processes cannot share it.
        """
        s = self.settings
        check_shares(s, self.device.kind, self.ranks)
        with torch.random.fork_rng(devices=[]):  # a caller's own chance goes on as it was
            torch.manual_seed(s.seed + 1000 * s.fold)
            network = SCUNet(s.base_features, s.norm, s.edges, s.packing)  # type: ignore[arg-type]
        run = TrainingRun(
            settings=s,
            plan=msgspec.json.decode(msgspec.json.encode(plan)),
            network=self.ranks.synced(self.device.put_network(network)),
            train=self.sampler(plan, fold.train, s.seed),
            # Far from any training step's seed; patches stay the same in every epoch and run.
            validation=self.sampler(plan, fold.val, s.seed + 10**6),
            folder=self.folder,
            device=self.device,
            n_workers=self.n_workers,
            compiles=self.compiles,
            ranks=self.ranks,
        )
        run.state.cases, run.state.voxels = list(fold.train), self._voxels(fold)
        return run

    def _voxels(self, fold: Fold) -> str:
        return digest_of_voxels([self.preprocessed / self.stage / name for name in fold.train])

    def sampler(self, plan: Plan, names: list[str], seed: int) -> Sampler:
        """Patches of the named cases."""
        folders = [self.preprocessed / self.stage / name for name in names]
        check_settings(folders, cache_settings(plan))
        return Sampler(
            regions=index_regions(folders, self.settings.decoys),
            patch_size_zyx=self.settings.patch_size_zyx,
            batch_size=self.settings.batch_size,
            policy=replace(self.policy, p_decoy=self.settings.decoy_share if self.settings.decoys else 0.0),
            seed=seed,
            intensity=plan.intensity,
            mirror_axes=self.settings.mirror_axes,
            places=self.ranks.places(self.settings.batch_size, self.settings.passes),
        )


class RoughTrainer(Trainer):
    """The rough stage: the whole field of view in plane, patches cropped in z."""

    stage = "rough"
    policy = SamplingPolicy(p_tumor=0.3, p_kidney=0.5)


class FineTrainer(Trainer):
    """The fine stage: kidney ROIs from the labels, their ends jittered as a rough mask's errors would."""

    stage = "fine"
    policy = SamplingPolicy(p_tumor=0.4, p_kidney=0.3, jitter_mm_zyx=JITTER_MM)


TRAINERS: dict[str, type[Trainer]] = {"rough": RoughTrainer, "fine": FineTrainer}


def load_fold(preprocessed: Path, fold: int) -> Fold:
    """One fold of a data set's splits.

    Raises:
        InputError: If there is no such fold.
    """
    folds = load_splits(preprocessed).folds
    if not 0 <= fold < len(folds):
        raise InputError(f"fold {fold}", "is not in splits.json", f"0 to {len(folds) - 1}, or all")
    return folds[fold]


def check_unseen(path: Path, checkpoint: Checkpoint, fold: Fold) -> None:
    """Refuse a network that was trained on what it would be validated on: the folds were others then.

    Raises:
        InputError: If it was.
    """
    # A data set of one case validates what it trains on.
    seen = sorted({*checkpoint.cases} & {*fold.val} - {*fold.train})
    if seen:
        some = ", ".join(seen[:3]) + (f" and {len(seen) - 3} more" if len(seen) > 3 else "")
        found = f"was trained on cases that its fold validates since the folds were changed: {some}"
        raise InputError(path, found, "a network that has not seen them", "train it anew, without --continue")


def check_plan(results: Path, plan: Plan, anew: Sequence[Path] = ()) -> None:
    """Refuse to train under another plan beside networks that are there: with it, which is one for all, they could not
    be used any more.

    Args:
        results: RESULTS/NAME.
        plan: To train under.
        anew: The folders of runs that are begun anew, and moved aside.

    Raises:
        InputError: If a network stays that was trained with another plan.
    """
    path = results / PLAN
    there = [last.parent for stage in TRAINERS for last in results.glob(f"{stage}/fold_*/{CHECKPOINT_LAST}")]
    stay = sorted({*there} - {*anew})
    if not stay or not path.exists():
        return
    kept = load_json(path, Plan, f"move {results} away, and train anew")
    conflicts = differences(msgspec.to_builtins(kept), msgspec.to_builtins(plan), CASCADE_KEYS)
    if conflicts:
        found = f"{stay[0].relative_to(results).as_posix()} was trained with another plan: {conflicts}"
        mend = f"give the new one a name (bisc_plan_and_preprocess --plan NAME), or rename {results} and train anew"
        raise InputError(path, found, "one plan for all networks", mend)


@contextmanager
def sole_training(folder: Path) -> Iterator[None]:
    """Nobody else trains in a fold's folder, or begins to, until the block ends.

    Raises:
        InputError: If another process does.
    """
    make_folder(folder.parent)
    with only_user(folder) as mine:
        if not mine:
            found = "another process is training there"
            raise InputError(folder, found, "one at a time", "wait for it, or interrupt it and go on with --continue")
        yield


def set_aside(folder: Path) -> bool:
    """Move an older run to STAGE/previous/, so that training anew never destroys a model; whether there was one."""
    if not any((folder / name).exists() for name in (CHECKPOINT_LAST, CHECKPOINT_BEST)):
        return False
    number = 1
    while (folder.parent / PREVIOUS / f"{folder.name}_{number}").exists():
        number += 1
    make_folder(folder.parent / PREVIOUS)
    folder.rename(folder.parent / PREVIOUS / f"{folder.name}_{number}")
    return True


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    keys = [k for k in new if old.get(k) != new[k]] + [k for k in old if k not in new]
    return "was begun with other settings: " + ", ".join(f"{k} {old.get(k)} (now {new.get(k)})" for k in keys[:4])
