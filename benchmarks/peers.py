"""The peers, nnU-Net and MONAI, in an environment of their own with the same torch as ours."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import torch

from benchmarks.measure import Cost, bytes_under, cost_of, run
from bisc.imageio.dataset import find_raw_dataset
from bisc.pipeline.nnunet import lay_out
from bisc.system.files import atomic_folder

PACKAGES: Final = ("nnunetv2==2.8.1", "monai", "setuptools")
"""nnU-Net takes distutils from setuptools where Python has none (3.12 on)."""
DATASET_ID: Final = 901
DATASET: Final = "Dataset901_Simulated"
CONFIGURATION: Final = "3d_fullres"
NNUNET: Final = f"nnU-Net {CONFIGURATION}"
"""In tables."""
MAKE_MODEL: Final = """
import torch
from nnunetv2.run.run_training import get_trainer_from_args
from batchgenerators.utilities.file_and_folder_operations import join, save_json

trainer = get_trainer_from_args("901", "3d_fullres", 0, device=torch.device("cpu"))
trainer.initialize()
save_json(trainer.plans_manager.plans, join(trainer.output_folder_base, "plans.json"), sort_keys=False)
save_json(trainer.dataset_json, join(trainer.output_folder_base, "dataset.json"), sort_keys=False)
trainer.save_checkpoint(join(trainer.output_folder, "checkpoint_final.pth"))
"""
"""nnU-Net's own trainer and network, at their random start: speed and memory do not depend on the weights."""


def plain_parser(purpose: str | None, repeats: int = 3) -> argparse.ArgumentParser:
    """What every benchmark of several runs can be told."""
    parser = argparse.ArgumentParser(description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="out", type=Path, default=Path("bench_out"))
    parser.add_argument("--repeats", type=int, default=repeats)
    return parser


def make_parser(purpose: str | None, repeats: int = 3) -> argparse.ArgumentParser:
    """What every comparison can be told."""
    parser = plain_parser(purpose, repeats)
    parser.add_argument("--peers", type=Path, default=Path(".bench/peers"), help="the peers' environment")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    return parser


def add_peer_repeats(parser: argparse.ArgumentParser) -> None:
    """Fewer runs of what takes nnU-Net long."""
    parser.add_argument("--peer-repeats", type=int, help="nnU-Net's predictions, 20 minutes each (default: as ours)")


def install(folder: Path) -> Path:
    """The environment's folder of programs; made where it is missing.

    Flags for pip are taken from PIP_FLAGS, as the Makefile takes them.
    """
    programs = folder / "bin"
    if not (programs / "nnUNetv2_predict").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        flags = os.environ.get("PIP_FLAGS", "").split()
        pip: list[str | Path] = [programs / "python", "-m", "pip", "install", "--quiet", *flags]
        same_torch = f"torch=={torch.__version__.split('+')[0]}"
        subprocess.run([*pip, same_torch], check=True)
        subprocess.run([*pip, same_torch, *PACKAGES], check=True)
    return programs


class NnUNet:
    """nnU-Net's commands over one folder of its own.

    Args:
        programs: Of `install`.
        home: Folder of raw, preprocessed and results.
    """

    def __init__(self, programs: Path, home: Path) -> None:
        self.programs, self.home = programs.resolve(), home.resolve()
        self.env = {f"nnUNet_{kind}": str(self.home / f"nnUNet_{kind}") for kind in ("raw", "preprocessed", "results")}

    @property
    def caches(self) -> Path:
        """What preprocessing leaves for training."""
        return Path(self.env["nnUNet_preprocessed"]) / DATASET

    def take(self, kits: Path) -> None:
        """Lay a KiTS19-like data set out as nnU-Net wants it."""
        raw = Path(self.env["nnUNet_raw"]) / DATASET
        if not (raw / "dataset.json").exists():
            with atomic_folder(raw) as scratch:
                lay_out(find_raw_dataset(kits).cases, scratch)

    def plan_and_preprocess(self, n_workers: int) -> tuple[Cost, int]:
        """Cost, and bytes of the caches; one configuration alone, with its defaults."""
        data = ["-d", str(DATASET_ID), "-c", CONFIGURATION]
        workers = ["-npfp", str(n_workers), "-np", str(n_workers)]
        cost = cost_of([self.programs / "nnUNetv2_plan_and_preprocess", *data, *workers], self.env)
        return cost, bytes_under(self.caches)

    def make_model(self) -> None:
        """An untrained model where a trained one would lie."""
        cost_of([self.programs / "python", "-c", MAKE_MODEL], self.env)

    def predict(self, images: Path, out: Path) -> Cost:
        """One fold, no mirroring; everything else by default. Images are named NAME_0000.nii.gz."""
        what = ["-d", str(DATASET_ID), "-c", CONFIGURATION, "-f", "0", "-device", "cpu", "--disable_tta"]
        return cost_of([self.programs / "nnUNetv2_predict", "-i", images, "-o", out, *what], self.env)

    def python(self, script: Path, *arguments: object) -> str:
        """The last line that a script prints in the peers' environment."""
        return run([self.programs / "python", script, *map(str, arguments)], self.env)[1]


def link(at: Path, target: Path) -> None:
    """A link, unless it is there already."""
    if not at.exists():
        at.symlink_to(target)
