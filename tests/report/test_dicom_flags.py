"""DICOM objects that say how far their mask is to be trusted."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd

from bisc.core.flags import Flag, Flags
from tests.report.test_dicom_objects import grid, made
from tests.support.ct_series import write_ct


def test_all_objects_say_how_far_to_trust_the_mask(tmp_path: Path) -> None:
    """The light and its reasons: in the report under 'Qualitative Evaluations', in the picture under the table, in the
    SEG's series and segments. Without flags nothing is said; told otherwise report and picture are other objects."""
    blurred = Flag("blur", 2.0, 1.0, "amber", "the tumour's border is blurred")
    flags = Flags("amber", 0.254, (blurred, Flag("ok", 0.0, 1.0, "green", "all is well")))
    plain, case = (made(tmp_path / name, write_ct, grid(), flags=said) for name, said in (("a", None), ("b", flags)))
    (said,) = [
        item for item in case.objects["sr"].ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    ]  # fmt: skip
    first, second = (item.TextValue for item in said.ContentSequence)
    assert first.startswith("Automatic check: Amber: ")
    assert first.endswith(" Estimated risk that the mask is wrong: 25%.")
    assert second == "The tumour's border is blurred."
    assert case.objects["capture"].Rows == plain.objects["capture"].Rows + 2 * 30
    seg = case.objects["seg"]
    assert seg.SeriesDescription == "Kidneys and tumours (BiSC-UNet), amber: look before use"
    assert {one.SegmentDescription for one in seg.SegmentSequence} == {f"{first} {second}"}
    assert plain.objects["seg"].SeriesDescription == "Kidneys and tumours (BiSC-UNet)"
    for kind, other in plain.objects.items():
        assert (other.SOPInstanceUID != case.objects[kind].SOPInstanceUID) == (kind in ("sr", "capture"))
    assert len(hd.sr.srread(case.out / "sr.dcm").content.get_volumetric_roi_measurement_groups()) == 4
