"""BiSC-UNet: a self-configuring cascade for kidneys and kidney tumours in CT."""

from bisc._version import __version__

__all__ = ["__version__"]
