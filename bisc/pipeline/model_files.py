"""Model files: a trained cascade packed into one file, put to use elsewhere, and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import torch

from bisc._version import __version__
from bisc.core.choices import STAGES, Stage
from bisc.core.errors import InputError, one_line
from bisc.inference.model import NetworkSettings, trained_network
from bisc.inference.postprocessing import FILE as POSTPROCESSING
from bisc.inference.record import FORMAT_VERSION, ModelRecord, NetworkEntry
from bisc.inference.sources import CARD, EXPECTED, RECORD, Folder, ModelFile, file_of, open_source, read_model_file
from bisc.network.checkpoint import Checkpoint, mark_of
from bisc.network.weights import to_safetensors
from bisc.pipeline.model_card import card_of, info_lines
from bisc.pipeline.model_facts import training_data, trial, validations
from bisc.system.console import notice
from bisc.system.files import PARTIAL, make_folder, remove_partial, write_bytes
from bisc.system.jsonfile import to_json
from bisc.system.paths import IMPORTED, Folders, name_fault, name_of
from bisc.system.sealed import sealed

MAX_LICENCE: Final = 200
MAX_NOTE: Final = 4000
"""Characters."""
OLD: Final = "an archive of before there were model files, which carries no checksums"
EXPORT_AGAIN: Final = "export the training again (bisc_model export); bisc_predict -m reads it as it is"


def export_model(
    results: Path,
    folds: Sequence[int] | None,
    target: Path,
    *,
    licence: str = "",
    notes: Sequence[str] = (),
    tried_on: Sequence[str] = (),
    preprocessed: Path | None = None,
) -> ModelRecord:
    """Pack a results folder into a model file: plan, weights (no optimiser state), what is known of it, checksums.

    The same training gives the same bytes, with the same version of this package and of torch.

    Args:
        results: RESULTS/NAME.
        folds: Folds to pack; None takes all that are there and trained to their end.
        target: The .zip to write.
        licence: Under which the weights may be used, an SPDX identifier at best; empty: not stated.
        notes: Whatever else should stand in the model card.
        tried_on: Summaries of evaluations (report_summary.csv, or LABEL=report_summary.csv), for the model card.
        preprocessed: PREPROCESSED/NAME, which knows the training data; None looks in the usual place.

    Returns:
        What stands in its `model.json`.

    Raises:
        InputError: If the plan, a stage or an asked fold is missing, if a network could not predict, if a summary
            cannot be used, or if the file cannot be written.
    """
    if (results / IMPORTED).is_file():
        raise InputError(results / IMPORTED, "is a model file already", "a model trained here", "copy that file")
    trials = [trial(given) for given in tried_on]
    said = [_line("--note", note, MAX_NOTE) for note in notes]
    files = Folder(results)
    plan = files.plan()
    entries: list[NetworkEntry] = []
    weights: dict[str, bytes] = {}
    marks: list[tuple[Stage, int, int]] = []
    for stage in STAGES:
        for fold, name, checkpoint in files.networks(stage, folds):
            network, settings = trained_network(checkpoint, name, plan)
            if checkpoint.unfinished:
                said.append(f"{stage} fold {fold}: exported at {checkpoint.unfinished} of its training")
            marks.append((stage, fold, mark_of(network)))
            data = weights[file_of(stage, fold)] = to_safetensors(network.state_dict())
            entries.append(_entry(stage, fold, data, checkpoint, settings, name))
    rule = files.postprocessing()
    if rule is not None and not rule.knows(marks):
        notice(results / POSTPROCESSING, "was chosen with other networks", "left out; bisc_evaluate -d chooses it anew")
    if preprocessed is None:
        preprocessed = Folders.from_environment().preprocessed / name_of(results)
    record = ModelRecord(
        format_version=FORMAT_VERSION,
        package_version=__version__,
        torch_version=str(torch.__version__),
        plan=plan,
        networks=entries,
        training=training_data(plan, preprocessed),
        validation=validations(results, [e.fold for e in entries if e.stage == "fine"], preprocessed),
        tried_on=trials,
        licence=_line("--licence", licence, MAX_LICENCE),
        notes=said,
        postprocessing=rule if rule is not None and rule.knows(marks) else None,
    )
    members = {RECORD: to_json(record).encode(), CARD: card_of(record).encode(), **weights}
    write_bytes(target, sealed(members))
    return record


def _entry(
    stage: Stage, fold: int, data: bytes, checkpoint: Checkpoint, settings: NetworkSettings, name: str
) -> NetworkEntry:
    if settings.stage != stage:
        mend = "put each checkpoint where it was trained"
        raise InputError(name, f"is a {settings.stage} network", f"a {stage} one", mend)
    return NetworkEntry(
        stage=stage,
        fold=fold,
        file=file_of(stage, fold),
        sha256=_digest(data),
        n_bytes=len(data),
        base_features=settings.base_features,
        norm=settings.norm,
        patch_size_zyx=settings.patch_size_zyx,
        edges=settings.edges,
        packing=settings.packing,
        offsets=checkpoint.offsets,
        preset=one_line(str(checkpoint.settings.get("preset", "")))[:200],
        loss=one_line(str(checkpoint.settings.get("loss", "")))[:200],
        steps=checkpoint.step,
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _line(option: str, text: str, most: int) -> str:
    line = one_line(text)
    if len(line) > most:
        raise InputError(option, f"{len(line)} characters", f"at most {most}", "say it shorter")
    return line


def verify_model(path: Path) -> ModelFile:
    """A model file of which every byte is as it was exported, and every network fit to predict.

    That says that it is whole, not who made it: for that compare `sha256` with what its publisher states.

    Raises:
        InputError: If that is not so, or if it is an archive of the old form, without checksums.
    """
    model = read_model_file(path)
    if model is None:
        raise InputError(path, OLD, EXPECTED, EXPORT_AGAIN)
    for stage in STAGES:
        for _, name, checkpoint in model.networks(stage, None):
            trained_network(checkpoint, name, model.record.plan)
    return model


def model_in_words(path: Path) -> list[str]:
    """What a model file, or an archive of the old form, holds, in lines.

    Raises:
        InputError: As `verify_model`; an old archive is told of as far as it goes.
    """
    source = open_source(path)
    if isinstance(source, ModelFile):
        return info_lines(source.record, source.sha256)
    plan = source.plan()
    held = [f"{stage} stage: fold {', '.join(map(str, sorted(source.found(stage))))}" for stage in STAGES]
    words = [f"{plan.dataset}, {plan.n_cases} cases", f"SHA-256 of the file: {_digest(path.read_bytes())}"]
    return [OLD, *held, *(one_line(word) for word in words)]


def model_as_json(path: Path) -> str:
    """The same for programs: all of `model.json` as `model` (None: an old archive), and the file's `sha256`."""
    source = open_source(path)
    record = msgspec.to_builtins(source.record) if isinstance(source, ModelFile) else None
    held = {stage: sorted(source.found(stage)) for stage in STAGES}
    about = {"file": path.name, "sha256": _digest(path.read_bytes()), "checksums": record is not None, "folds": held}
    return json.dumps({**about, "model": record}, indent=2)


def import_model(path: Path, name: str | None = None, results: Path | None = None) -> tuple[Path, bool]:
    """Put a model file where `bisc_predict -d NAME` finds it, after a check of every byte.

    Args:
        path: The model file.
        name: What it shall be called; None: as the data set that it was trained on.
        results: The folder of all results; None: the usual one.

    Returns:
        RESULTS/NAME, and False where this very model was there already.

    Raises:
        InputError: As `verify_model`; or if something else is there under that name.
    """
    model = verify_model(path)
    if name is None:
        name = model.record.training.dataset
    fault = name_fault(name)
    if fault:
        raise InputError(path, f"the name '{name[:100]}' {fault}", "a plain folder name", "give another with -d")
    folder = (Folders.from_environment().results if results is None else results) / name
    target = folder / IMPORTED
    data = path.read_bytes()
    if _digest(data) != model.sha256:
        raise InputError(path, "changed while it was read", "a file at rest", "try again")
    if target.is_file() and target.read_bytes() == data:
        return folder, False
    other = sorted(p.name for p in folder.iterdir() if not p.name.startswith(PARTIAL)) if folder.is_dir() else []
    if other:
        what = "another imported model" if IMPORTED in other else f"a model trained here ({other[0]}, ...)"
        raise InputError(folder, f"holds {what}", "no folder of this name", "give another with -d, or move it away")
    make_folder(folder)
    remove_partial(folder)
    write_bytes(target, data)
    return folder, True
