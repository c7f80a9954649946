"""The forms of DICOM that are read or refused, and the documents' table of them.

`python -m tests.support.dicom_table` renews the table."""

from __future__ import annotations

from pathlib import Path

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from tests.support.dicom_changes import (
    ALL,
    DOWN,
    ENHANCED,
    LACKING,
    NO_PLACE,
    NO_SPACING,
    RESCALE,
    SHUFFLED,
    UNSIGNED,
    drifting,
    eight_and_sixteen,
    flat_measures,
    half_signed,
    halved,
    in_groups,
    moved,
    on,
    own_uid,
    padded,
    plain_multi_frame,
    rounded,
    shared_rescale,
    twelve_bits,
)
from tests.support.dicom_forms import (
    CORONAL,
    OBLIQUE,
    SHAPE,
    STEM,
    Form,
    both,
    gone,
    put,
)

FORMS: tuple[Form, ...] = (
    # -- one file a slice: pixel forms
    Form("explicit little endian, signed"),
    Form("implicit little endian, unsigned with intercept -1024", syntax=ImplicitVRLittleEndian, **UNSIGNED),
    Form("big endian, signed", syntax=ExplicitVRBigEndian),
    Form("big endian, unsigned", syntax=ExplicitVRBigEndian, **UNSIGNED),
    Form("deflated", syntax=DeflatedExplicitVRLittleEndian),
    Form("RLE, signed", syntax=RLELossless),
    Form("RLE, unsigned", syntax=RLELossless, **UNSIGNED),
    Form("JPEG 2000, signed", syntax=JPEG2000Lossless),
    Form("JPEG 2000, unsigned", syntax=JPEG2000Lossless, **UNSIGNED),
    Form("JPEG-LS, signed", syntax=JPEGLSLossless),
    Form("JPEG-LS, unsigned", syntax=JPEGLSLossless, **UNSIGNED),
    Form("lossless JPEG, signed", syntax=JPEGLosslessSV1),
    Form("lossless JPEG, unsigned", syntax=JPEGLosslessSV1, **UNSIGNED),
    Form("12 bits of 16", change=twelve_bits, **UNSIGNED),
    Form("32 bits", kind="int32"),
    Form("packed, slopes that differ by slice", syntax=JPEG2000Lossless, slope=halved),
    # -- places
    Form("files in reverse order", order=DOWN),
    Form("files shuffled", order=SHUFFLED),
    Form("oblique", turn=OBLIQUE, order=SHUFFLED),
    Form("a coronal stack", turn=CORONAL),
    Form("lying on the belly", turn=((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))),
    Form("feet first", turn=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), order=SHUFFLED),
    Form("a sagittal stack", turn=((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))),
    Form("positions rounded to one decimal", change=rounded(1)),
    Form("one slice a tenth of a slice off", change=on((5,), moved(0.1))),
    Form("one slice four tenths of a slice off", "mm apart, the others 2.5 mm", change=on((5,), moved(0.4))),
    Form("gaps that drift", "the gaps drift", change=drifting),
    Form("a slice missing", "lie 5 mm apart, the others 2.5 mm", keep=LACKING),
    Form("a slice beside the stack", "beside the stack of the others", change=on((5,), moved(2.0, axis=0))),
    Form(
        "one slice of another orientation",
        "turned by",
        change=on((5,), put(ImageOrientationPatient=[*OBLIQUE[0], *OBLIQUE[1]])),
    ),
    Form(
        "two phases",
        "two phases",
        change=lambda d, i: put(ImagePositionPatient=[-30, -45, 120 + 2.5 * (i // 2)], AcquisitionNumber=1 + i % 2)(
            d, i
        ),
    ),
    Form(
        "two studies in one series",
        "2 different StudyInstanceUID",
        change=put(StudyInstanceUID=lambda i: f"1.2.{i % 2}"),
    ),
    Form(
        "a study and a frame of reference for each slice",
        change=put(StudyInstanceUID=own_uid, FrameOfReferenceUID=own_uid),
    ),
    Form("two patients in one series", "2 different PatientID", change=put(PatientID=lambda i: f"P{i % 2}")),
    Form(
        "two frames of reference",
        "2 different FrameOfReferenceUID",
        change=put(FrameOfReferenceUID=lambda i: f"{STEM}.{i // 6}"),
    ),
    Form("one slice twice", "lie at the same position", change=on((5,), moved(-1.0))),
    Form("all slices at one position", "lie at one position, (0, 0, 0) mm", change=put(ImagePositionPatient=[0, 0, 0])),
    Form("no position", NO_PLACE, change=gone("ImagePositionPatient")),
    Form("no position in one slice", NO_PLACE, change=on((5,), gone("ImagePositionPatient"))),
    Form("no orientation", "lacks ImageOrientationPatient", change=gone("ImageOrientationPatient")),
    Form(
        "a position of two numbers",
        "ImagePositionPatient (0020,0032) is",
        change=on((3,), put(ImagePositionPatient=[1, 2])),
    ),
    Form("one slice alone, its thickness known", "", "2.5 mm thick, as its header says", keep=(4,)),
    Form("one slice alone without thickness", "one slice alone, and neither", keep=(4,), change=gone("SliceThickness")),
    # -- spacing tags
    Form("no PixelSpacing", NO_SPACING, change=gone("PixelSpacing")),
    Form("PixelSpacing empty", NO_SPACING, change=put(PixelSpacing=None)),
    Form("ImagerPixelSpacing alone", NO_SPACING, change=both(gone("PixelSpacing"), put(ImagerPixelSpacing=[0.8, 0.7]))),
    Form("ImagerPixelSpacing beside it, magnified", change=put(ImagerPixelSpacing=[1.2, 1.05])),
    Form("PixelSpacing of one number", "PixelSpacing (0028,0030) is '0.8'", change=put(PixelSpacing=0.8)),
    Form("PixelSpacing 0", "PixelSpacing (0028,0030) is 0 x 0.7", change=put(PixelSpacing=[0, 0.7])),
    Form("PixelSpacing in metres", "its spacing is 0.0007 x 0.0008", change=put(PixelSpacing=[0.0008, 0.0007])),
    Form("PixelSpacing missing in one slice", NO_SPACING, change=on((7,), gone("PixelSpacing"))),
    Form("PixelSpacing of one slice another", "pixels of 0.8 x 0.9 mm", change=on((7,), put(PixelSpacing=[0.8, 0.9]))),
    Form("SpacingBetweenSlices 0", change=put(SpacingBetweenSlices=0)),
    Form("SpacingBetweenSlices negative", change=put(SpacingBetweenSlices=-2.5)),
    Form(
        "SpacingBetweenSlices at odds with positions",
        "",
        "SpacingBetweenSlices (0018,0088) says 5",
        change=put(SpacingBetweenSlices=5),
    ),
    Form("thickness at odds with positions (overlap)", change=put(SliceThickness=5)),
    # -- classes
    Form("class CR", storage=ComputedRadiographyImageStorage),
    Form(
        "class CR, ImagerPixelSpacing alone",
        NO_SPACING,
        storage=ComputedRadiographyImageStorage,
        change=both(gone("PixelSpacing"), put(ImagerPixelSpacing=[0.8, 0.7])),
    ),
    Form("secondary capture with all tags", storage=SecondaryCaptureImageStorage),
    Form(
        "secondary capture without place",
        NO_PLACE,
        storage=SecondaryCaptureImageStorage,
        change=gone("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    ),
    Form("an unknown class", storage=f"{STEM}.77"),
    Form("the enhanced class, a file a slice, flat tags", storage=EnhancedCTImageStorage),
    Form("another modality", "modality MR", storage=MRImageStorage, change=put(Modality="MR")),
    # -- rescale
    Form("slope 0.5", slope=lambda i: 0.5),
    Form("slope and intercept that differ by slice", slope=halved, intercept=lambda i: -10.0 * i),
    Form("sign that differs by slice", change=half_signed),
    Form("bits that differ by slice", change=eight_and_sixteen),
    Form("no rescale tags at all, stored HU", change=gone("RescaleSlope", "RescaleIntercept")),
    Form(
        "no rescale tags in one slice",
        "no RescaleSlope (0028,1053) and intercept",
        change=on((7,), gone("RescaleSlope", "RescaleIntercept")),
    ),
    Form("slope without intercept", "rescale slope 1.0 and intercept missing", change=gone("RescaleIntercept")),
    Form("slope 0", "rescale slope 0.0", change=on((7,), put(RescaleSlope=0))),
    Form("values in another unit", "its values are in MGML", change=put(RescaleType="MGML")),
    Form("MONOCHROME1", change=put(PhotometricInterpretation="MONOCHROME1")),
    Form("MONOCHROME1, RLE, signed", syntax=RLELossless, change=put(PhotometricInterpretation="MONOCHROME1")),
    Form(
        "MONOCHROME1, JPEG 2000, unsigned",
        syntax=JPEG2000Lossless,
        change=put(PhotometricInterpretation="MONOCHROME1"),
        **UNSIGNED,
    ),
    Form("MONOCHROME1, JPEG-LS, signed", syntax=JPEGLSLossless, change=put(PhotometricInterpretation="MONOCHROME1")),
    Form(
        "MONOCHROME1, JPEG, unsigned",
        syntax=JPEGLosslessSV1,
        change=put(PhotometricInterpretation="MONOCHROME1"),
        **UNSIGNED,
    ),
    Form("a palette", "is 'PALETTE COLOR'", change=put(PhotometricInterpretation="PALETTE COLOR")),
    Form("padding beyond what is stored", change=padded(63536), **UNSIGNED),
    Form("padding of -2000, its tag unsigned", change=padded(-2000)),
    Form("fewer Rows than pixels", "pixels, ", change=put(Rows=SHAPE[1] - 2)),
    Form("bits from bit 4 on", "bits allocated", change=put(BitsStored=12, HighBit=15)),
    # -- enhanced, many frames
    Form("enhanced", **ENHANCED),
    Form("enhanced, frames downwards", storage=EnhancedCTImageStorage, frames=DOWN),
    Form("enhanced, frames shuffled", storage=EnhancedCTImageStorage, frames=SHUFFLED),
    Form("enhanced, frames shuffled, oblique", storage=EnhancedCTImageStorage, frames=SHUFFLED, turn=OBLIQUE),
    Form(
        "enhanced, a frame missing",
        "lie 5 mm apart, the others 2.5 mm",
        storage=EnhancedCTImageStorage,
        frames=SHUFFLED,
        keep=LACKING,
    ),
    Form("enhanced, rescale that differs by frame", slope=halved, intercept=lambda i: -3.0 * i, **ENHANCED),
    Form(
        "enhanced, rescale missing in one frame",
        "no RescaleSlope",
        change_frame=on((2,), gone(RESCALE)),
        **ENHANCED,
    ),
    Form(
        "enhanced, rescale in the shared groups",
        change=shared_rescale,
        change_frame=gone(RESCALE),
        intercept=lambda i: -5.0,
        **ENHANCED,
    ),
    Form("enhanced, no positions", NO_PLACE, change_frame=gone("PlanePositionSequence"), **ENHANCED),
    Form("enhanced, a position missing", NO_PLACE, change_frame=on((2,), gone("PlanePositionSequence")), **ENHANCED),
    Form(
        "enhanced, two frames at one position",
        "lie at the same position",
        change_frame=on((2,), in_groups("PlanePositionSequence", ImagePositionPatient=[-30, -45, 122.5])),
        **ENHANCED,
    ),
    Form("enhanced, flat spacing and orientation", change=flat_measures, **ENHANCED),
    Form(
        "enhanced, no spacing anywhere",
        NO_SPACING,
        change=lambda d, i: gone("PixelMeasuresSequence")(d.SharedFunctionalGroupsSequence[0], i),
        **ENHANCED,
    ),
    Form(
        "enhanced, spacing that differs by frame",
        "pixels of 0.8 x 0.9 mm",
        change_frame=on((2,), in_groups("PixelMeasuresSequence", PixelSpacing=[0.8, 0.9])),
        **ENHANCED,
    ),
    Form(
        "enhanced, orientation of one frame another",
        "turned by",
        change_frame=on(
            (2,), in_groups("PlaneOrientationSequence", ImageOrientationPatient=[*OBLIQUE[0], *OBLIQUE[1]])
        ),
        **ENHANCED,
    ),
    Form(
        "enhanced, groups for fewer frames",
        "functional groups for 11 frames",
        change=lambda d, i: d.PerFrameFunctionalGroupsSequence.pop(),
        **ENHANCED,
    ),
    Form("enhanced, JPEG 2000, shuffled", storage=EnhancedCTImageStorage, frames=SHUFFLED, syntax=JPEG2000Lossless),
    Form("enhanced, RLE, rescale that differs by frame", syntax=RLELossless, intercept=lambda i: -3.0 * i, **ENHANCED),
    Form("enhanced, JPEG-LS, unsigned", syntax=JPEGLSLossless, **ENHANCED, **UNSIGNED),
    Form("enhanced, big endian", syntax=ExplicitVRBigEndian, **ENHANCED),
    Form("enhanced, deflated", syntax=DeflatedExplicitVRLittleEndian, **ENHANCED),
    Form("the plain class, many frames, one position", NO_PLACE, frames=ALL, change=plain_multi_frame),
    Form("the plain class, many frames, with groups", frames=SHUFFLED),
)
LOSSY = Form("12-bit lossy JPEG", syntax=JPEGExtended12Bit, change=twelve_bits, **UNSIGNED)
"""Its values are what its decoder makes of them, so it is compared with ITK's."""
TITLE = "## DICOM forms"


def markdown() -> str:
    """From the table's title to the end of the page."""
    read = [form for form in FORMS if not form.told]
    title = f"{TITLE}: {len(FORMS)}, {len(read)} read right, {len(FORMS) - len(read)} refused in one line"
    lines = ["| form | outcome |", "| --- | --- |"]
    for form in FORMS:
        outcome = f"... {form.told} ..." if form.told else f"read; ... {form.noted} ..." if form.noted else "read"
        lines.append(f"| {form.name} | {outcome} |")
    return f"{title}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "reference" / "dicom_forms.md"
    page.write_text(page.read_text(encoding="utf-8").partition(TITLE)[0] + markdown(), encoding="utf-8")
