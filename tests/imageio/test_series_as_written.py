"""Words of a series as they are written: with accents and without, of contrast medium in the blood and by mouth."""

from __future__ import annotations

from pathlib import Path

import pytest

from bisc.core.choices import Phase
from bisc.imageio.formats.dicom.about import about
from tests.support.ct_series import item


@pytest.mark.parametrize(
    ("words", "phase"),
    [
        ("Phase artérielle", "early"),
        ("ARTE\u0301RIELLE", "early"),  # as macOS composes it
        ("Fase arteriosa", "early"),
        ("arteriële fase", "early"),
        ("Früh", "early"),
        ("frueharteriell", "early"),
        ("portaal veneuze", "late"),
        ("temps veineux", "late"),
        ("Portalvenös", "late"),
        ("Spätphase", "late"),
        ("néphrographique", "late"),
        ("BASALE", "plain"),
        ("CT ABDOMEN W CONTRAST W/O ORAL", None),
        ("CT ABD PELVIS W IV CON WO ORAL CON", None),
        ("arteriell ohne orales KM", "early"),
        ("ohne KM, ohne orales KM", "plain"),
    ],
)
def test_phases_by_words_as_written(tmp_path: Path, words: str, phase: Phase | None) -> None:
    """What was not drunk tells of no phase."""
    assert about(tmp_path, item(SeriesDescription=words)).phase == phase


@pytest.mark.parametrize(("words", "sharp"), [("filtre os", True), ("Abdomen KM per os", False)])
def test_what_is_drunk_is_no_bone(tmp_path: Path, words: str, sharp: bool) -> None:
    """French 'os'."""
    assert about(tmp_path, item(SeriesDescription=words)).is_sharp is sharp
