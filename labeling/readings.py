"""What figures of agreement mean, in words, for readers who have not read the papers."""

ALPHA = (  # (upper bound, reading)
    (-0.1, "below chance: annotators contradict each other. Look at the instructions before training on this"),
    (0.1, "chance: these rankings carry almost no information"),
    (0.4, "weak: people agree a little more than by chance; use only the majority of several people"),
    (0.667, "moderate: single judgements err often, majorities much less"),
    (0.8, "good: above 0.667, where Krippendorff allows tentative conclusions"),
    (float("inf"), "strong: above 0.8, where Krippendorff calls data reliable"),
)


def read_alpha(alpha: float) -> str:
    return next(reading for bound, reading in ALPHA if alpha < bound)


def read_kendall_w(value: float, judges: float | None) -> str:
    """Return a reading of Kendall's W. Chance gives 1 / judges, so its meaning depends on their number."""
    if not judges or judges < 2:
        return "0 means unrelated orders, 1 means equal orders"
    chance = 1 / judges
    above = (value - chance) / (1 - chance)
    if above < 0.1:
        reading = "the orders agree no more than by chance"
    elif above < 0.4:
        reading = "the orders agree somewhat"
    else:
        reading = "the orders agree well" if above < 0.7 else "the orders are nearly the same"
    return f"{reading} (chance gives {chance:.2f} with {judges:.3g} judges per prompt)"


def read_pairwise(value: float) -> str:
    return f"two people who judged the same two answers agreed in {value:.0%} of cases; not corrected for chance"
