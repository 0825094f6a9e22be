"""The length-controlled win rate: what it would be if both answers were equally long. Pure functions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.evaluation.abtest import FINAL, z_of
from pipeline.evaluation.winrates import Estimate

PRIOR = 2.5  # standard deviation of both coefficients; keeps them finite if length alone separates wins from losses

Floats = NDArray[np.float64]


def length_controlled(outcomes: Sequence[float], longer: ArrayLike) -> Estimate:
    """Return the win rate at equal lengths, with its interval for a single look.

    `outcomes` [prompts] are 1, 0.5 or 0 for the first policy; `longer` [prompts] is by how much its answer is longer.
    Logistic regression, as AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475): logit P(win) = a + b tanh(longer / its
    standard deviation), read at b = 0. (Without their term for a prompt's difficulty, which needs many models.) A weak
    normal prior keeps the coefficients finite (Gelman et al. 2008, arXiv 0901.4011). Ties vary less than wins and
    losses, so with ties the interval is wider than necessary, which is safe.
    """
    from scipy.optimize import minimize  # the import takes a second
    from scipy.special import expit

    won, difference = np.asarray(outcomes, float), np.asarray(longer, float)
    spread = difference.std()
    x = np.column_stack([np.ones_like(won), np.tanh(difference / spread) if spread else np.zeros_like(won)])

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = x @ weights
        value = np.logaddexp(0, z).sum() - won @ z + weights @ weights / (2 * PRIOR**2)
        return float(value), x.T @ (expit(z) - won) + weights / PRIOR**2

    weights = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    chance = expit(x @ weights)
    covariance = np.linalg.inv((x.T * chance * (1 - chance)) @ x + np.eye(2) / PRIOR**2)
    half = z_of(FINAL) * np.sqrt(covariance[0, 0])
    value, low, high = expit([weights[0], weights[0] - half, weights[0] + half])
    return Estimate(float(value), float(low), float(high))
