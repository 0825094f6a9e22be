"""The reference of DPO and KTO: log-probabilities of every answer before training."""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset

from pipeline.modeling.preferences.pairs import LABEL_NOISE, RENDERED_PAIRS, RenderedPair, Sides
from pipeline.modeling.scoring import AnsweredPrompt, answer_logprobs
from pipeline.modeling.stored import Picked, dataset_of
from pipeline.stage import StageContext

Key = bytes  # a hash: the ids of a million answers would take gigabytes


def key_of(row: AnsweredPrompt) -> Key:
    """Return the key of an answer's log-probability under the reference."""
    return hashlib.blake2b(array("q", [len(row.prompt), *row.prompt, *row.answer]).tobytes(), digest_size=16).digest()


def reference_logprobs(
    model: Any, answers: Sequence[AnsweredPrompt], pad_id: int, batch_size: int, context: StageContext
) -> dict[Key, float]:
    """Return log p(answer | prompt) of every distinct answer: one answer can occur in several pairs of a ranking."""
    places: dict[Key, int] = {}
    for place, answer in enumerate(answers):
        places.setdefault(key_of(answer), place)
    rows = Picked(answers, [*places.values()])
    model.eval()
    with context.progress("reference", len(rows)) as advance:
        values = answer_logprobs(model, rows, pad_id=pad_id, batch_size=batch_size, advance=advance)
    return dict(zip(places, values, strict=True))


def with_reference(pairs: Sequence[RenderedPair], reference: Mapping[Key, float], *, label_noise: bool) -> Dataset:
    """Return pairs as the trainer takes them, with each side's log-probability under the reference."""
    dataset = dataset_of(pairs, RENDERED_PAIRS)
    if not label_noise:
        dataset = dataset.remove_columns(LABEL_NOISE)
    found = array("d", (reference[key_of(side)] for side in Sides(pairs)))
    for start, name in enumerate(("chosen", "rejected")):
        dataset = dataset.add_column(f"ref_{name}_logps", found[start::2].tolist())
    return dataset
