"""Files to volumes and back: NIfTI, NRRD, MHA and DICOM series through SimpleITK."""

import SimpleITK as sitk

from bisc.imageio.case import CaseImage, check_same_grid, on_grid_of
from bisc.imageio.read import IMAGE_SUFFIXES, image_suffix, read_header, read_image, read_labels, read_stored_geometry
from bisc.imageio.write import write_image
from bisc.system.memory import usable_cores

__all__ = [
    "IMAGE_SUFFIXES",
    "CaseImage",
    "check_same_grid",
    "image_suffix",
    "on_grid_of",
    "read_header",
    "read_image",
    "read_labels",
    "read_stored_geometry",
    "write_image",
]

# ITK writes warnings of several lines straight to stderr; what matters of them is raised as an error here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)
# It knows the cores a process may run on, not how much of their time a control group leaves to it.
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(
    min(usable_cores(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
)
