"""Measures of two sets of features equal those of other people's packages."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from prdc import compute_prdc
from scipy.linalg import sqrtm
from sklearn.svm import LinearSVC

from train import metrics

DIMENSIONS = 64


def drawn(seed: int, count: int, dimensions: int = DIMENSIONS, shift: float = 0.0) -> np.ndarray:
    """Correlated features, as a network's are: most of the spread lies along few directions."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimensions, dimensions)) * np.geomspace(1, 0.05, dimensions)
    return rng.normal(size=(count, dimensions)) @ mixing.T + shift + rng.normal(size=dimensions) * 0.2


# -- Fréchet distance ----------------------------------------------------------------------------------------


def frechet_by_matrix_root(real: np.ndarray, fake: np.ndarray) -> float:
    """The formula as it stands, with scipy's root of the product of covariances."""
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = np.real(np.asarray(sqrtm(first @ second)))
    apart = np.square(real.mean(0) - fake.mean(0)).sum()
    return float(apart + np.trace(first + second - 2 * root))


@pytest.mark.parametrize("seed", range(5))
def test_frechet_distance_equals_scipys_root(seed: int) -> None:
    real, fake = drawn(seed, 300), drawn(seed + 100, 200 + 40 * seed, shift=0.1 * seed)
    expected = frechet_by_matrix_root(real, fake)
    assert expected > 1
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, rel=1e-6)
    assert metrics.frechet_distance(fake, real) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_by_hand() -> None:
    real = drawn(0, 100)
    assert metrics.frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(real, real + 2) == pytest.approx(4 * DIMENSIONS, rel=1e-9)
    # Along one axis the distance is (m1 - m2)^2 + (s1 - s2)^2.
    one, two = np.array([[-1.0], [1.0]]), np.array([[1.0], [7.0]])
    expected = 4.0**2 + (math.sqrt(2) - math.sqrt(18)) ** 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # two samples are enough for one dimension
        assert metrics.frechet_distance(one, two) == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_of_few_samples_warns_and_still_holds() -> None:
    real, fake = drawn(1, DIMENSIONS - 1), drawn(2, 200)
    with pytest.warns(metrics.TooFewSamples, match="at least 64 samples .* got 63: .* biased upwards"):
        few = metrics.frechet_distance(real, fake)
    assert few == pytest.approx(frechet_by_matrix_root(real, fake), rel=1e-3)  # the root of a singular matrix
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.frechet_distance(drawn(1, DIMENSIONS), fake)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    "measure",
    [metrics.frechet_distance, metrics.prdc, metrics.discriminative_scores],
    ids=lambda m: m.__name__,
)
def test_damaged_features_are_refused(measure, side: int, value: float) -> None:
    sets = [drawn(1, 80), drawn(2, 80)]
    sets[side][3, 5] = value
    with pytest.raises(ValueError, match="expected finite features, got NaN or infinity"):
        measure(*sets)


def test_sets_that_do_not_fit_are_refused() -> None:
    real = drawn(0, 20)
    with pytest.raises(ValueError, match="equal dimensions, got 64 and 8"):
        metrics.frechet_distance(real, drawn(0, 20, 8))
    with pytest.raises(ValueError, match=r"at least 2 samples, got \(1, 64\)"):
        metrics.frechet_distance(real, real[:1])
    with pytest.raises(ValueError, match=r"at least 6 samples, got \(5, 64\)"):
        metrics.prdc(real, real[:5])
    with pytest.raises(ValueError, match="at least 1 neighbour"):
        metrics.prdc(real, real, 0)
    with pytest.raises(ValueError, match="as many fakes as reals, in pairs, got 7 and 20"):
        metrics.discriminative_scores(real, real[:7])


# -- precision, recall, density, coverage --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reals", "fakes", "neighbours"), [(150, 90, 5), (60, 200, 3), (40, 40, 1), (8, 8, 5)]
)
def test_prdc_equals_the_package(reals: int, fakes: int, neighbours: int) -> None:
    real, fake = drawn(reals, reals, 4), drawn(reals, fakes + 1, 4)[1:] * 0.8
    expected = compute_prdc(real, fake, neighbours)
    found = metrics.prdc(real, fake, neighbours)
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-6)
    if reals > 40:  # and says something
        assert all(0.05 < value != 1 for value in found.values())


def test_prdc_by_hand() -> None:
    real, fake = np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [0.6], [100.0]])
    # Balls to the nearest other one: real (-1, 1), (0, 2), (1, 19); fake (0.4, 0.6), (0.5, 0.7), (0.6, 199.4).
    assert metrics.prdc(real, fake, 1) == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "density": 4 / 3, "coverage": 2 / 3}
    )


# -- P-IDS and U-IDS -----------------------------------------------------------------------------------------


def fitted(rows: np.ndarray, targets: np.ndarray) -> LinearSVC:
    settings: dict[str, Any] = {"dual": False, "tol": 1e-12, "max_iter": 100_000}
    return LinearSVC(**settings).fit(rows, targets)


def objective(rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, bias: float) -> float:
    slack = np.maximum(0, 1 - targets * (rows @ weights + bias))
    return float((weights @ weights + bias**2) / 2 + slack @ slack)


@pytest.mark.parametrize("seed", range(6))
def test_discriminative_scores_equal_scikit_learn(seed: int) -> None:
    count, scale = 60 + 50 * seed, 10.0 ** (seed / 2 - 1)
    real = drawn(seed, count) * scale
    fake = (drawn(seed, count, shift=0.1) + np.random.default_rng(9).normal(size=(count, 64))) * scale
    rows, targets = np.concatenate([real, fake]), np.repeat((1.0, -1.0), count)
    machine = fitted(rows, targets)
    weights, bias = metrics.fit_linear_svm(rows, targets)
    expected = machine.decision_function(rows)
    assert rows @ weights + bias == pytest.approx(expected, abs=1e-6 * np.abs(expected).max())
    assert objective(rows, targets, weights, bias) <= objective(
        rows, targets, np.asarray(machine.coef_)[0], float(np.asarray(machine.intercept_)[0])
    ) * (1 + 1e-12)
    found = metrics.discriminative_scores(real, fake)
    assert found["u_ids"] == pytest.approx(1 - machine.score(rows, targets), rel=1e-6)
    assert found["p_ids"] == pytest.approx((expected[count:] > expected[:count]).mean(), rel=1e-6)
    assert 0 < found["p_ids"] < 0.5


def test_discriminative_scores_of_sets_apart_and_alike() -> None:
    real = drawn(1, 90)
    assert metrics.discriminative_scores(real, real + 50) == {"p_ids": 0, "u_ids": 0}
    alike = metrics.discriminative_scores(real, real[::-1])
    assert alike["u_ids"] == pytest.approx(0.5)
