"""A case on the way to its image: of a DICOM study the series is chosen first, by headers alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bisc.core.choices import Phase
from bisc.core.errors import InputError, PassedOver
from bisc.imageio.case import CaseImage, InputCase, Stored
from bisc.imageio.formats.dicom import stored_stack
from bisc.imageio.images import StoredImage, image_of, read_image, read_size
from bisc.system.console import notice

if TYPE_CHECKING:
    from bisc.imageio.formats.dicom.choice import Choice
    from bisc.imageio.formats.dicom.stack import Stack


@dataclass(frozen=True)
class Scan:
    """One image that is about to be read.

    Attributes:
        path: Of the file, or of the folder that holds the study.
        choice: Which series of the study it is, and why; None for a file of another format.
        stored: Its grid and voxels on disk, where a series was chosen.
        notes: What its stack gave notice of, where that is still to be told.
    """

    path: Path
    choice: Choice | None = None
    stored: Stored | None = None
    notes: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """Which series it is and why, in one line; empty for a file of another format."""
        return "" if self.choice is None else self.choice.reason

    def read(self) -> CaseImage:
        """Its voxels; raises as `bisc.imageio.read_image`."""
        return read_image(self.path) if self.stored is None else image_of(self.path, self.stored)

    def size(self) -> StoredImage:
        """By its header; raises InputError where that cannot be read."""
        if self.stored is None:
            return read_size(self.path)
        return StoredImage(self.stored.geometry.shape_zyx, self.stored.n_bytes, self.stored.streamed)


def open_scan(
    case: InputCase,
    series: str | None = None,
    phase: Phase | None = None,
    look: Callable[[CaseImage], Phase | None] | None = None,
) -> Scan:
    """What is predicted of a case.

    Args:
        case: A file or a DICOM study.
        series: SeriesInstanceUID of the series to take; a case that does not hold it is passed over.
        phase: The contrast phase to take; None prefers `bisc.core.choices.PHASES` in their order.
        look: Tells the phase of an image, asked where words do not.

    Raises:
        InputError: If the case is at fault, or as `bisc.imageio.formats.dicom.choice.choose`.
    """
    if case.fault is not None:
        raise case.fault
    if not case.files:
        if series is not None:
            raise PassedOver(case.path, "no DICOM", f"--series {series}")
        return Scan(case.path)
    from bisc.imageio.formats.dicom.choice import choose
    from bisc.imageio.formats.dicom.ranks import Wanted

    def phase_of(stack: Stack) -> Phase | None:
        try:
            return None if look is None else look(image_of(case.path, stored_stack(case.path, stack)))
        except InputError:
            return None  # it is told when the series is taken

    choice = choose(case.path, case.files, Wanted(series, phase), None if look is None else phase_of)
    if choice.n_left:
        notice(case.path, f"holds {choice.n_left + 1} series", f"{choice.series.label} was taken, see 'choice'")
    return Scan(case.path, choice, stored_stack(case.path, choice.stack))


def scans_of(case: InputCase, phase: Phase | None = None) -> list[Scan]:
    """Every series of a DICOM study that could be predicted, the one that would be first.

    Args:
        case: The study.
        phase: Those of this contrast phase alone.

    Raises:
        InputError: As `bisc.imageio.formats.dicom.choice.choose`.
    """
    from bisc.imageio.formats.dicom.choice import Choice, candidates, judge
    from bisc.imageio.formats.dicom.ranks import Wanted

    found = []
    for one, _ in judge(case.path, candidates(case.path, case.files), Wanted(phase=phase)):
        if one.stack is not None and one.unfit is None and phase in (None, one.phase):
            with suppress(InputError):  # on no grid
                choice = Choice(one.series, one.stack, f"{one.series.label}: {one.told}")
                found.append(Scan(case.path, choice, stored_stack(case.path, one.stack), one.notes))
    return found


@dataclass(frozen=True)
class Listed:
    """A series of a study as `bisc_info` shows it.

    Attributes:
        label: Its number and description.
        uid: SeriesInstanceUID.
        told: Slices and phase, or what it is instead.
        reason: Why it would be left out; empty for the one that would be predicted.
    """

    label: str
    uid: str
    told: str
    reason: str


def list_series(case: InputCase, series: str | None = None, phase: Phase | None = None) -> list[Listed]:
    """Every series of a DICOM study, the one that would be predicted first; with a fault's words where none would be.

    Raises:
        InputError: If a file is damaged.
    """
    from bisc.imageio.formats.dicom.choice import candidates, judge
    from bisc.imageio.formats.dicom.ranks import Wanted

    found = candidates(case.path, case.files)
    try:
        judged = judge(case.path, found, Wanted(series, phase))
    except InputError as fault:
        judged = [(one, one.unfit.found if one.unfit else fault.found) for one in found]
    return [Listed(one.series.label, one.series.about.uid, one.told, reason) for one, reason in judged]
