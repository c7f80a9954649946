"""What was computed of a CT is not predicted beside the CT, nor taken for one without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bisc.core.errors import PassedOver
from bisc.imageio import CaseImage, read_image
from bisc.imageio.formats.dicom.computed import computed
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from bisc.system.console import collecting
from tests.imageio.test_series_choice import stack, typed
from tests.imageio.test_studies import chosen, reason, volume
from tests.support.ct_series import write_ct

AXIAL = ("ORIGINAL", "PRIMARY", "AXIAL")
SERIES = {
    "iodine, by type": (("MAT_SPECIFIC",), "Iodine no water portal venous", "a map of one material"),
    "electron density, by type": (("ELECTRON_DENSITY",), "portal venous", "a map of electron densities"),
    "iodine, by its words": ((), "Iodine(Water) portal venous", "a map of a material, by its description"),
    "without contrast, by type": (("MAT_REMOVED",), "portal venous 1.0", "a virtual image without contrast medium"),
    "without contrast, by its words": ((), "VNC portal venous", "a virtual image without contrast medium"),
    "monoenergetic": (("VMI",), "MonoE 40keV portal venous", "a virtual monoenergetic image of 40 keV"),
    "monoenergetic, by its words": ((), "Mono+ 70 keV portal venous", "a virtual monoenergetic image of 70 keV"),
    "a projection": (("MIP",), "portal venous", "a projection of a slab"),
    "a projection, by its words": ((), "MIP 10/3 portal venous", "a projection of a slab"),
}


@pytest.mark.parametrize("name", SERIES)
def test_the_ct_beside_it_is_taken(tmp_path: Path, name: str) -> None:
    """Though it has a lower number, and the phase in its words."""
    values, description, what = SERIES[name]
    stack("1", "Abdomen", number=7)(tmp_path / "s")
    stack("2", description, number=2, change=typed(*AXIAL, *values))(tmp_path / "s")
    assert chosen(tmp_path / "s") == "1.1"
    assert what in reason(tmp_path / "s")


@pytest.mark.parametrize("name", SERIES)
def test_alone_it_is_refused_or_told(tmp_path: Path, name: str) -> None:
    """Refused where a program says that its values are no HU; as a study and as one folder of slices."""
    values, description, what = SERIES[name]
    write_ct(tmp_path / "s", volume(), series="1", description=description, change=typed(*AXIAL, *values))
    (case,) = find_inputs(tmp_path / "s")
    reads: tuple[Callable[[], CaseImage], ...] = (lambda: open_scan(case).read(), lambda: read_image(tmp_path / "s"))
    for read in reads:
        if {"MAT_SPECIFIC", "ELECTRON_DENSITY"} & {*values}:
            with pytest.raises(PassedOver, match=what):
                read()
            continue
        with collecting(quiet=True) as notes:
            assert read().volume.array.any()
        assert any(what in note and "read as a CT" in note for note in notes)


@pytest.mark.parametrize(
    "description",
    [
        "abdomen portal venous",
        "monophasic abdomen",
        "abd iodine contrast",
        "tnc 5 0",
        "nativ",
        "de abdomen 1 0 br40 m 0 6",
        "uro ct vein",
        "recon 2 ev",
    ],
)
def test_words_of_a_ct(description: str) -> None:
    assert computed(AXIAL, description) is None


def test_the_nearer_to_a_ct_the_better() -> None:
    """70 keV before 40 keV before what has no medium before a map."""
    found = [computed(AXIAL, words) for words in ("monoe 70 kev", "monoe 40 kev", "liver vnc", "iodine")]
    ranks = [one.rank for one in found if one is not None]
    assert len(ranks) == 4
    assert ranks == sorted({*ranks})
