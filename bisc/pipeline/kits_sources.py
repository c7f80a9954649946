"""Where the KiTS challenges publish their data, under which licence, and what is known of each file.

`kits_files.csv` has size and git blob of the label maps and tables of KiTS19 and KiTS23 at the commits named here. The
images of all three challenges are the same files: 0 to 299 are KiTS19's, KiTS21 and KiTS23 labelled them anew.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal, get_args

from bisc.core.errors import InputError
from bisc.imageio.layouts import IMAGING
from bisc.system.checksums import Checksum

DataSet = Literal["KiTS19", "KiTS21", "KiTS23"]
NAMES: Final[tuple[DataSet, ...]] = get_args(DataSet)
IMAGE: Final = f"{IMAGING}.nii.gz"
IMAGES: Final = (
    "https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/65f1f295873a326230153c7e1de0c7dba10f0b29"
)
LICENCE: Final = "CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/)"
PERMITS: Final = (
    "use, change and share for purposes that are not commercial, with the authors named and under the same licence"
)
ASK: Final = "commercial use: ask the authors (helle246@umn.edu)"
_KITS19_PAPERS: Final = (
    "Heller et al., The state of the art in kidney and kidney tumor segmentation in contrast-enhanced CT imaging: "
    "Results of the KiTS19 challenge, Medical Image Analysis 67, 2021, 101821",
    "Heller et al., The KiTS19 Challenge Data, arXiv:1904.00445",
)
_KITS21_PAPER: Final = (
    "Heller et al., The KiTS21 Challenge: Automatic segmentation of kidneys, renal tumors, and renal cysts in "
    "corticomedullary-phase CT, arXiv:2307.01984"
)


@dataclass(frozen=True)
class Source:
    """One challenge's published training data.

    Attributes:
        name: The challenge's.
        numbers: Of the cases that have label maps.
        labels: Where `case_00000/LABEL_NAME` lies.
        label_name: Of a case's label map, here and there.
        table: The clinical facts, beside the cases.
        licence_file: Where the licence can be read.
        papers: To be cited.
        about: What one has to know of the cases.
    """

    name: DataSet
    numbers: tuple[int, ...]
    labels: str
    label_name: str
    table: str
    licence_file: str
    papers: tuple[str, ...]
    about: tuple[str, ...]

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(f"case_{number:05d}" for number in self.numbers)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set.

    Attributes:
        name: Its path in the data set's folder.
        url: Where it is published.
        n_bytes: Its size, None where that is not known beforehand.
        blob: Its checksum, None where none is known beforehand.
    """

    name: str
    url: str
    n_bytes: int | None
    blob: Checksum | None


SOURCES: Final[Mapping[str, Source]] = {
    source.name: source
    for source in (
        Source(
            "KiTS19",
            tuple(range(210)),
            "https://raw.githubusercontent.com/neheller/kits19/456b293435b25303bbc7995f094f83a0afdff0eb/data",
            "segmentation.nii.gz",
            "kits.json",
            "https://github.com/neheller/kits19/blob/master/data/LICENSE",
            _KITS19_PAPERS,
            ("210 patients with label maps; the 90 test images are not fetched",),
        ),
        Source(
            "KiTS21",
            tuple(range(300)),
            "https://raw.githubusercontent.com/neheller/kits21/master/kits21/data",
            "aggregated_MAJ_seg.nii.gz",
            "kits.json",
            "https://kits-challenge.org/kits21/participate",
            (_KITS21_PAPER, *_KITS19_PAPERS),
            (
                "300 patients, case_00000 to case_00299: KiTS19's, of its test set too, labelled anew",
                "label maps: the majority vote of three annotators; label 3 (cyst) counts as kidney",
            ),
        ),
        Source(
            "KiTS23",
            (*range(300), *range(400, 589)),
            "https://raw.githubusercontent.com/neheller/kits23/c1088353084c17b8882a11db71429e7c022b7785/dataset",
            "segmentation.nii.gz",
            "kits23.json",
            "https://github.com/neheller/kits23#license-and-attribution",
            (_KITS21_PAPER, *_KITS19_PAPERS),
            (
                "489 patients; case_00000 to case_00299 are KiTS19's and KiTS21's, there is no 300 to 399",
                "case_00500 to case_00588 are in a nephrogenic phase, all others in an arterial one",
                "label 3 (cyst) counts as kidney",
            ),
        ),
    )
}

_GAP: Final = {"KiTS23": " without 300 to 399"}


def licence_text(source: Source) -> str:
    """What is shown before anything is fetched, and laid beside the data: licence, citation, cases, addresses."""
    return "\n".join(
        [
            f"{source.name}: {LICENCE}",
            f"  permits: {PERMITS}; {ASK}",
            f"  see: {source.licence_file}",
            *(f"  cite: {paper}" for paper in source.papers),
            *(f"  cases: {line}" for line in source.about),
            f"  label maps: {source.labels}",
            f"  images: {IMAGES}/images",
            "",
        ]
    )


def files_of_case(source: Source, case: str, labels_only: bool, mirror: str | None) -> list[PublishedFile]:
    """A case's label map and, unless `labels_only`, its image."""
    names = [f"{case}/{source.label_name}", *([] if labels_only else [f"{case}/{IMAGE}"])]
    return [published(source, name, mirror) for name in names]


def published(source: Source, name: str, mirror: str | None = None) -> PublishedFile:
    """A file by its path in the data set's folder; a mirror has all of them as `MIRROR/NAME/PATH`."""
    n_bytes, blob = _known().get((source.name, name), (None, None))
    if mirror is not None:
        url = f"{mirror.rstrip('/')}/{source.name}/{name}"
    elif name.endswith(f"/{IMAGE}"):
        url = f"{IMAGES}/images/{name.split('/')[0]}.nii.gz"
    else:
        url = f"{source.labels}/{name}"
    return PublishedFile(name, url, n_bytes, blob)


def chosen_cases(source: Source, n: int | None = None, numbers: Sequence[int] | None = None) -> tuple[str, ...]:
    """The first `n` cases, or those of `numbers` in that order, or all.

    Raises:
        InputError: If a number is none of the data set's.
    """
    for number in numbers or ():
        if number not in source.numbers:
            found = f"{source.name} has no case {number}"
            raise InputError("--cases", found, f"0 to {source.numbers[-1]}{_GAP.get(source.name, '')}")
    if numbers is not None:
        return tuple(f"case_{number:05d}" for number in dict.fromkeys(numbers))
    return source.cases[:n]


@lru_cache(maxsize=1)
def _known() -> Mapping[tuple[str, str], tuple[int, Checksum]]:
    """Size and checksum of what lies in a git repository at a commit, by data set and path."""
    text = files("bisc.pipeline").joinpath("kits_files.csv").read_text(encoding="utf-8")
    return {
        (row["data_set"], row["path"]): (int(row["bytes"]), Checksum("git", row["git_blob"], "the published git blob"))
        for row in csv.DictReader(text.splitlines())
    }
