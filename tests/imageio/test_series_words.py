"""What a series' words say of its phase, its part of the body and its kernel."""

from __future__ import annotations

import pytest

from bisc.core.choices import Phase
from bisc.imageio.formats.dicom.about import About


@pytest.mark.parametrize(
    ("words", "phase"),
    [
        ("abd nativ 3 0 b30f", "plain"),
        ("non contrast", "plain"),
        ("abdomen w o", "plain"),
        ("late arterial 1 0", "early"),
        ("kortikomedullaer", "early"),
        ("spaetarteriell", "early"),
        ("portalvenoes", "late"),
        ("urographic phase", "late"),
        ("delayed 10 min", "late"),
        ("nephrographic", "late"),
        ("abd nephro 3 mm", "late"),
        ("néphrographique", "late"),
        ("nephrophase", "late"),
        ("nephrolithiasis low dose", None),
        ("nephrostomy", None),
        ("nephroureterectomy", None),
        ("artifact reduction", None),
        ("abdomen 3 mm", None),
        ("arterial and venous", None),
        ("with contrast", None),
        ("axial 3 mm c ct abdomen w wo contrast", None),
        ("abd pel w w o", None),
        ("with and without contrast", None),
        ("portal venous ct abdomen w wo", "late"),
        ("mit und ohne km", None),
    ],
)
def test_phases_by_words(words: str, phase: Phase | None) -> None:
    assert About(words=words).phase == phase


@pytest.mark.parametrize(
    ("description", "body_part", "protocol", "elsewhere"),
    [
        ("abdomen", "", "01 neuro polytrauma", False),
        ("head 4 0", "head", "01 neuro polytrauma", True),
        ("head 4 0", "abdomen", "abdomen", True),
        ("3 0 br38", "abdomen", "neuro", False),
        ("3 0 br38", "", "neuro abd", False),
        ("3 0 br38", "", "reinforced chest", True),
        ("reins", "", "thorax", False),
        ("thorax liver", "", "", False),
        ("chest for delivery", "", "", True),
        ("kneecap", "", "knee", True),
        ("ctap", "chest", "", False),
        ("bws", "", "abdomen", True),
        ("wirbelsäule 2 0", "", "abdomen", True),
        ("rachis 2mm", "", "", True),
        ("columna", "", "abdomen", True),
        ("colonna lombare", "", "", True),
        ("hüfte re", "", "abdomen", True),
        ("sacrum", "", "", True),
        ("isg", "", "abdomen", True),
        ("3 0 br38", "lspine", "", True),
        ("renal sinus", "", "", False),
        ("venous 5 0", "chest", "chest abdomen pelvis", False),
        ("axial 5mm", "chest", "cap", False),
        ("3 0 br38", "", "", False),
    ],
)
def test_parts_of_the_body(description: str, body_part: str, protocol: str, elsewhere: bool) -> None:
    """What a series says of itself counts before its protocol."""
    says = About(words=f"{description} {protocol}", description=description, body_part=body_part)
    assert says.is_elsewhere is elsewhere


@pytest.mark.parametrize(
    ("name", "sharp"),
    [
        ("b30f", False), ("br40d 3", False), ("i26f 3", False), ("b70f", True), ("br64", True), ("fc08", False),
        ("fc18", False), ("fc52", True), ("fc81", True), ("lung", True), ("boneplus", True), ("standard", False),
        ("soft", False), ("", False),
    ],
)  # fmt: skip
def test_kernels(name: str, sharp: bool) -> None:
    assert About(kernel=name).is_sharp is sharp
