"""Where a trained cascade lies: a results folder, a model file, or an archive of checkpoints as once exported."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final

import msgspec

from bisc.core.choices import Stage
from bisc.core.errors import InputError
from bisc.inference.postprocessing import FILE, Postprocessing
from bisc.inference.record import ModelRecord, NetworkEntry
from bisc.network.checkpoint import Checkpoint, load_checkpoint
from bisc.network.weights import from_safetensors
from bisc.planners.plan import Plan
from bisc.system.console import notice
from bisc.system.jsonfile import load_json, parse_json
from bisc.system.paths import CHECKPOINT_LAST, IMPORTED
from bisc.system.sealed import AGAIN, Sealed, archive_fault, read_sealed

CHECKPOINT: Final = CHECKPOINT_LAST
"""The last state, not the best: the best was chosen on the fold's validation cases, which are reported on."""
_MEMBER: Final = re.compile(r"(rough|fine)/fold_(\d{1,4})/" + re.escape(CHECKPOINT), re.ASCII)
RECORD: Final = "model.json"
CARD: Final = "MODEL_CARD.md"
EXPECTED: Final = "a model file of bisc_model export"
MEND: Final = "train it (bisc_train), or name another model with -d or -m"


class Source(ABC):
    """What a model is read from.

    Attributes:
        root: Where it lies.
        in_work: Whether trainings may be going on there; an archive was made as it is on purpose.
    """

    root: Path
    in_work: ClassVar[bool] = False

    @abstractmethod
    def plan(self) -> Plan:
        """The plan; InputError if it is missing or unusable."""

    @abstractmethod
    def found(self, stage: Stage) -> dict[int, str]:
        """What holds each fold's network of a stage, by fold."""

    @abstractmethod
    def checkpoint(self, name: str) -> Checkpoint:
        """The network of one of these; InputError if it cannot be used."""

    def postprocessing(self) -> Postprocessing | None:
        """What cross-validation chose; None where it did not, InputError if it cannot be used."""
        return None

    def shown(self, name: str) -> str:
        """What one of these is called in an error."""
        return f"{self.root / name}"

    def networks(self, stage: Stage, folds: Sequence[int] | None) -> Iterator[tuple[int, str, Checkpoint]]:
        """One after the other each fold asked for, what it is called in an error, and its network.

        A training that has not come to its end is told of. Where trainings may be going on, and no folds were asked for
        (None: all that are there), it is left out; else it is taken.

        Raises:
            InputError: If the stage, or one of the folds, is not there; or if all were left out.
        """
        found = self.found(stage)
        if not found:
            raise InputError(self.root, f"no trained {stage} stage", f"{stage}/fold_K/{CHECKPOINT}", MEND)
        missing = [k for k in folds or () if k not in found]
        if missing:
            listing = ", ".join(map(str, sorted(found)))
            raise InputError(self.root, f"no {stage} fold {missing[0]}", f"one of {listing}", "change -f")
        chooses = self.in_work and folds is None
        taken = 0
        for k in sorted(found) if folds is None else folds:
            checkpoint = self.checkpoint(found[k])
            if checkpoint.unfinished:
                done = f"left out (-f {k} takes it)" if chooses else "taken as it is"
                notice(self.shown(found[k]), f"its training is at {checkpoint.unfinished}", done)
            if not chooses or not checkpoint.unfinished:
                taken += 1
                yield k, self.shown(found[k]), checkpoint
        if chooses and not taken:
            mend = "go on with it (bisc_train ... --continue), or name a fold with -f to take it as it is"
            raise InputError(self.root, f"no {stage} fold's training has come to its end", "one that has", mend)


class Folder(Source):
    """RESULTS/NAME as bisc_train leaves it."""

    in_work = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def plan(self) -> Plan:
        path = self.root / "plan.json"
        try:
            return _plan(path.read_bytes(), path)
        except OSError as error:
            raise InputError(path, error.strerror or str(error), "a trained model", MEND) from error

    def found(self, stage: Stage) -> dict[int, str]:
        return _by_fold([p.relative_to(self.root).as_posix() for p in self.root.glob(f"*/fold_*/{CHECKPOINT}")], stage)

    def checkpoint(self, name: str) -> Checkpoint:
        return load_checkpoint(self.root / name)

    def postprocessing(self) -> Postprocessing | None:
        path = self.root / FILE
        if not path.is_file():
            return None
        return load_json(path, Postprocessing, "run bisc_evaluate -d NAME again, or move it away")


class OldArchive(Source):
    """A .zip of plan.json and checkpoints; members are read in place by exact name, nothing is unpacked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self.archive = zipfile.ZipFile(root)
            fault = archive_fault(self.archive, root.stat().st_size)
        except Exception as error:  # as in `read`
            raise InputError(root, f"no usable archive ({error})", EXPECTED, MEND) from error
        if fault:
            raise InputError(root, f"no usable archive ({fault})", EXPECTED, MEND)

    def plan(self) -> Plan:
        return _plan(self.read("plan.json"), self.root / "plan.json")

    def found(self, stage: Stage) -> dict[int, str]:
        return _by_fold(self.archive.namelist(), stage)

    def checkpoint(self, name: str) -> Checkpoint:
        return load_checkpoint(io.BytesIO(self.read(name)), f"{self.root}: {name}")

    def read(self, name: str) -> bytes:
        """A member's content; InputError if it is missing or damaged."""
        try:
            return self.archive.read(name)
        except Exception as error:  # zipfile stumbles over foreign bytes in a dozen ways
            raise InputError(self.root, f"{name} is missing or damaged", EXPECTED, MEND) from error


class ModelFile(Source):
    """A model file: sealed, with `model.json`, the model card, and weights as safetensors.

    Attributes:
        root: Where it lies.
        sha256: Of the whole file.
        record: What `model.json` says.
        card: The model card, Markdown.
    """

    def __init__(self, content: Sealed) -> None:
        """Raises InputError if the members are not those that `model.json` states, to the byte."""
        self.root, self.sha256, self._members = content.path, content.sha256, content.members
        self.record = parse_json(self._read(RECORD), ModelRecord, f"{self.root}: {RECORD}", AGAIN)
        self.card = self._read(CARD).decode("utf-8", "replace")
        self._entries = {entry.file: entry for entry in self.record.networks}
        wrong = [e.file for e in self.record.networks if e.file != file_of(e.stage, e.fold)]
        if wrong or len(self._entries) < len(self.record.networks):
            raise InputError(self.root, f"{RECORD} names a network twice or by another's file", EXPECTED, AGAIN)
        stray = sorted(self._members.keys() - self._entries.keys() - {RECORD, CARD})
        if stray:
            raise InputError(self.root, f"its member '{stray[0][:100]}' is not one of a model", EXPECTED, AGAIN)
        for entry in self.record.networks:
            self._check(entry)

    def plan(self) -> Plan:
        return self.record.plan

    def found(self, stage: Stage) -> dict[int, str]:
        return {entry.fold: name for name, entry in self._entries.items() if entry.stage == stage}

    def checkpoint(self, name: str) -> Checkpoint:
        entry = self._entries[name]
        shape = ("stage", "base_features", "norm", "patch_size_zyx", "edges", "packing")
        plain = msgspec.to_builtins(entry)
        network = from_safetensors(self._members[name], self.shown(name))
        plan = msgspec.to_builtins(self.record.plan)
        return Checkpoint({key: plain[key] for key in shape}, plan, network, step=entry.steps, offsets=entry.offsets)

    def postprocessing(self) -> Postprocessing | None:
        return self.record.postprocessing

    def shown(self, name: str) -> str:
        return f"{self.root}: {name}"

    def _read(self, name: str) -> bytes:
        if name not in self._members:
            raise InputError(self.root, f"{name} is missing", EXPECTED, AGAIN)
        return self._members[name]

    def _check(self, entry: NetworkEntry) -> None:
        data = self._read(entry.file)
        found = hashlib.sha256(data).hexdigest()
        if (found, len(data)) != (entry.sha256, entry.n_bytes):
            raise InputError(
                self.shown(entry.file),
                f"SHA-256 {found}, {len(data)} bytes",
                f"{entry.sha256}, {entry.n_bytes} bytes, as {RECORD} says",
                AGAIN,
            )


def open_source(path: Path) -> Source:
    """What a model is to be read from, whichever form it has; a model file is checked to the byte.

    Raises:
        InputError: If the file is no archive, or not as it was exported.
    """
    if path.is_file():
        return read_model_file(path) or OldArchive(path)
    imported = path / IMPORTED
    return open_source(imported) if imported.is_file() else Folder(path)


def read_model_file(path: Path) -> ModelFile | None:
    """A model file; None where it is an archive of another form. Raises as `open_source`."""
    content = read_sealed(path, RECORD, EXPECTED)
    return None if content is None else ModelFile(content)


def file_of(stage: Stage, fold: int) -> str:
    """The member that holds a network's weights."""
    return f"{stage}/fold_{fold}.safetensors"


def _by_fold(names: Sequence[str], stage: Stage) -> dict[int, str]:
    return {int(m[2]): m[0] for m in map(_MEMBER.fullmatch, sorted(names)) if m and m[1] == stage}


def _plan(raw: bytes, name: Path) -> Plan:
    try:
        return msgspec.json.decode(raw, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parse_json(raw, Plan, name, MEND)  # says what is wrong, or reads past a mark
