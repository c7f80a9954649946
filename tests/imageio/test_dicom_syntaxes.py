"""Transfer syntaxes: GE's own, whose pixels alone are big endian, and those that are not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRBigEndian, JPEGLSLossless

from bisc.core.errors import InputError
from bisc.imageio import read_image
from bisc.imageio.formats.dicom.elements import elements_fit
from tests.support.dicom_changes import ENHANCED, UNSIGNED
from tests.support.dicom_forms import Form, phantom

pytestmark = pytest.mark.filterwarnings("ignore:Expected explicit VR")
GE = UID("1.2.840.113619.5.2")
DICOMS = "1.2.840.10008.1.2"


def as_ge(folder: Path) -> Path:
    for path in folder.iterdir():
        data = dcmread(path)
        data.PixelData = np.frombuffer(data.PixelData, "<u2").byteswap().tobytes()
        data["PixelData"].VR = "OW"
        data.file_meta.TransferSyntaxUID = GE
        data.save_as(path, implicit_vr=True, little_endian=True)
    return folder


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_ges_own_syntax_is_read(tmp_path: Path, frames: bool, signed: bool) -> None:
    """Implicit, little endian, the pixels big endian; it ended in an error of its library."""
    how = (ENHANCED if frames else {}) | ({} if signed else UNSIGNED)
    folder = as_ge(Form("", **how).write(tmp_path / "s"))
    assert np.array_equal(read_image(folder).volume.array, phantom())


def rename_syntax(path: Path, syntax: str) -> None:
    """pydicom writes none that it does not know."""
    whole, old = path.read_bytes(), JPEGLSLossless.encode()
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    at = whole.index(old) - 2
    n = int.from_bytes(whole[140:144], "little") + len(new) - len(old)
    meta = whole[:140] + n.to_bytes(4, "little") + whole[144:at] + len(new).to_bytes(2, "little")
    path.write_bytes(meta + new + whole[at + 2 + len(old) :])


NOT_READ = {
    f"{DICOMS}.4.110": "(JPEG XL), which is not read",
    f"{DICOMS}.4.112": "(JPEG XL), which is not read",
    f"{DICOMS}.4.201": "(High-Throughput JPEG 2000 Image Compression (Lossless Only)), which is not read",
    f"{DICOMS}.4.102": "(MPEG-4 AVC/H.264 High Profile / Level 4.1), which is not read",
    f"{DICOMS}.8.1": "(Deflated Image Frame Compression), which is not read",
    f"{DICOMS}.4.999": f"transfer syntax {DICOMS}.4.999, which is not read",
}


@pytest.mark.parametrize("syntax", NOT_READ)
def test_syntaxes_that_are_not_read_are_refused_in_one_line(tmp_path: Path, syntax: str) -> None:
    folder = Form("").write(tmp_path / "s")
    for path in folder.iterdir():
        data = dcmread(path)
        data.file_meta.TransferSyntaxUID = JPEGLSLossless
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.PixelData = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0" + (64).to_bytes(4, "little") + bytes(64)
        data.save_as(path)
        rename_syntax(path, syntax)
        assert elements_fit(path)
    with pytest.raises(InputError) as caught:
        read_image(folder)
    assert NOT_READ[syntax] in str(caught.value)
    assert str(caught.value).endswith("plain pixels, or JPEG, JPEG-LS, JPEG 2000 or RLE; export it again, unpacked")


@pytest.mark.parametrize("syntax", [GE, ExplicitVRBigEndian])
def test_pixels_that_end_early_are_told(tmp_path: Path, syntax: UID) -> None:
    folder = Form("", keep=(0,), syntax=ExplicitVRBigEndian if syntax != GE else Form("").syntax).write(tmp_path / "s")
    folder = as_ge(folder) if syntax == GE else folder
    path = folder / "IM000.dcm"
    data = dcmread(path)
    data.PixelData = data.PixelData[:-30]
    data.save_as(path, implicit_vr=syntax == GE, little_endian=syntax == GE)
    with pytest.raises(InputError, match="237 pixels are there, 252 needed for frame 1"):
        read_image(path)
