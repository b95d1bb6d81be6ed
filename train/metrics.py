"""How far two sets of pictures are apart, by features of them: Fréchet distance, precision and recall, density and
coverage, P-IDS and U-IDS.

A set is float ``(n, d)``, one row of features a picture; everything is computed in float64. Which network gave the
features is the caller's to say: none of these numbers is comparable across networks or numbers of pictures.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike

NEIGHBOURS = 5


class TooFewSamples(UserWarning):
    """Fewer samples than dimensions: the Fréchet distance is then biased upwards."""


# -- Fréchet distance ----------------------------------------------------------------------------------------


def frechet_distance(real: ArrayLike, fake: ArrayLike) -> float:
    """Fréchet distance of the Gaussians fitted to two sets (Dowson & Landau 1982; Heusel et al. 2017, eq. 6):
    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``, covariances over n - 1.

    With ``C = R' R`` the eigenvalues of ``C1 C2`` are the squared singular values of ``R1 R2'``, so the trace of the
    root is their sum. No root of a nearly singular matrix is taken, which is what loses digits elsewhere.

    Args:
        real, fake: ``(n, d)`` and ``(m, d)``; a :class:`TooFewSamples` warning if n or m is below d.

    Raises:
        ValueError: for NaN or infinite features, sets of different dimensions, or fewer than two samples.
    """
    first, second = checked_pair(real, fake, 2)
    dimensions, fewest = first.shape[1], min(len(first), len(second))
    if fewest < dimensions:
        warnings.warn(
            f"expected at least {dimensions} samples for features of {dimensions} dimensions, got {fewest}: "
            "the Fréchet distance is biased upwards",
            TooFewSamples,
            stacklevel=2,
        )
    one, two = covariance_factor(first), covariance_factor(second)
    root = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    apart = np.square(first.mean(0) - second.mean(0)).sum()
    return max(0.0, float(apart + np.square(one).sum() + np.square(two).sum() - 2 * root))


def covariance_factor(rows: np.ndarray) -> np.ndarray:
    """``R`` of at most d rows with ``R' R`` the covariance of ``rows (n, d)``."""
    return np.linalg.qr((rows - rows.mean(0)) / np.sqrt(len(rows) - 1)).R


# -- precision, recall, density, coverage --------------------------------------------------------------------


def prdc(real: ArrayLike, fake: ArrayLike, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019, eq. 1-2), density and coverage (Naeem et al. 2020, eq. 3-4).

    Around each sample lies a ball that reaches to its k-th nearest neighbour of the same set.

    Args:
        real, fake: ``(n, d)`` and ``(m, d)``.
        neighbours: k.

    Returns:
        ``precision``: share of fakes inside a real ball; ``recall``: share of reals inside a fake ball; ``density``:
        real balls around a fake, divided by k (may exceed 1); ``coverage``: share of real balls with a fake inside.

    Raises:
        ValueError: as :func:`frechet_distance`, or if a set has no more than k samples.
    """
    if neighbours < 1:
        raise ValueError(f"expected at least 1 neighbour, got {neighbours}")
    first, second = checked_pair(real, fake, neighbours + 1)
    real_radius = neighbour_distance(first, neighbours)[:, None]
    fake_radius = neighbour_distance(second, neighbours)[None]
    apart = distances(first, second)
    inside = apart < real_radius
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((apart < fake_radius).any(1).mean()),
        "density": float(inside.sum(0).mean() / neighbours),
        "coverage": float(inside.any(1).mean()),
    }


def neighbour_distance(rows: np.ndarray, neighbours: int) -> np.ndarray:
    """Distance of each of ``rows (n, d)`` to its k-th nearest other one: ``(n,)``."""
    return np.partition(distances(rows, rows), neighbours, axis=1)[:, neighbours]  # the nearest is itself


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances ``(n, m)``, summed term by term: the faster product form loses half the digits."""
    one, two = torch.from_numpy(first), torch.from_numpy(second)
    return torch.cdist(one, two, compute_mode="donot_use_mm_for_euclid_dist").numpy()


# -- P-IDS and U-IDS -----------------------------------------------------------------------------------------


def discriminative_scores(real: ArrayLike, fake: ArrayLike) -> dict[str, float]:
    """Paired and unpaired discriminative scores (Zhao et al. 2021, section 4): how well a linear SVM, fitted to the
    two sets, tells them apart.

    Args:
        real, fake: both ``(n, d)``; row i of one belongs to row i of the other.

    Returns:
        ``p_ids``: share of pairs whose fake looks more real than its real one; ``u_ids``: share of samples on the
        wrong side. Both are 0 for sets that are told apart without fail and reach about 0.5 at best.

    Raises:
        ValueError: as :func:`frechet_distance`, or for sets of different sizes.
    """
    first, second = checked_pair(real, fake, 1)
    if len(first) != len(second):
        raise ValueError(f"expected as many fakes as reals, in pairs, got {len(second)} and {len(first)}")
    targets = np.concatenate([np.ones(len(first)), -np.ones(len(second))])
    weights, bias = fit_linear_svm(np.concatenate([first, second]), targets)
    real_side, fake_side = first @ weights + bias, second @ weights + bias
    wrong = (real_side <= 0).sum() + (fake_side > 0).sum()
    return {"p_ids": float((fake_side > real_side).mean()), "u_ids": float(wrong / (2 * len(first)))}


def fit_linear_svm(rows: np.ndarray, targets: np.ndarray, penalty: float = 1.0) -> tuple[np.ndarray, float]:
    """Weights ``(d,)`` and bias b of the linear SVM with squared hinge loss, that is the exact minimum of
    ``(|w|^2 + b^2) / 2 + penalty * sum(max(0, 1 - y (w x + b))^2)``.

    Newton's method for piecewise quadratic functions (Keerthi & DeCoste 2005): once the set of samples inside the
    margin stays the same, a step ends at the minimum.

    Args:
        rows: float64 ``(n, d)``.
        targets: ``(n,)`` of 1 and -1.
        penalty: C.
    """
    padded = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
    weights = np.zeros(padded.shape[1])

    def objective(candidate: np.ndarray) -> float:
        slack = np.maximum(0, 1 - targets * (padded @ candidate))
        return float(candidate @ candidate / 2 + penalty * (slack @ slack))

    while True:
        inside = targets * (padded @ weights) < 1
        active = padded[inside]
        hessian = np.eye(len(weights)) + 2 * penalty * active.T @ active
        minimum = np.linalg.solve(hessian, 2 * penalty * active.T @ targets[inside])
        if ((targets * (padded @ minimum) < 1) == inside).all():
            return minimum[:-1], float(minimum[-1])
        step, before = minimum - weights, objective(weights)
        while objective(weights + step) >= before:
            step /= 2
            if np.abs(step).max() < 1e-15 * np.abs(weights).max():  # nothing left to gain but rounding
                return weights[:-1], float(weights[-1])
        weights = weights + step


# -- what a set must be --------------------------------------------------------------------------------------


def checked_pair(real: ArrayLike, fake: ArrayLike, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets as float64; raises ValueError as :func:`frechet_distance` says."""
    first, second = checked(real, fewest), checked(fake, fewest)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"expected features of equal dimensions, got {first.shape[1]} and {second.shape[1]}")
    return first, second


def checked(features: ArrayLike, fewest: int) -> np.ndarray:
    rows = np.ascontiguousarray(features, np.float64)
    if rows.ndim != 2 or not rows.shape[1] or len(rows) < fewest:
        raise ValueError(f"expected features (n, d) of at least {fewest} samples, got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("expected finite features, got NaN or infinity")
    return rows
