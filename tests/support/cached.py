"""One tiny case to be cached, and the settings for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from bisc.imageio import CaseImage, read_image, read_labels
from bisc.imageio.dataset import find_raw_dataset
from bisc.imageio.label_names import LabelMeaning
from bisc.planners.source import FILE, Source
from bisc.preprocessing.cache import CacheJob, CacheSettings
from bisc.preprocessing.kidneys import RoiRule
from bisc.preprocessing.resample import Intensity
from bisc.system.jsonfile import load_json

INTENSITY = Intensity(clip_low_hu=-80.0, clip_high_hu=300.0, mean_hu=100.0, std_hu=75.0)
ROUGH_PX = 64


def settings_for(spacing_mm_zyx: tuple[float, float, float] = (5.0, 4.0, 4.0)) -> CacheSettings:
    """A small rule for small volumes."""
    return CacheSettings(
        target_spacing_mm_zyx=spacing_mm_zyx,
        rough_in_plane_px=ROUGH_PX,
        intensity=INTENSITY,
        roi=RoiRule(sides_px=[32, 48], multiple_px=16, margin_mm=6.0, min_kidney_ml=5.0),
    )


def job_of(tiny_dataset: Path, tmp_path: Path) -> CacheJob:
    """The first tiny case, copied so that a test may change it."""
    shutil.copytree(tiny_dataset / "case_00000", tmp_path / "Tiny" / "case_00000")
    (case,) = find_raw_dataset(tmp_path / "Tiny").cases
    return CacheJob(case, settings_for(), tmp_path / "cache")


def read(job: CacheJob) -> tuple[CaseImage, CaseImage]:
    return read_image(image_of(job)), read_labels(job.case.labels)


def image_of(job: CacheJob) -> Path:
    assert job.case.image is not None
    return job.case.image


def stored_meaning(preprocessed: Path) -> LabelMeaning | None:
    """What source.json says that labels mean."""
    return load_json(preprocessed / FILE, Source, "").labels
