"""One stage trained on one fold or on all of them, then validated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from bisc.core.choices import EDGES, TRACKERS, Edges, Stage, TrackerName
from bisc.core.errors import InputError
from bisc.losses import LOSSES, takes_threshold
from bisc.network.device import choose_device
from bisc.pipeline.fresh import check_caches
from bisc.pipeline.launch import launch
from bisc.pipeline.validate import check_rough, finish_fold
from bisc.planners.dataset import load_plan, load_splits
from bisc.system.console import notice
from bisc.system.files import remove_partial
from bisc.system.jsonfile import load_json
from bisc.system.memory import usable_cores
from bisc.system.paths import CHECKPOINT_LAST, IMPORTED, VALIDATION, Folders, find_dataset, fold_folder, name_of
from bisc.trainers.budget import within_budget
from bisc.trainers.compiled import LEAST_S
from bisc.trainers.meeting import join
from bisc.trainers.passes import choose_passes, free_on
from bisc.trainers.place import Place
from bisc.trainers.presets import preset_by_name
from bisc.trainers.settings import DEFAULT_SEED, RunSettings, run_settings
from bisc.trainers.stages import RUN, TRAINERS, FineTrainer, Trainer, check_plan, sole_training

MOST_SEED: Final = 2**62
FITTED: Final = ("epochs", "iterations", "patch_size_zyx", "batch_size", "base_features", "norm", "passes")
"""What `--minutes` decides."""
LEAST_OF_TIME, MOST_OF_TIME = 0.8, 1.1
"""Of `--minutes`, that a run may take without a word."""


@dataclass(frozen=True)
class TrainedFold:
    """One fold of one stage, trained.

    Attributes:
        folder: RESULTS/NAME/STAGE/fold_K, with checkpoints, log.csv, progress.png and validation/.
        settings: What determined the run.
        lines: What its validation shows, in words; empty without one.
    """

    folder: Path
    settings: RunSettings
    lines: tuple[str, ...]


def train(
    stage: Stage,
    fold: int | Literal["all"] | tuple[()],
    dataset: str | Path | None = None,
    *,
    plan_name: str | None = None,
    preset: str = "paper",
    loss: str | None = None,
    loss_threshold: float | None = None,
    edges: Edges | None = None,
    augment: bool | None = None,
    decoys: float | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    minutes: float | None = None,
    seed: int = DEFAULT_SEED,
    device: str | None = None,
    precision: str = "auto",
    deterministic: bool = False,
    workers: int | None = None,
    passes: int | None = None,
    resume: bool = False,
    validate: bool = True,
    log: TrackerName | None = None,
    gpus: int | None = None,
    done: Callable[[TrainedFold], object] = lambda _: None,
) -> tuple[TrainedFold, ...]:
    """Train one stage of a planned data set; `rough` comes first, `fine` is validated through it.

        bisc.train("rough", 0, "KiTS19")
        (fine,) = bisc.train("fine", 0, "KiTS19", preset="quick")
        fine.lines    # ("fine fold 0, argmax: Dice kidney 0.962, ...", ...)

    Args:
        stage: 'rough' finds the kidneys, 'fine' segments their ROIs.
        fold: Its number, or 'all', one after the other; of none, (), it is only seen whether the arguments are right.
        dataset: A name under the preprocessed folder, or a path; None: the only one there is.
        plan_name: Of one of its plans; None: the default one.
        preset: A name of `bisc.trainers.presets`.
        loss: By name; None: the preset's, as for the next six.
        loss_threshold: T of a loss that has one (balanced_ce), 0 <= T < 1.
        edges: 'branches', 'heads' or 'off': where the outlines are learnt.
        augment: Turn, scale and tone the patches.
        decoys: Of the fine stage alone: part of the patches that are of places without a kidney.
        epochs: How many.
        iterations: Steps of an epoch.
        minutes: Instead: as many as this machine does in about so long, the fold's validation not counted.
        seed: Of weights and batches.
        device: 'cpu', 'cuda' or 'cuda:N'; None: CUDA where there is one.
        precision: 'auto', 'fp32', 'bf16' or 'fp16'.
        deterministic: The same bytes each time, on a CPU.
        workers: Loader processes; None: none on a CPU, else up to 4. More than 0 needs the usual
            `if __name__ == "__main__"` in a script.
        passes: Parts of a batch; None: as memory demands.
        resume: Go on from the last checkpoint; without it an older run is moved aside.
        validate: Fit the decision's offsets and score the fold's validation cases.
        log: 'tensorboard' or 'mlflow': curves there too (extras of these names); one that fails ends no training.
        gpus: How many processes of this machine train together, each on a GPU of its own, or with `device='cpu'`;
            batches and losses are those of one. More than 1 needs the usual `if __name__ == "__main__"` in a script.
            Processes that torchrun started train together without it.
        done: Takes each fold when it is finished.

    Returns:
        The trained folds, in order.

    Raises:
        InputError: If the data set is not planned, an argument is out of range, the fold's rough stage is missing or
            not finished, or networks of another plan are there.
        WorkError: If the work failed, or processes that train together were lost again and again.
        KeyboardInterrupt: After Ctrl-C; the state is saved.
    """
    given = dict(locals())  # what each process of several is given
    folders = Folders.from_environment()
    name = None if dataset is None else str(dataset)
    preprocessed = find_dataset(
        folders.preprocessed,
        name,
        "plan.json",
        "preprocessed data set",
        "run bisc_plan_and_preprocess first",
        plan_name,
    )
    if stage not in TRAINERS:
        raise InputError("stage", repr(stage), " or ".join(TRAINERS))
    least = {
        "epochs": (epochs, 1),
        "iterations": (iterations, 1),
        "seed": (seed, 0),
        "workers": (workers, 0),
        "gpus": (gpus, 1),
    }
    for option, (value, lowest) in least.items():
        if value is not None and value < lowest:
            raise InputError(f"--{option}", str(value), f"at least {lowest}")
    if seed > MOST_SEED:
        raise InputError("--seed", str(seed), f"at most {MOST_SEED}")
    if loss_threshold is not None and not 0.0 <= loss_threshold < 1.0:
        raise InputError("--loss-threshold", str(loss_threshold), "0 <= T < 1")
    if minutes is not None:
        if not 0.0 < minutes < math.inf:
            raise InputError("--minutes", f"{minutes}", "a positive number")
        if iterations is not None or deterministic:
            other = "--deterministic" if deterministic else "--iterations"
            raise InputError("--minutes", f"given with {other}", "one of the two", "leave one of them out")
    if decoys is not None:
        if not 0.0 <= decoys <= FineTrainer.policy.p_rest:
            raise InputError("--decoys", f"{decoys:g}", f"0 to {FineTrainer.policy.p_rest}")
        if stage != "fine":
            raise InputError("--decoys", f"given with stage {stage}, which has none", "it with stage fine")
    if edges is not None and edges not in EDGES:
        raise InputError("--edges", repr(edges), " or ".join(EDGES))
    if log is not None and log not in TRACKERS:
        raise InputError("--log", repr(log), " or ".join(TRACKERS))
    plan, chosen, folds = load_plan(preprocessed), preset_by_name(preset), _folds(fold, preprocessed)
    of_run = loss or (chosen.rough if stage == "rough" else chosen.fine).loss
    if loss_threshold is not None and of_run in LOSSES and not takes_threshold(of_run):
        with_one = " or ".join(f"--loss {name}" for name in LOSSES if takes_threshold(name))
        raise InputError("--loss-threshold", f"given with the loss {of_run}, which has none", with_one, "leave it out")
    results = folders.results / name_of(preprocessed)
    if (results / IMPORTED).is_file():
        raise InputError(
            results / IMPORTED,
            "is an imported model: weights without optimiser state, which training cannot go on from",
            "a folder of this data set's own",
            f"rename the folder {results}, and train",
        )
    if folds:
        check_plan(results, plan, [] if resume else [fold_folder(results, stage, k) for k in folds])
    place = Place.from_environment()
    if gpus is not None and gpus > 1:
        if place.n > 1:
            raise InputError("--gpus", "given to processes that torchrun started", "one of the two", "leave it out")
        return launch(train, {key: given[key] for key in given.keys() - {"gpus", "done"}}, gpus, done)
    for k in folds if place.number == 0 else ():  # before what takes time, so that even a run cut off leaves none of it
        trained = fold_folder(results, stage, k)
        for folder in (results, trained, trained / VALIDATION):
            remove_partial(folder)
    on = choose_device(place.device(device), precision, deterministic)
    if stage == "fine" and validate:
        check_rough(folds, plan, preprocessed, results)
    if not folds:
        return ()
    check_caches(stage, _cases(folds, preprocessed), plan, preprocessed)
    ranks = join(place, on.kind)
    # Else other programs would have a say in the bytes.
    free = None if deterministic else ranks.least(free_on(on) / (place.n_local if on.kind == "cpu" else 1))
    if workers is None:
        workers = 0 if on.kind == "cpu" else min(4, max(1, usable_cores() // place.n_local))
    all_done: list[TrainedFold] = []
    for k in folds:
        trained = fold_folder(results, stage, k)
        with sole_training(trained) if ranks.first else nullcontext():
            settings = run_settings(
                plan,
                stage,
                k,
                chosen,
                on.precision,
                loss,
                loss_threshold,
                epochs=epochs,
                iterations=iterations,
                seed=seed,
                edges=edges,
                augment=augment,
                decoys=decoys,
            )
            fitting = on.for_patch(settings.patch_size_zyx)
            settings = msgspec.structs.replace(settings, precision=fitting.precision)
            goes_on = resume or bool(ranks.said(ranks.began(trained)))
            last = trained / CHECKPOINT_LAST if goes_on else None
            settings = choose_passes(settings, passes, last, free, ranks)
            trainer = TRAINERS[stage](settings, preprocessed, results, fitting, workers, log=log, ranks=ranks)
            began = time.monotonic()
            if minutes is not None:
                trainer.compiles = 60.0 * minutes >= LEAST_S  # the probe too, which steps are counted by
                trainer.settings = _fitted(
                    trainer, 60.0 * minutes, chosen.narrows, goes_on=last is not None and last.exists()
                )
            if chosen.name == "paper":
                notice("preset paper", "trains as the paper does", "--preset best learns more in the same time")
            folder = trainer.run(resume=goes_on)
            settings = trainer.settings
            if minutes is not None and ranks.first and not goes_on:
                _tell_of_time(f"{stage} fold {k}", (time.monotonic() - began) / 60.0, minutes)
            if k == folds[-1]:
                ranks.leave()  # the first process alone has work left
            lines = finish_fold(stage, k, preprocessed, results, on) if validate and ranks.first else []
            all_done.append(TrainedFold(folder, settings, tuple(lines)))
            if ranks.first:
                done(all_done[-1])
    return tuple(all_done)


def _tell_of_time(what: str, took: float, minutes: float) -> None:
    """Steps are counted by the first ones' time, and their number must be known from the beginning."""
    pace = "slower" if took > minutes else "quicker"
    if not LEAST_OF_TIME <= took / minutes <= MOST_OF_TIME:
        found = f"took {took:.1f} of {minutes:g} minutes"
        notice(what, found, f"its steps became {pace} than the first ones, by which they were counted")


def _folds(fold: int | Literal["all"] | tuple[()], preprocessed: Path) -> list[int]:
    n = len(load_splits(preprocessed).folds)
    if fold == ():
        return []
    if fold == "all":
        return list(range(n))
    if type(fold) is not int or fold not in range(n):
        raise InputError(f"fold {fold}", "is not in splits.json", f"0 to {n - 1}, or all")
    return [fold]


def _cases(folds: Sequence[int], preprocessed: Path) -> set[str]:
    there = load_splits(preprocessed).folds
    return {name for k in folds for name in (*there[k].train, *there[k].val)}


def _fitted(trainer: Trainer, seconds: float, narrows: bool, goes_on: bool) -> RunSettings:
    """The settings with the steps that fit; those of a run that is gone on with, whose schedule has its end already."""
    if not goes_on:
        return within_budget(trainer, seconds, narrows)
    begun = load_json(trainer.folder / RUN, RunSettings, "leave --minutes out")
    return msgspec.structs.replace(trainer.settings, **{name: getattr(begun, name) for name in FITTED})
