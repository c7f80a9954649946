"""Optimisers by name: Adam, the paper's, and Muon, which learns more per step where minutes count."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import hardshrink
from torch.optim import Adam, Optimizer

from bisc.core.choices import OptimizerName
from bisc.trainers.settings import RunSettings

MOMENTUM: Final = 0.95
NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS: Final = 5
NOTHING: Final = 1e-9
"""Part of a momentum's largest value below which a CPU takes its values for 0: float32 rounds what they add up to away,
and those of filters that get no gradient any more would shrink to denormal numbers, which make a step take three
times as long (docs/lab/performance.md)."""
ADAM_BETAS_BESIDE_MUON: Final = (0.9, 0.98)
ADAM_SHARE_BESIDE_MUON: Final = 0.3
"""Rate of the values that Muon leaves to Adam, as a share of Muon's."""
WARM_UP_STEPS: Final = 40
"""At most a tenth of the run. Full rate at once left the rough stage at 'all background' for 240 steps (Adam, 1e-2)."""
FIRST: Final = "down_1.0."
"""How the names of the first convolution's values begin."""
SHARE: Final = "share"
"""Key of a parameter group: its part of the run's learning rate."""


class Muon(Optimizer):
    """Momentum whose step is made orthogonal, for convolution filters.

    A filter bank (out, in, z, y, x) is taken as a matrix of `out` rows. With the gradient g, the momentum
    b <- 0.95 b + 0.05 g, the step is orthogonalised(0.05 g + 0.95 b) by five Newton-Schulz iterations, times
    rate x sqrt(max(1, rows / columns)): every direction the filters can move in moves equally far.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". torch.optim.Muon takes
    matrices alone, and is not in every torch of setup.cfg's range; tests compare the two.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step; parameters without a gradient stay as they are."""
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            ahead = [self._ahead(parameter) for parameter in moving]
            for parameter, matrix in zip(moving, orthogonalised(ahead), strict=True):
                rows, columns = matrix.shape
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                parameter.add_(matrix.reshape(parameter.shape), alpha=-rate)

    def _ahead(self, parameter: Tensor) -> Tensor:
        """The momentum, brought up to this step's gradient and one look ahead, as a matrix."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        if not momentum.is_cuda:
            momentum.copy_(hardshrink(momentum, NOTHING * float(momentum.abs().max())))
        return gradient.lerp(momentum, MOMENTUM).reshape(len(parameter), -1)


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """U V^T of each (rows, columns) matrix U S V^T, nearly: singular values come out between about 0.7 and 1.2.

    An iteration is x <- (a + b g + c g^2) x with g = x x^T, so that all are one polynomial of the first g, applied to
    the matrix once. The g, which are small, are padded with zeros and computed together, in a tenth of the calls.
    """
    if not matrices:
        return []
    a, b, c = NEWTON_SCHULZ
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    size = max(len(matrix) for matrix in wide)
    gram = wide[0].new_zeros(len(wide), size, size)
    for i, matrix in enumerate(wide):
        torch.mm(matrix, matrix.T, out=gram[i, : len(matrix), : len(matrix)])
    norms = gram.diagonal(dim1=1, dim2=2).sum(1).sqrt()[:, None, None] + 1e-7
    gram = gram / norms**2
    one = torch.eye(size, dtype=gram.dtype, device=gram.device)
    whole = one / norms
    for _ in range(NEWTON_SCHULZ_STEPS):
        step = a * one + b * gram + c * gram @ gram
        whole, gram = step @ whole, step @ gram @ step
    found = [whole[i, : len(matrix), : len(matrix)] @ matrix for i, matrix in enumerate(wide)]
    return [x.T if m.shape[0] > m.shape[1] else x for x, m in zip(found, matrices, strict=True)]


def make_optimizers(name: OptimizerName, network: nn.Module, learning_rate: float) -> tuple[Optimizer, ...]:
    """The optimisers of a run. Muon moves the filters between hidden levels; Adam the first, the last, the norms."""
    if name == "adam":
        return (Adam([{"params": list(network.parameters()), SHARE: 1.0}], lr=learning_rate),)
    hidden = [p for n, p in network.named_parameters() if _is_hidden(n, p)]
    chosen = {id(p) for p in hidden}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    adam = Adam([{"params": rest, SHARE: ADAM_SHARE_BESIDE_MUON}], lr=learning_rate, betas=ADAM_BETAS_BESIDE_MUON)
    return Muon([{"params": hidden, SHARE: 1.0}], learning_rate), adam


def set_rate(optimizers: Sequence[Optimizer], learning_rate: float) -> None:
    """Give every group its share of a step's rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group[SHARE] * learning_rate


def learning_rate(settings: RunSettings, step: int) -> float:
    """The rate of a step: constant, or a linear rise over the first steps and a cosine to zero at the run's end."""
    if settings.schedule == "constant":
        return settings.learning_rate
    rise = min(1.0, (step + 1) / max(1, min(WARM_UP_STEPS, settings.total_steps // 10)))
    return settings.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * step / settings.total_steps))


def _is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Filters larger than a voxel; not those that see the image, and no classifiers, which are of one voxel."""
    return parameter.ndim == 5 and parameter.shape[2] > 1 and not name.startswith(FIRST)
