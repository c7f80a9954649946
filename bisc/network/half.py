"""Half precision for prediction, for as long as it gives float32's masks."""

from __future__ import annotations

from typing import Final, Protocol

import torch
from torch import Tensor

from bisc.core.notices import notice

LEAST_DICE: Final = 0.999
"""Of the labels in half precision with those in float32: below it the network computes in float32."""
BLOCK: Final = (32, 64, 64)
"""What is computed in both, around the first foreground that is found: a twelfth of a kidney's ROI. Divisible by 8."""


class RegionNetwork(Protocol):
    """What prediction needs of a network."""

    def forward_region(self, image: Tensor) -> Tensor:
        """(batch, 3, z, y, x) logits of a (batch, 1, z, y, x) image."""


class CheckedHalf:
    """A network in half precision, checked once against float32 on the first image that shows it a kidney.

    Args:
        half: In bf16 or fp16, by its own types or under autocast.
        exact: The same network in float32.
    """

    def __init__(self, half: RegionNetwork, exact: RegionNetwork) -> None:
        self.half, self.exact = half, exact
        self.trusted: bool | None = None
        """None until there was a kidney to check it on."""

    def forward_region(self, image: Tensor) -> Tensor:
        """(batch, 3, z, y, x) logits of a (batch, 1, z, y, x) image; each axis divisible by 8."""
        if self.trusted is not False:
            logits = self.half.forward_region(image)
            if self._holds(image, logits):
                return logits
        return self._exactly(image)

    def _holds(self, image: Tensor, logits: Tensor) -> bool:
        """Whether half precision's logits may be used, as far as is known by now."""
        if not bool(logits.isfinite().all()):
            self._judge(False, "it overflows")
        elif self.trusted is None:
            self._check(image, logits)
        return self.trusted is not False

    def _check(self, image: Tensor, logits: Tensor) -> None:
        found = (logits.argmax(dim=1) > 0).nonzero()
        if not len(found):
            return
        which = int(found[0, 0])
        middle = found[found[:, 0] == which, 1:].double().mean(dim=0).round().int().tolist()
        block = image[which : which + 1]
        for axis, (centre, size) in enumerate(zip(middle, BLOCK, strict=True), start=2):
            n = block.shape[axis]
            start = min(max(0, centre - size // 2), max(0, n - size))
            block = block.narrow(axis, start, min(size, n))
        dice = labels_dice(self.half.forward_region(block), self._exactly(block))
        self._judge(dice >= LEAST_DICE, f"Dice {dice:.4f} with float32's labels")

    def _judge(self, trusted: bool, found: str) -> None:
        self.trusted = trusted
        if not trusted:
            notice("half precision", found, "this network computes in float32")

    def _exactly(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            return self.exact.forward_region(image.float())


def labels_dice(a: Tensor, b: Tensor) -> float:
    """Dice of the labels that two (batch, classes, z, y, x) logits give: equal labels over all that are not background.

    1 where both are background throughout.
    """
    one, other = a.argmax(dim=1), b.argmax(dim=1)
    n = int((one > 0).sum()) + int((other > 0).sum())
    return 2.0 * int(((one == other) & (one > 0)).sum()) / n if n else 1.0
