"""Model files that are not what they should be, sealed rightly or not, and what they are not to be put over."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tests.robustness.hostile_home import CANARY, FINE, PREDICT, RESULTS, bomb, changed, given, removed, written
from tests.robustness.hostile_kinds import RunKind
from tests.robustness.hostile_spoiling import cut
from tests.robustness.hostile_usage import TRAIN
from tests.support.sealing import change_record, members_of, resealed, sealed_by_hand

ZIP = (*PREDICT, "-m", "model.zip")
WEIGHTS = "fine/fold_0.safetensors"
Spoil = Callable[[Path], object]
Members = dict[str, bytes]


def packed(name: str, spoil: Spoil, told: str, names: str = "model.zip") -> RunKind:
    """A model file with one thing wrong: nothing is predicted."""
    return RunKind(name, "predict", given(ZIP, spoil), told, names, absent=("out", CANARY))


def sealed_with(change: Callable[[Members], object], relist: bool = True) -> Spoil:
    return lambda home: resealed(home / "model.zip", change, relist)


def record(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Another model.json, rightly sealed."""
    return sealed_with(lambda members: change_record(members, change), relist=False)


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Spoil:
    """Other weights of the fine network, rightly listed and sealed."""

    def spoil(members: Members) -> None:
        network = safetensors.torch.load(members[WEIGHTS])
        change(network)
        members[WEIGHTS] = safetensors.torch.save(network)

    return sealed_with(spoil)


def of_kind(dtype: torch.dtype) -> Spoil:
    key = "region.classify.weight"
    return tensors(lambda network: network.update({key: network[key].to(dtype)}))


def by_hand(members: Callable[[Members], Sequence[tuple[str, bytes]]], compression: int) -> Spoil:
    """Members that the package would not write so: doubled, packed."""

    def spoil(home: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile's, of the doubled name
            path = home / "model.zip"
            path.write_bytes(sealed_by_hand(members(members_of(path)), compression))

    return spoil


def unsealed(home: Path) -> None:
    members = members_of(home / "model.zip")
    with zipfile.ZipFile(home / "model.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def flipped(home: Path) -> None:
    raw = bytearray((home / "model.zip").read_bytes())
    raw[len(raw) // 2] ^= 1
    (home / "model.zip").write_bytes(raw)


def imported(home: Path) -> None:
    """The model file in the place of what was trained here."""
    removed(RESULTS)(home)
    (home / RESULTS).mkdir()
    (home / "model.zip").rename(home / RESULTS / "model.zip")


def evil(home: Path) -> None:
    bomb("evil.pkl")(home)
    resealed(home / "model.zip", lambda m: m.update({WEIGHTS: (home / "evil.pkl").read_bytes()}))


def does(name: str, argv: Sequence[object], spoil: Spoil, told: str, names: object, *absent: str) -> RunKind:
    """bisc_model on a file with one thing wrong."""
    return RunKind(f"bisc_model: {name}", "model", given(argv, spoil), told, str(names), absent=(*absent, CANARY))


def nothing(home: Path) -> None:
    """All is sound."""


HEADER = struct.pack("<Q", 1 << 40)
MODEL_FILES = (
    packed("a model file with a flipped bit", flipped, "damaged: the SHA-256 of its bytes is"),
    packed("a model file cut short", changed("model.zip", cut), "no usable archive"),
    packed("a model file packed again", unsealed, "the digest at its end is not there"),
    packed("a model file with other weights", sealed_with(lambda m: m.update({WEIGHTS: b"x"}), False), "SHA-256 2d71"),
    packed("a model file without weights", sealed_with(lambda m: m.pop(WEIGHTS), False), f"{WEIGHTS} is missing"),
    packed("a model file without card", sealed_with(lambda m: m.pop("MODEL_CARD.md")), "MODEL_CARD.md is missing"),
    packed("a model file with a stray member", sealed_with(lambda m: m.update({"x.py": b"x"})), "'x.py' is not one of"),
    packed("a model file with ../ members", sealed_with(lambda m: m.update({"../x": b"x"})), "leads out of it"),
    packed(
        "a model file with a doubled member",
        by_hand(lambda m: [*m.items(), ("model.json", b"{}")], zipfile.ZIP_STORED),
        "a member occurs twice",
    ),
    packed(
        "a model file that is a zip bomb",
        by_hand(lambda m: [*m.items(), ("zeros", bytes(10**7))], zipfile.ZIP_DEFLATED),
        "no usable archive",
    ),
    packed(
        "a model file with packed members", by_hand(lambda m: [*m.items()], zipfile.ZIP_DEFLATED), "a member is packed"
    ),
    packed("a model.json with an unknown key", record(lambda r: r.update(run="x")), "unknown field `run`"),
    packed("a model.json of a later format", record(lambda r: r.update(format_version=3)), "format_version"),
    packed("a model.json of another kind", record(lambda r: r["plan"].update(n_cases="x")), "$.plan.n_cases"),
    packed(
        "a model.json with a wide network", record(lambda r: r["networks"][0].update(base_features=10**6)), "networks"
    ),
    packed(
        "a model.json with a network twice", record(lambda r: r["networks"].append(r["networks"][0])), "a network twice"
    ),
    packed("a model.json that is none", sealed_with(lambda m: m.update({"model.json": b"{"}), False), "truncated"),
    packed(
        "a model.json of another width",
        record(lambda r: r["networks"][1].update(base_features=4)),
        "do not fit their settings",
        WEIGHTS,
    ),
    packed("weights with a huge header", sealed_with(lambda m: m.update({WEIGHTS: HEADER})), "a header of", WEIGHTS),
    packed("weights cut short", sealed_with(lambda m: m.update({WEIGHTS: cut(m[WEIGHTS])})), "no usable", WEIGHTS),
    packed("weights that are a malicious pickle", evil, "a header of", WEIGHTS),
    packed("weights of double precision", of_kind(torch.float64), "of torch.float64", WEIGHTS),
    packed("weights of whole numbers", of_kind(torch.int64), "do not fit their settings", WEIGHTS),
    packed(
        "weights of another shape",
        tensors(lambda n: n.update({"region.classify.bias": torch.zeros(7)})),
        "do not fit their settings",
        WEIGHTS,
    ),
    packed("weights with NaN", tensors(lambda n: n["region.classify.bias"].fill_(torch.nan)), "NaN", WEIGHTS),
    does("verify a flipped bit", ("verify", "model.zip"), flipped, "damaged", "model.zip"),
    does("verify an archive of the old form", ("verify", "old.zip"), nothing, "carries no checksums", "old.zip"),
    does("verify a folder", ("verify", "in"), nothing, "is a folder", "in"),
    does("look into what is not there", ("info", "gone.zip"), nothing, "does not exist", "gone.zip"),
    does("look into text", ("info", "text.zip"), written("text.zip", "text"), "no usable archive", "text.zip"),
    does("import over a trained model", ("import", "model.zip"), nothing, "a model trained here", RESULTS),
    does(
        "import over another import",
        ("import", "old.zip", "-d", "Two"),
        lambda home: (
            (home / "model.zip").rename(home / "old.zip") and written(RESULTS.parent / "Two/model.zip", "x")(home)
        ),
        "holds another imported model",
        RESULTS.parent / "Two",
    ),
    does("import under a bad name", ("import", "model.zip", "-d", "../x"), nothing, "path separator", "model.zip"),
    does(
        "import a flipped bit",
        ("import", "model.zip", "-d", "Two"),
        flipped,
        "damaged",
        "model.zip",
        str(RESULTS.parent / "Two"),
    ),
    does("export what was imported", ("export", "-o", "new.zip"), imported, "is a model file already", RESULTS),
    does(
        "export with figures that are none",
        ("export", "-o", "new.zip", "--tried-on", "text.csv"),
        written("text.csv", "a,b\n1,2\n"),
        "no column metric",
        "text.csv",
        "new.zip",
    ),
    does(
        "export a rough network as the fine one",
        ("export", "-o", "new.zip"),
        lambda home: (home / FINE).write_bytes((home / RESULTS / "rough/fold_0/checkpoint_last.pt").read_bytes()),
        "is a rough network",
        FINE,
        "new.zip",
    ),
    RunKind(
        "training into an import", "train", given(TRAIN, imported), "an imported model", str(RESULTS / "model.zip")
    ),
    RunKind(
        "going on with an import",
        "train",
        given((*TRAIN, "--continue"), imported),
        "training cannot go on from",
        str(RESULTS / "model.zip"),
    ),
)
"""What is wrong with a model file, or with what is asked for."""
