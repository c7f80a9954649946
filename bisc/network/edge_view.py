"""One edge branch of a trained network in the region branch's place, so that prediction sees it as it sees that one."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor, nn

from bisc.network.sc_unet import SCUNet, unpacked

EdgeBranch = Literal["kidney_edge", "tumor_edge"]
EDGE_BRANCHES: Final[tuple[EdgeBranch, ...]] = ("kidney_edge", "tumor_edge")
OUTLINE: Final = 1


class EdgeView(nn.Module):
    """A network's trunk with one of its edge branches.

    Args:
        network: With edges, in eval mode.
        branch: Which of them.
    """

    bytes_per_voxel_feature = SCUNet.bytes_per_voxel_feature

    def __init__(self, network: SCUNet, branch: EdgeBranch) -> None:
        super().__init__()
        self.network, self.branch = network, branch

    def forward_region(self, image: Tensor) -> Tensor:
        """(batch, 3, z, y, x) logits of no outline, of an outline (`OUTLINE`), and of nothing: that one's softmax is
        0."""
        below = self.network.trunk(image)
        seen = below if self.network.edges == "branches" else (self.network.region.group(*below),)
        logits = unpacked(self.network.get_submodule(self.branch)(*seen), self.network.packing)
        return torch.cat((logits, torch.full_like(logits[:, :1], -torch.inf)), dim=1)
