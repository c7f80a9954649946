"""SC-UNet and the files its weights live in."""

from bisc.core.limits import Norm
from bisc.network.sc_unet import DIVISOR, Branches, SCUNet, count_parameters

__all__ = ["DIVISOR", "Branches", "Norm", "SCUNet", "count_parameters"]
