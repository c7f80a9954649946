"""Where the KiTS challenges publish their data: addresses, cases, and what is known of each file beforehand."""

from __future__ import annotations

import pytest

from bisc.core.errors import InputError
from bisc.pipeline.kits_sources import IMAGES, SOURCES, chosen_cases, licence_text, published

IMAGE = "imaging.nii.gz"


@pytest.mark.parametrize("name", list(SOURCES))
def test_the_licence_is_named_with_what_it_permits(name: str) -> None:
    """With whom to cite, and where all of it comes from."""
    text = licence_text(SOURCES[name])
    for part in (f"{name}: CC BY-NC-SA 4.0", "not commercial", "cite: Heller et al.", IMAGES, SOURCES[name].labels):
        assert part in text


def test_published_addresses() -> None:
    """As the challenges' own download scripts have them, at a fixed state where one is known."""
    assert IMAGES.startswith("https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/")
    image = published(SOURCES["KiTS23"], f"case_00400/{IMAGE}")
    assert image.url == f"{IMAGES}/images/case_00400.nii.gz"
    labels = published(SOURCES["KiTS19"], "case_00000/segmentation.nii.gz")
    assert labels.url.endswith("/neheller/kits19/456b293435b25303bbc7995f094f83a0afdff0eb/data/" + labels.name)
    assert (labels.n_bytes, labels.blob and labels.blob.value) == (775587, "495b190cbb27fafb41fdf59df89843e54d0ba99b")
    assert published(SOURCES["KiTS21"], "case_00000/imaging.nii.gz", "http://a/b/").url == (
        "http://a/b/KiTS21/case_00000/imaging.nii.gz"
    )


@pytest.mark.parametrize(("name", "n"), [("KiTS19", 210), ("KiTS21", 300), ("KiTS23", 489)])
def test_every_case_is_listed(name: str, n: int) -> None:
    """The table has each label map of KiTS19 and KiTS23 and their facts; of KiTS21 nothing is known beforehand."""
    source = SOURCES[name]
    assert len(source.cases) == n == len(set(source.cases))
    known = [published(source, f"{case}/{source.label_name}") for case in source.cases]
    assert all((file.blob is None) == (file.n_bytes is None) == (name == "KiTS21") for file in known)
    assert (published(source, source.table).blob is None) == (name == "KiTS21")
    assert chosen_cases(source, 2) == ("case_00000", "case_00001")
    assert chosen_cases(source, numbers=[17, 3, 17]) == ("case_00017", "case_00003")


def test_cases_that_are_none() -> None:
    """KiTS23 has a gap in its numbers."""
    with pytest.raises(InputError, match="KiTS23 has no case 300; expected 0 to 588 without 300 to 399"):
        chosen_cases(SOURCES["KiTS23"], numbers=[588, 300])
    with pytest.raises(InputError, match="KiTS19 has no case 210; expected 0 to 209"):
        chosen_cases(SOURCES["KiTS19"], numbers=[210])
