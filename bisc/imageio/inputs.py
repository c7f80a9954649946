"""What bisc_predict is given: files, folders of files or of folders, KiTS cases, nnU-Net imagesTs names, DICOM series.

Every file and folder under the source becomes a case, or is named with the reason why it does not.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final

from bisc.core.errors import InputError, PassedOver, one_line
from bisc.imageio.case import InputCase
from bisc.imageio.formats.dicom import INDEX, broken_slices, is_dicom, seems_dicom
from bisc.imageio.images import image_suffix
from bisc.imageio.studies import NO_PATIENT, Holding, StudyFiles, own_name, studies_of
from bisc.system.paths import absence, check_nameable, entries_of, name_fault, not_finished, unfinished, without_hidden

KINDS: Final = ".nii.gz, .nii, .nrrd, .mha files, KiTS19 case folders, DICOM studies or a .zip of any of them"
UNPACK: Final = "unpack it, convert it to .nii.gz, or give a .zip by itself"
ROW_LIST: Final = "predictions.csv"
"""A folder that holds one is an output of bisc_predict, and no input."""
ROW_HEAD: Final = b"case,status,"
UNNAMED: Final = ("imaging", "image", "ct", "scan", "volume")
"""Stems that name no patient: the case bears its folder's name."""
LABEL_STEMS: Final = re.compile(r"segmentation|aggregated_(and|maj|or)_seg|seg|labels?|mask", re.IGNORECASE)
"""What lies beside a case's image and is known to be none."""
LABEL_FOLDERS: Final = ("labelstr", "labelsts", "segmentations", "instances", "labels", "masks")
CHANNEL: Final = "_0000"
CHANNEL_FOLDERS: Final = ("imagestr", "imagests")
SEGMENTS: Final = ".seg.nrrd"
VOXEL_FILES: Final = (".raw", ".zraw")
"""Of .mhd headers."""
OTHER_SCANS: Final = (
    ".img", ".nhdr", ".mgz", ".mgh", ".gipl", ".mnc", ".zip", ".tar", ".tgz", ".7z", ".rar", ".gz", ".bz2", ".xz",
    ".zst",
)  # fmt: skip
MAX_DEPTH: Final = 32
MAX_KEPT: Final = 40
"""Characters of a name that no file can bear, before a mark that tells it from others."""


@dataclass(frozen=True)
class _Found:
    """An image or a fault on the way to a case; `names` from the shortest on, the first one that is its own counts."""

    path: Path
    names: tuple[str, ...]
    fault: InputError | None = None
    holding: Holding | None = None
    files: tuple[Path, ...] = ()
    study: str = ""
    others: tuple[Path, ...] = ()


def find_inputs(source: Path, out: Path | None = None) -> list[InputCase]:
    """The cases under `source`, sorted by name; of two by one name the first keeps it and both bear a fault.

    Args:
        source: One file, one DICOM or KiTS19 case folder, or a folder of any of these, however deep.
        out: Where masks are written; what lies there is no input.

    Raises:
        InputError: If there is none, or `source` cannot be listed.
    """
    missing = absence(source)
    if missing:
        raise InputError(source, missing, KINDS)
    if source.is_file():
        if image_suffix(source) is None and not is_dicom(source):
            raise InputError(source, "no image by its name", KINDS)
        files = (source,) if image_suffix(source) is None else ()
        return _told_apart([_Found(source, (_file_case(source, entries_of(source.parent)),), files=files)])
    outputs = {os.path.realpath(out)} if out is not None else set()
    found = list(_walk(source, (), outputs, set(), (own_name(source),)))
    cases = [one for one in found if not isinstance(one.fault, PassedOver)]
    if not cases:
        seen = "; ".join(f"{one.names[0]}: {one.fault.found}" for one in found[:3] if one.fault)
        raise InputError(source, f"no image found{f' ({seen})' if seen else ''}", KINDS)
    return _told_apart(_with_studies(found, own_name(source)))


def _with_studies(found: list[_Found], source: str) -> list[_Found]:
    """The folders' DICOM files put together into studies, whatever folders these lie in."""
    holdings = [one.holding for one in found if one.holding is not None]
    studies = studies_of(holdings) if holdings else []
    lone = len(studies) == 1
    return [one for one in found if one.holding is None] + [_study(study, source, lone) for study in studies]


def _study(study: StudyFiles, source: str, lone: bool) -> _Found:
    """A study, named by its folder; one of several that are spread over the source by the first of its folders."""
    folders = [holding.folder for holding in study.holdings]
    parts = study.parts or (() if lone or len(folders) == 1 else study.holdings[0].parts)
    names = _folder_names(parts or (source,), (source,))
    if study.apart:
        names = f"{names[0]}_{study.apart}", f"{names[1]}_{study.apart}"
    path, rest = Path(os.path.commonpath(folders)), study.rest
    if rest is None:
        return _Found(path, names, files=study.files, study=study.key)
    found = "holds a series of two PatientIDs" if rest in folders else f"holds a part of the series in {rest}"
    fault = InputError(path, found, "a series under one name and PatientID", "put its slices together")
    return _Found(path, names, fault, files=study.files, study=study.key, others=(rest,))


def _walk(
    folder: Path, parts: tuple[str, ...], outputs: set[str], seen: set[str], source: tuple[str]
) -> Iterator[_Found]:
    """What a folder holds; `parts` are the folders between the source and it, `seen` those above a link."""
    here = os.path.realpath(folder)
    name = parts or source
    try:
        check_nameable(folder)
        entries = without_hidden(entries_of(folder), image_suffix)
    except InputError as fault:
        if not parts:
            raise
        yield _Found(folder, _folder_names(name, source), fault)
        return
    if here in seen:
        yield _passed(folder, parts, "a folder within itself")
        return
    if len(parts) > MAX_DEPTH:
        deep = InputError(folder, f"lies more than {MAX_DEPTH} folders deep", "folders less deep", "give it by itself")
        yield _Found(folder, _folder_names(name, source), deep)
        return
    if parts and (here in outputs or any(p.name == ROW_LIST and _is_ours(p) for p in entries)):
        yield _passed(folder, parts, "an output of bisc_predict")
        return
    if parts and folder.name.lower() in LABEL_FOLDERS and any(image_suffix(p) for p in entries):
        yield _passed(folder, parts, "label maps")
        return
    n_found = 0
    for one in _inside(folder, entries, parts, outputs, seen | {here}, source):
        n_found += 1
        yield one
    if parts and not n_found:
        yield _passed(folder, parts, "an empty folder, or one of hidden files alone")


def _inside(
    folder: Path, entries: list[Path], parts: tuple[str, ...], outputs: set[str], seen: set[str], source: tuple[str]
) -> Iterator[_Found]:
    """What lies in a folder that may be gone through: its files first, then its folders."""
    yield from _files(folder, entries, parts, _folder_names(parts or source, source))
    is_case = any(image_suffix(p) and _stem(p).lower() in UNNAMED for p in entries)
    for path in entries:
        if _is_folder(path) and not (is_case and path.name.lower() in LABEL_FOLDERS):
            yield from _walk(path, (*parts, path.name), outputs, seen, source)


def _is_ours(table: Path) -> bool:
    """Whether a predictions.csv begins as bisc_predict's do; another program's hides no scan."""
    try:
        with table.open("rb") as file:
            return ROW_HEAD in (file.read(len(ROW_HEAD) + 3) or ROW_HEAD).replace(b";", b",")  # or as Excel saves it
    except OSError:
        return True


def _is_folder(path: Path) -> bool:
    """Folders under an image's name are images at fault."""
    return path.is_dir() and image_suffix(path) is None


def _files(folder: Path, entries: list[Path], parts: tuple[str, ...], names: tuple[str, str]) -> Iterator[_Found]:
    lost = {copy: whole for copy, whole in unfinished(entries).items() if image_suffix(whole)}
    stems = {p: _file_case(whole, entries) for p, whole in lost.items() if not LABEL_STEMS.fullmatch(_stem(whole))}
    yield from (_Found(p, (stem, "_".join((*parts, stem))), not_finished(p, lost[p])) for p, stem in stems.items())
    files = [p for p in entries if p not in lost and not _is_folder(p)]
    case_images = [p for p in files if image_suffix(p) and _stem(p).lower() in UNNAMED[:1]]
    case_images = case_images or [p for p in files if image_suffix(p) and _stem(p).lower() in UNNAMED and parts]
    dicom: list[Path] = []
    unknown: list[Path] = []
    for path in files:
        rest = (*parts, path.name)
        if path in case_images:
            yield _Found(path, names)
        elif image_suffix(path) and case_images:
            if not LABEL_STEMS.fullmatch(_stem(path)):
                yield _passed(path, parts, f"lies beside {case_images[0].name}, the image of its case")
        elif path.name.lower().endswith(SEGMENTS) or (
            image_suffix(path) and parts and LABEL_STEMS.fullmatch(_stem(path))
        ):
            yield _passed(path, parts, "a label map by its name")
        elif image_suffix(path):
            stem = _file_case(path, entries)
            yield _Found(path, (stem, "_".join((*parts, stem))), _channel_fault(path, entries))
        elif path.suffix.lower() in (".hdr", *VOXEL_FILES) and _has_partner(path, files):
            continue  # told of, or read, with its partner
        elif path.name.upper() != INDEX:
            try:
                ours = seems_dicom(path)
            except InputError as fault:
                yield _Found(path, ("_".join(rest),), fault)
                continue
            if ours:
                dicom.append(path)
            elif path.name.lower().endswith(OTHER_SCANS):
                unread = InputError(path, "a form that is not read inside of a folder", "", UNPACK)
                yield _Found(path, ("_".join(rest),), unread)
            else:
                unknown.append(path)
    broken = broken_slices(unknown, dicom) if unknown else []
    yield from (_passed(path, parts, "no image by its name") for path in unknown if path not in broken)
    if dicom:
        yield _Found(folder, names, holding=Holding(folder, parts, tuple(sorted(dicom + broken))))


def _passed(path: Path, parts: tuple[str, ...], reason: str) -> _Found:
    name = "/".join(parts if parts and path.is_dir() else (*parts, path.name))
    return _Found(path, (name,), PassedOver(path, reason, KINDS))


def _told_apart(found: list[_Found]) -> list[InputCase]:
    """Every name once. Which of two images a name means is not guessed: its case bears a fault that names both."""
    taken, studies = Counter(one.names[0] for one in found), Counter(one.study for one in found)
    by_name: dict[str, list[InputCase]] = {}
    passed = []
    for one in found:
        name = one.names[0] if taken[one.names[0]] == 1 else one.names[-1]
        study = f"{one.study} {name}" if one.study and studies[one.study] > 1 else one.study
        case = InputCase(name, one.path, one.fault, one.others, one.files, study)
        if isinstance(one.fault, PassedOver):
            passed.append(replace(case, name=one_line(name)))
        else:
            case = _named(case)
            by_name.setdefault(case.name, []).append(case)
    cases = [_one_of(by_name[name]) for name in sorted(by_name)]
    return cases + sorted(passed, key=lambda case: case.name)


def _one_of(cases: list[InputCase]) -> InputCase:
    """The case; of several by one name the first, with a fault that names them all."""
    if len(cases) == 1:
        return cases[0]
    first, second, *others = (case.path for case in cases)
    more = f", and so would {', '.join(map(str, others))}" if others else ""
    fault = InputError(second, f"would be written over {first}{more}", "distinct case names", "rename one")
    return InputCase(cases[0].name, first, fault, (second, *others))


def _named(case: InputCase) -> InputCase:
    """The case, with a fault where its name cannot be that of a file, and one that tables and files can bear."""
    wrong = name_fault(case.name)
    if not wrong:
        return case
    fault = case.fault or InputError(case.path, f"the case name {wrong}", "a plain file name", "rename it")
    mark = blake2b(case.name.encode(errors="surrogateescape"), digest_size=4).hexdigest()
    plain = re.sub(r"\W+", "_", case.name.encode(errors="replace").decode())[:MAX_KEPT]
    return replace(case, name=f"{plain}_{mark}", fault=fault)


def _folder_names(parts: tuple[str, ...], source: tuple[str, ...]) -> tuple[str, str]:
    """The patient's folder, the uppermost that may name one; where it holds several cases, all the way down."""
    return next((part for part in (*parts, *source) if not NO_PATIENT.fullmatch(part)), parts[0]), "_".join(parts)


def _file_case(path: Path, entries: list[Path]) -> str:
    """A file's case: its name without suffix and without nnU-Net's channel number, or its folder's.

    '_0000' is a channel where no other number stands behind the same stem; p_0000 and p_0001 are two patients.
    """
    stem = _stem(path)
    if stem.lower().removesuffix(CHANNEL) in UNNAMED:
        return own_name(path.absolute().parent)
    if stem.endswith(CHANNEL) and (_is_channel_folder(path) or not _other_numbers(path, entries)):
        return stem.removesuffix(CHANNEL)
    return stem


def _channel_fault(path: Path, entries: list[Path]) -> InputError | None:
    others = _other_numbers(path, entries) if _is_channel_folder(path) else []
    if not others or re.search(r"_\d{4}$", _stem(path)) is None:
        return None
    return InputError(path, f"one of several channels, beside {others[0].name}", "one CT a case", "keep the CT's alone")


def _other_numbers(path: Path, entries: list[Path]) -> list[Path]:
    stem = re.sub(r"_\d{4}$", "", _stem(path))
    same = [p for p in entries if image_suffix(p) and re.fullmatch(re.escape(stem) + r"_\d{4}", _stem(p))]
    return [p for p in same if _stem(p) != _stem(path)]


def _is_channel_folder(path: Path) -> bool:
    return Path(os.path.abspath(path)).parent.name.lower() in CHANNEL_FOLDERS  # noqa: PTH100 - as in `_walk`


def _has_partner(path: Path, files: list[Path]) -> bool:
    partner = path.with_suffix(".img" if path.suffix.lower() == ".hdr" else ".mhd").name.lower()
    return any(p.name.lower() == partner for p in files)


def _stem(path: Path) -> str:
    return path.name[: -len(image_suffix(path) or "")] if image_suffix(path) else path.name
