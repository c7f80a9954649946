"""Files to volumes and back, data sets and inputs as they lie on disk; a format is one file of `formats`."""

import SimpleITK as sitk

from bisc.imageio.case import CaseImage, check_same_grid, on_grid_of
from bisc.imageio.images import (
    IMAGE_SUFFIXES,
    StoredImage,
    files_of,
    image_suffix,
    read_header,
    read_image,
    read_labels,
    read_size,
    read_stored_geometry,
    write_image,
)
from bisc.system.memory import usable_cores

__all__ = [
    "IMAGE_SUFFIXES",
    "CaseImage",
    "StoredImage",
    "check_same_grid",
    "files_of",
    "image_suffix",
    "on_grid_of",
    "read_header",
    "read_image",
    "read_labels",
    "read_size",
    "read_stored_geometry",
    "write_image",
]

# ITK writes warnings of several lines straight to stderr; what matters of them is raised as an error here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)
# It knows the cores a process may run on, not how much of their time a control group leaves to it.
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(
    min(usable_cores(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
)
