"""A small network that tries to tell simulated patches from real ones, judged on patients it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchmarks.realism.auc import Auc, patient_auc
from benchmarks.realism.patches import PLACES, Patches

FOLDS: Final = 4
EPOCHS: Final = 10
BATCH: Final = 48


@dataclass(frozen=True)
class Verdict:
    """The AUC over all patches, and over those of each place that both sides show."""

    all: Auc
    by_place: dict[str, Auc]


def tell_apart(real: Patches, simulated: Patches, seed: int, epochs: int = EPOCHS) -> Verdict:
    """Cross-validated: patients are dealt to four folds, each is scored by a network trained on the other three.

    A score is compared only with scores of the same fold, since each network has its own scale.
    """
    rng = np.random.default_rng(seed)
    folds = [_deal(p.n_patients, rng) for p in (real, simulated)]
    fold = np.concatenate([f[p.patient] for f, p in zip(folds, (real, simulated), strict=True)])
    hu = torch.from_numpy(np.concatenate([real.hu, simulated.hu]))[:, None]
    truth = torch.from_numpy(np.repeat([0.0, 1.0], [len(real.hu), len(simulated.hu)])).float()
    weight = torch.from_numpy(np.concatenate([_weights(real), _weights(simulated)])).float()
    weight /= weight.mean()
    scores = np.empty(len(fold))
    for k in range(FOLDS):
        train, test = torch.from_numpy(fold != k), torch.from_numpy(fold == k)
        net = _train(hu[train], truth[train], weight[train], seed=seed * FOLDS + k, epochs=epochs)
        with torch.inference_mode():
            scores[test.numpy()] = net(_normal(hu[test])).double().numpy()
    comparable = folds[0][:, None] == folds[1][None, :]
    ours, theirs = scores[len(real.hu) :], scores[: len(real.hu)]
    by_place = {}
    for kind, name in enumerate(PLACES):
        found = _auc(real, simulated, theirs, ours, comparable, (real.place == kind, simulated.place == kind))
        if found is not None:
            by_place[name] = found
    whole = _auc(real, simulated, theirs, ours, comparable, (real.place >= 0, simulated.place >= 0))
    if whole is None:
        raise ValueError("no fold holds both real and simulated patches: give more patients")
    return Verdict(whole, by_place)


def halves(patches: Patches, seed: int) -> tuple[Patches, Patches]:
    """Two halves of the patients, drawn at random: what there is nothing to tell apart in."""
    order = np.random.default_rng(seed).permutation(patches.n_patients)
    parts = []
    for own in (order[::2], order[1::2]):
        keep = np.isin(patches.patient, own)
        number = np.unique(patches.patient[keep], return_inverse=True)[1]
        parts.append(Patches(patches.hu[keep], patches.place[keep], number.astype(np.int64)))
    return parts[0], parts[1]


class _Net(nn.Sequential):
    """(n, 2, 48, 48) to (n,): above 0 speaks for simulated."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in ((2, 16), (16, 24), (24, 32)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.AvgPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1), nn.Flatten(0))


def _train(hu: Tensor, truth: Tensor, weight: Tensor, seed: int, epochs: int) -> _Net:
    """Adam on the weighted cross-entropy, patches turned and mirrored at random. The same seed, the same network."""
    chance = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    steps = epochs * -(-len(hu) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(hu), generator=chance), BATCH):
            if len(batch) < 2:  # batch norm needs more than one
                schedule.step()
                continue
            turns, mirrored = torch.randint(0, 4, (2,), generator=chance).tolist()
            x = torch.rot90(_normal(hu[batch]), turns, (2, 3))
            loss = nn.functional.binary_cross_entropy_with_logits(
                net(x.flip(3) if mirrored % 2 else x), truth[batch], weight[batch]
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return net.eval()


def _normal(hu: Tensor) -> Tensor:
    """(n, 1, 48, 48) HU to two channels: themselves, and what a mean of 5 x 5 px takes away, each about unit size."""
    fine = hu - nn.functional.avg_pool2d(nn.functional.pad(hu, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    return torch.cat([(hu - 64.0) / 64.0, fine / 16.0], dim=1)


def _deal(n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """The fold of each patient; folds differ by one patient at most."""
    return np.asarray(rng.permutation(n) % FOLDS, np.int64)


def _weights(patches: Patches) -> npt.NDArray[np.float64]:
    """Every patient of a side weighs the same; a side weighs 1."""
    counts = np.bincount(patches.patient)
    return np.asarray(1 / patches.n_patients / counts[patches.patient])


def _auc(
    real: Patches,
    simulated: Patches,
    real_scores: npt.NDArray[np.float64],
    simulated_scores: npt.NDArray[np.float64],
    comparable: npt.NDArray[np.bool_],
    keep: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
) -> Auc | None:
    """Over the patches kept; None where no patient of one side has any."""
    sides, rows = [], []
    for patches, scores, kept in zip((real, simulated), (real_scores, simulated_scores), keep, strict=True):
        own = np.unique(patches.patient[kept])
        rows.append(own)
        sides.append([scores[kept & (patches.patient == p)] for p in own])
    pairs = comparable[np.ix_(*rows)]
    return patient_auc(sides[0], sides[1], pairs) if pairs.any() else None
