"""Packs the pixels of DICOM files, in place: `python dicom_pack.py SYNTAX FILE...`.

By GDCM, in a process of its own: its library and the GDCM within ITK share what is global in one process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gdcm  # type: ignore[import-untyped]
from pydicom import dcmread
from pydicom.uid import UID, JPEG2000Lossless, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

CODES = {
    RLELossless: gdcm.TransferSyntax.RLELossless,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
}


def pack(path: Path, syntax: str) -> None:
    """GDCM's writer makes the header its own, too: only its pixels are taken over."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(CODES[UID(syntax)]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    packed = path.with_name("packed")
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    data = dcmread(path)
    data.file_meta.TransferSyntaxUID = UID(syntax)
    data.PixelData = dcmread(packed).PixelData
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    packed.unlink()
    data.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        pack(Path(name), sys.argv[1])
