"""The same scan under two names: trained on under the one, it would be validated on under the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from bisc.core.errors import InputError
from bisc.imageio.dataset import RawCase
from bisc.planners.fingerprint import CaseFingerprint


def split_duplicates(
    found: Sequence[CaseFingerprint], cases: Sequence[RawCase]
) -> tuple[list[CaseFingerprint], list[tuple[str, InputError]]]:
    """The cases without those that measure the same as an earlier one, and a fault for each of these.

    Two measurements agree in the grid, every kidney's volume and extent, the tumour's volume and a thousand quantiles
    of HU only where image and label map do, whatever format they are stored in. Cases without kidney or tumour hold
    too little to tell.
    """
    paths = {case.name: case.image or case.labels for case in cases}
    first: dict[str, str] = {}
    kept: list[CaseFingerprint] = []
    faults: list[tuple[str, InputError]] = []
    for case in found:
        key = repr(replace(case, name=""))
        original = first.setdefault(key, case.name) if case.n_components else case.name
        if original == case.name:
            kept.append(case)
        else:
            faults.append((case.name, _fault(paths[case.name], original)))
    return kept, faults


def _fault(path: Path, original: str) -> InputError:
    return InputError(
        path,
        f"is the same scan as {original}",
        "every patient once, else one is trained and validated on alike",
        "remove one of them",
    )
