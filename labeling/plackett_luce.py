"""Estimates the order of answers and the precision of annotators, from rankings with ties. Pure functions.

The model of Luce (1959) and Plackett (1975, Applied Statistics 24:193-202), with a precision of each annotator: an
answer has a worth w, and an annotator of precision p names the best answer first, then the best of those that are left,
each time an answer with a probability proportional to exp(p w). At precision 0 all orders are equally probable; below 0
the worse answers tend to come first. From the worst answer up the model is another one, and either may be how people
rank: each ranking counts half in both directions.

Answers are compared within one prompt, annotators over all prompts. So the worths of a prompt are standard normal, and
precisions are estimated by EM with the worths integrated out: with three opinions on a prompt, the likeliest worths
alone look too sure. A prompt that one annotator ranked tells nothing about that annotator.

A tie is half a vote for either answer: a ranking is the mean of orders in which tied answers take turns. That is what
Davidson's model comes to (1970, JASA 65:317-328): worths depend on wins and half the ties, and a parameter of its own
takes up how many ties there are.

A limit: annotators who err alike look precise.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from labeling.reliability import Floats, Ints
from labeling.strict_orders import Orders, Ranked, strict_orders

FIRST_PRECISION, DEVIATION = 1.0, 1.0  # of the prior; at 1, about three pairs of four are in the right order
STEPS, CONVERGED = 100, 1e-3  # most iterations of EM; largest change of a precision at their end
LARGEST_STEP = 1.0  # of a worth or a precision in one iteration


class Worths(NamedTuple):
    """Normal worths of prompts' answers: means [prompts, answers], covariances [prompts, answers, answers]."""

    means: Floats
    covariances: Floats


class Fit(NamedTuple):
    """The precision of each annotator and the worths of all answers."""

    precisions: dict[str, float]
    groups: list[tuple[Orders, Worths]]

    def probabilities(self, first: Ints, second: Ints) -> Floats:
        """The probability that the first of two ranked answers to a prompt is the better one [pairs]."""
        from scipy.special import ndtr  # the import takes a fifth of a second

        found = np.full(len(first), np.nan)
        for orders, (means, covariances) in self.groups:
            seats = np.full(max(orders.answers.max(), first.max(initial=0), second.max(initial=0)) + 1, -1)
            seats[orders.answers] = np.arange(orders.answers.size).reshape(orders.answers.shape)
            own = np.flatnonzero(seats[first] >= 0)
            (rows, i), (_, j) = (np.divmod(seats[some[own]], orders.answers.shape[1]) for some in (first, second))
            variances = covariances[rows, i, i] + covariances[rows, j, j] - 2 * covariances[rows, i, j]
            found[own] = ndtr((means[rows, i] - means[rows, j]) / np.sqrt(variances))
        return found


def crowd_plackett_luce(rankings: Sequence[Ranked]) -> Fit:
    """The model of these rankings. Annotators start equal."""
    names = sorted({ranked.annotator for ranked in rankings})
    groups = strict_orders(rankings, names)
    worths = [prior_worths(*orders.answers.shape) for orders in groups]
    precisions = np.full(len(names), FIRST_PRECISION)
    for _ in range(STEPS):
        worths = [with_worths(*both, precisions) for both in zip(groups, worths, strict=True)]
        before, precisions = precisions, _with_precisions(groups, worths, precisions)
        if np.abs(precisions - before).max(initial=0) < CONVERGED:
            break
    return Fit(dict(zip(names, precisions.tolist(), strict=True)), list(zip(groups, worths, strict=True)))


def prior_worths(prompts: int, answers: int) -> Worths:
    """Standard normal worths."""
    return Worths(np.zeros((prompts, answers)), np.broadcast_to(np.eye(answers), (prompts, answers, answers)))


def with_worths(orders: Orders, worths: Worths, precisions: Floats) -> Worths:
    """The worths after a step of Newton's method, on a concave function; covariances by its curvature there."""
    means, precision = worths.means, precisions[orders.annotators] * orders.signs
    given = means[orders.prompts[:, None], orders.places]  # [orders, answers]
    slopes, curvatures = _derivatives(precision[:, None] * given, orders.present)
    slope, curvature = np.zeros_like(means), np.zeros_like(worths.covariances)
    rows, columns, weights = orders.prompts[:, None], orders.places, orders.shares * precision
    np.add.at(slope, (rows, columns), weights[:, None] * slopes)
    pairs = (rows[..., None], columns[:, :, None], columns[:, None, :])
    np.add.at(curvature, pairs, (weights * precision)[:, None, None] * curvatures)
    covariances = np.linalg.inv(curvature + np.eye(means.shape[1])).astype(np.float64)
    steps = (covariances @ (slope - means)[..., None])[..., 0]
    moved: Floats = means + np.clip(steps, -LARGEST_STEP, LARGEST_STEP)
    return Worths(moved, covariances)


def _with_precisions(groups: Iterable[Orders], worths: Iterable[Worths], precisions: Floats) -> Floats:
    """The precisions after a step of Newton's method [annotators], with the prior."""
    slope = (FIRST_PRECISION - precisions) / DEVIATION**2
    curvature = np.full(len(precisions), 1 / DEVIATION**2)
    for orders, own in zip(groups, worths, strict=True):
        points = _points(own)[:, orders.prompts[:, None], orders.places] * orders.signs[:, None]
        chances = _exponentials(precisions[orders.annotators][:, None] * points, orders.present)
        left = _sums_of_rest(chances) + (1 - orders.present)
        mean = _sums_of_rest(chances * points) / left
        variance = _sums_of_rest(chances * points**2) / left - mean**2
        for total, values in ((slope, points - mean), (curvature, variance)):
            of_orders = orders.shares * orders.several * (orders.present * values).sum(-1).mean(0)
            total += np.bincount(orders.annotators, of_orders, len(precisions))
    moved: Floats = precisions + np.clip(slope / curvature, -LARGEST_STEP, LARGEST_STEP)
    return moved


def _points(worths: Worths) -> Floats:
    """Worths with the same means and covariances, two for each answer [points, prompts, answers].

    They stand for the distribution in the cubature rule of degree 3 (Arasaratnam and Haykin 2009, IEEE TAC 54:1254).
    The rule takes any root of the covariances. The symmetric one turns with the answers, so their numbers tell nothing.
    """
    size = worths.means.shape[1]
    variances, directions = np.linalg.eigh(worths.covariances)
    roots = (directions * np.sqrt(variances)[:, None]) @ np.swapaxes(directions, -1, -2)
    axes = np.moveaxis(roots, -1, 0) * np.sqrt(size)
    points: Floats = worths.means + np.concatenate([axes, -axes])
    return points


def _derivatives(utilities: Floats, present: Floats) -> tuple[Floats, Floats]:
    """The slope of each order's log-probability along its utilities [orders, answers], and less its second derivatives.

    The probability is the product, over the places of the order, of exp(u) / the sum of exp(u) over the rest.
    """
    chances = _exponentials(utilities, present)
    left = _sums_of_rest(chances) + (1 - present)
    once, twice = np.cumsum(present / left, -1), np.cumsum(present / left**2, -1)
    earlier = np.minimum(*np.indices((utilities.shape[1],) * 2))
    expected = chances * once
    curvatures = -chances[:, :, None] * chances[:, None, :] * twice[:, earlier]
    diagonal = np.arange(utilities.shape[1])
    curvatures[:, diagonal, diagonal] += expected
    return present - expected, curvatures


def _exponentials(utilities: Floats, present: Floats) -> Floats:
    """exp(utility), but for a factor of each order; 0 for answers that are not present."""
    highest = np.where(present > 0, utilities, -np.inf).max(-1, keepdims=True)
    values: Floats = np.exp(np.minimum(utilities - highest, 0)) * present
    return values


def _sums_of_rest(values: Floats) -> Floats:
    """The sum over each place of an order and all later ones."""
    sums: Floats = np.cumsum(values[..., ::-1], -1)[..., ::-1]
    return sums
