"""What a prediction is asked for, and the row of predictions.csv that it gives: types alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bisc.core.choices import Decision, DicomExtra, Form, MeshForm, MeshSpace, Phase
from bisc.imageio.inputs import ROW_LIST

TABLE: Final = ROW_LIST
MEASURES: Final = "measures.csv"
INDEX: Final = "index.html"
INDEX_MARK: Final = '<meta name="generator" content="BiSC-UNet index">'
"""Stands at the head of it: another page of that name is not ours to write anew."""
MARK: Final = "Kidneys and tumours by BiSC-UNet"
"""In the header of a NIfTI mask of ours, so that no other is written over."""
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
BETWEEN_NOTES: Final = " | "


@dataclass(frozen=True)
class DicomOptions:
    """Which series of a study is predicted, and what is written.

    Attributes:
        form: Of the masks; one that no DICOM object can be made of is NIfTI in any case.
        extras: Beside the SEG.
        labelmap: The SEG's form: one plane of numbers, instead of one of bits for each segment.
        deidentify: Whether nothing that is written says whom it is of; cases are named by a digest.
        series: SeriesInstanceUID of the series to take, instead of the best one of each study.
        phase: Contrast phase of the series to take, likewise.
        identifiers: Whether the table says whose a study is.
    """

    form: Form = "nifti"
    extras: tuple[DicomExtra, ...] = ()
    labelmap: bool = False
    deidentify: bool = False
    series: str | None = None
    phase: Phase | None = None
    identifiers: bool = False


AS_NIFTI: Final = DicomOptions()


@dataclass(frozen=True)
class MeshOptions:
    """Which surfaces are written, arguments as of `bisc.pipeline.meshes.write_meshes`."""

    form: MeshForm
    space: MeshSpace = "LPS"


@dataclass(frozen=True)
class PredictOptions:
    """How to predict.

    Attributes:
        decision: 'argmax' or 'calibrated'.
        save_probabilities: Also write CASE_probabilities.npz.
        save_rough: Also write the rough stage's labels, as rough/CASE.nii.gz.
        resume: Keep what a finished earlier run of the same folder holds.
        memory_gb: What this process may take; None: all that is free.
        dicom: Which series of a study, and what is written for a PACS.
        mesh: Surfaces of kidneys and tumours; None: none.
        measure: Also bring measures.csv up to date.
        report: Also write a page, and an index of all.
        at_a_time: Cases in work at the same time, their networks in turn; None: as many as help.
    """

    decision: Decision
    save_probabilities: bool = False
    save_rough: bool = False
    resume: bool = False
    memory_gb: float | None = None
    dicom: DicomOptions = AS_NIFTI
    mesh: MeshOptions | None = None
    measure: bool = False
    report: bool = False
    at_a_time: int | None = None


@dataclass(frozen=True)
class PredictionRow:
    """One row of predictions.csv.

    Attributes:
        case: Name.
        status: ok (kidneys on both sides), one_kidney (solitary or fused), no_kidney, failed; skipped: no case.
        seconds: Reading, both stages and writing; None where the same bytes are demanded each time.
        rois: JSON list, one per ROI: its side, first and last voxel (x, y, z) in LPS order on the image's own grid.
        kidney_ml: Volume of label > 0.
        tumor_ml: Volume of label 2.
        error: What went wrong, or makes the mask doubtful, in one line.
        notes: What was made of the input's oddities (bisc.system.console), one line.
        source: Where the input lay, links followed: another one of the same name is not written over it.
        stamp: Changes with the input's files, the decision rule, the model and what it drops: what
            `--continue` may keep.
        choice: Of a DICOM study, which series was predicted, and why the others were not; one line.
        segments: Of a DICOM study, and with meshes, JSON, an entry per kidney and tumour
            (`bisc.pipeline.dicom_cases.Divided.told`).
        patient_id, accession_number, study_uid, series_uid: Of a DICOM study, where they were asked for.
        light: green, amber or red: how far the mask may be trusted; empty where there is none.
        risk: Estimated probability that the mask is wrong.
        flags: JSON list of every number that was looked at: name, value, limit, level, words.
    """

    case: str
    status: str
    seconds: float | None = None
    rois: str = "[]"
    kidney_ml: float | None = None
    tumor_ml: float | None = None
    error: str = ""
    notes: str = ""
    source: str = ""
    stamp: str = ""
    choice: str = ""
    segments: str = ""
    patient_id: str = ""
    accession_number: str = ""
    study_uid: str = ""
    series_uid: str = ""
    light: str = ""
    risk: float | None = None
    flags: str = ""
