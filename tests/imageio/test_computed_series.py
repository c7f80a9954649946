"""What was computed of a CT is not predicted beside the CT, nor taken for one without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bisc.core.errors import PassedOver
from bisc.imageio import CaseImage, read_image
from bisc.imageio.formats.dicom.computed import MAPS, computed
from bisc.imageio.inputs import find_inputs
from bisc.imageio.scan import open_scan
from bisc.system.console import collecting
from tests.imageio.test_series_choice import stack, typed
from tests.imageio.test_studies import grid_of, opened, reason_of, uid_of, volume
from tests.support.ct_series import write_ct
from tests.support.dicom_forms import put
from tests.support.noticed import noticed

AXIAL = ("ORIGINAL", "PRIMARY", "AXIAL")
FEW = grid_of(25, 5.0)
"""Slices that may show a kidney."""
SERIES = {
    "iodine, by type": (("MAT_SPECIFIC",), "Iodine no water portal venous", "a map of one material"),
    "electron density, by type": (("ELECTRON_DENSITY",), "portal venous", "a map of electron densities"),
    "iodine, by its words": ((), "Iodine(Water) portal venous", "a map of a material, by its words"),
    "without contrast, by type": (("MAT_REMOVED",), "portal venous 1.0", "a virtual image without contrast medium"),
    "without contrast, by its words": ((), "VNC portal venous", "a virtual image without contrast medium"),
    "monoenergetic": (("VMI",), "MonoE 40keV portal venous", "a virtual monoenergetic image of 40 keV"),
    "monoenergetic, by its words": ((), "Mono+ 70 keV portal venous", "a virtual monoenergetic image of 70 keV"),
    "a subtraction": (("SUBTRACTION",), "portal venous", "a subtraction of two images, whose values are no HU"),
    "deviations": (("STD_DEVIATION",), "portal venous", "a map of standard deviations"),
    "a quotient": (("DIVISION",), "portal venous", "a quotient of images"),
    "a subtraction, by its words": ((), "Sub portal venous - nat", "a subtraction of two images, by its words"),
    "perfusion, by type": (("PERFUSION",), "portal venous", "a map of perfusion, or of a series"),
    "perfusion, by its words": ((), "CBV portal venous", "a map of perfusion, or of a series"),
    "a projection": (("MIP",), "portal venous", "a projection of a slab"),
    "a projection, by its words": ((), "MIP 10/3 portal venous", "a projection of a slab"),
    "a maximum": (("MAXIMUM",), "portal venous", "a projection of a slab"),
    "a maker's projection": (("CSA MIP",), "portal venous", "a projection of a slab"),
    "a maker's word for no contrast": (("CT_SOM7 DE VNC",), "portal venous", "a virtual image without contrast medium"),
    "one tube": ((), "portal venous A_80KV", "an image of one of two tubes"),
}


@pytest.mark.parametrize("name", SERIES)
def test_the_ct_beside_it_is_taken(tmp_path: Path, name: str) -> None:
    """Though it has a lower number, and the phase in its words."""
    values, description, what = SERIES[name]
    stack("1", "Abdomen", number=7, grid=FEW)(tmp_path / "s")
    stack("2", description, number=2, grid=FEW, change=typed(*AXIAL, *values))(tmp_path / "s")
    scan = opened(tmp_path / "s")
    assert uid_of(scan) == "1.1"
    assert what in reason_of(scan)


@pytest.mark.parametrize("name", SERIES)
def test_alone_it_is_refused_or_told(tmp_path: Path, name: str) -> None:
    """Refused where a program says that its values are no HU; as a study and as one folder of slices."""
    values, description, what = SERIES[name]
    write_ct(tmp_path / "s", volume(FEW), series="1", description=description, change=typed(*AXIAL, *values))
    (case,) = find_inputs(tmp_path / "s")
    reads: tuple[Callable[[], CaseImage], ...] = (lambda: open_scan(case).read(), lambda: read_image(tmp_path / "s"))
    for read in reads:
        if MAPS.keys() & {*values}:
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
        "subcutaneous fat venous",
        "sub mm venous",
        "diep perforator cta",
        "subject 12 abdomen",
        "submandibular to pelvis",
        "iodinated contrast venous",
        "abdomen iodixanol",
        "hap 2 0",
        "sn100kv venous",
        "abd ven f 0 5",
    ],
)
def test_words_of_a_ct(description: str) -> None:
    assert computed(AXIAL, description) is None


MATERIALS = (
    "iodkarte", "jodkarte venoes", "iodine map contrast", "cartographie iode", "mapa de yodo", "uric acid",
    "harnsaeure", "purecalcium", "purelumen", "hap water", "water hap", "fat map", "electron dens",
)  # fmt: skip
CHANGED = ("calcium suppressed 50", "casupp index 25", "ca supp", "bone removed", "knochenentfernung")
REMOVED = ("virtual nc", "virtuell nativ", "virtual non contrast", "virtual unenhanced 2 0", "vnc")
SLABS = ("tmip", "avip 10 3", "ave ip", "aip", "thick mip", "csa mip", "mip thick", "cvrt")
KINDS = {MATERIALS: "map of a material", CHANGED: "HU changed", REMOVED: "without contrast", SLABS: "of a slab"}


@pytest.mark.parametrize(("words", "what"), [(words, what) for kind, what in KINDS.items() for words in kind])
def test_words_by_kind(words: str, what: str) -> None:
    """In the description, and in ImageType behind its third value."""
    for found in (computed(AXIAL, words), computed((*AXIAL, words.upper().replace(" ", "_")), "venous")):
        assert found is not None
        assert what in found.what
        assert not found.is_map


def test_modified_hu_stand_behind_hu(tmp_path: Path) -> None:
    """By RescaleType; alone they are told, and beside HU nothing is said of having read them."""
    stack("1", "Portal", number=7, change=put(RescaleType="HU"))(tmp_path / "s")
    stack("2", "Portal", number=2, change=put(RescaleType="HU_MOD"))(tmp_path / "s")
    (case,) = find_inputs(tmp_path / "s")
    with collecting(quiet=True) as notes:
        assert "series 2 Portal: an image of modified HU" in open_scan(case).told.split("left out")[1]
    assert not [note for note in notes if "modified HU" in note]
    stack("2", "Portal", number=2, change=put(RescaleType="HU_MOD"))(tmp_path / "lone")
    (lone,) = find_inputs(tmp_path / "lone")
    with noticed("series 2 Portal is an image of modified HU, by its RescaleType; read as a CT"):
        open_scan(lone)


def test_what_is_derived_for_perfusion_is_a_map() -> None:
    """The source of such maps may bear the same word, as an original."""
    for first, is_map in (("ORIGINAL", False), ("DERIVED", True)):
        found = computed((first, "PRIMARY", "PERFUSION"), "abdomen")
        assert found is not None
        assert found.is_map is is_map


@pytest.mark.parametrize(
    "description",
    ["art minus nat subtraktion", "soustraction", "perfusion bv", "abdomen perf", "mtt", "abdomen art sub"],
)
def test_words_of_no_ct(description: str) -> None:
    found = computed(AXIAL, description)
    assert found is not None
    assert (found.rank, found.is_map) == (4, False)


def test_the_nearer_to_a_ct_the_better() -> None:
    """70 keV before 40 keV before what has no medium before a map."""
    found = [computed(AXIAL, words) for words in ("monoe 70 kev", "monoe 40 kev", "liver vnc", "iodine")]
    ranks = [one.rank for one in found if one is not None]
    assert len(ranks) == 4
    assert ranks == sorted({*ranks})
