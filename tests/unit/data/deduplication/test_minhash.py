"""Near-duplicates are found, different texts are not, and boilerplate does not count as similarity."""

import random
import re
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.deduplication.minhash import (
    BANDS,
    PERMUTATIONS,
    bands_of,
    boilerplate_of,
    connected,
    equal_pairs,
    near_pairs,
    signatures,
    similar_in,
)
from pipeline.data.words import WORD, words_in

VOCABULARY = [
    f"{first}{last}" for first in "bcdfghklmnprst" for last in ("al", "em", "ino", "ora", "uvi", "yto", "ena")
]


def text(seed: int, words: int = 120) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def edited(original: str, seed: int, changes: int) -> str:
    words, draw = original.split(), random.Random(f"edits {seed}")
    for place in draw.sample(range(len(words)), changes):
        words[place] = "changed"
    return " ".join(words)


def pairs_of(texts: list[str], boilerplate: np.ndarray | None = None, threshold: float = 0.8) -> set[tuple[int, int]]:
    signed = signatures(texts) if boilerplate is None else signatures(texts, boilerplate)
    bands = bands_of(signed)
    found = near_pairs((bands[:, band] for band in range(BANDS)), similar_in(signed, threshold))
    return {(int(a), int(b)) for a, b in found}


def test_edited_copies_are_found_and_unrelated_texts_are_not() -> None:
    originals = [text(seed) for seed in range(200)]
    copies = [edited(original, seed, 3) for seed, original in enumerate(originals)]
    found = pairs_of([*originals, *copies])
    planted = {(i, 200 + i) for i in range(200)}
    assert found <= planted
    assert len(found) >= 0.98 * len(planted)


def test_case_punctuation_and_line_breaks_make_no_difference() -> None:
    plain = text(1)
    assert pairs_of([plain, plain.upper().replace(" ", ",\n", 20) + "!"]) == {(0, 1)}


def test_a_threshold_above_their_likeness_separates_texts() -> None:
    pair = [text(1), edited(text(1), 1, 8)]
    assert pairs_of(pair, threshold=0.5) == {(0, 1)}
    assert pairs_of(pair, threshold=0.95) == set()


def test_an_instruction_above_every_input_is_no_likeness() -> None:
    instruction = text(0, 300)
    texts = [f"{instruction} {text(seed, 20)}" for seed in range(1, 301)]
    assert pairs_of(texts), "the instruction alone makes them near-duplicates"
    common = boilerplate_of(texts)
    assert len(common) >= 290
    assert pairs_of(texts, common) == set()
    assert pairs_of([*texts, texts[7]], common) == {(7, 300)}


def test_a_text_of_nothing_but_boilerplate_is_still_compared() -> None:
    instruction = text(0, 40)
    common = boilerplate_of([f"{instruction} {text(seed, 30)}" for seed in range(1, 200)])
    assert pairs_of([instruction, instruction, text(5)], common) == {(0, 1)}


def test_short_texts_of_common_phrases_are_near_only_if_they_say_the_same() -> None:
    asked = ["who are you", "what is your name", "can you tell me your name", "are you a person", "hello there"]
    answers = ["i am called vicuna and was trained by people", "my name is vicuna and i am a language model of theirs"]
    texts = [f"{question} {answer}" for question in asked for answer in answers] * 40
    common = boilerplate_of(texts)
    assert len(common)
    assert pairs_of(texts[:10], common) == set()


def test_texts_without_words_are_near_only_if_equal() -> None:
    assert pairs_of(["???", "!!!", "???", "", "a", "a b"]) == {(0, 2)}


def test_the_shapes_hold_for_no_text_at_all() -> None:
    assert signatures([]).shape == (0, 2, PERMUTATIONS)
    assert pairs_of([]) == set()
    assert list(connected(3)) == [0, 1, 2]


def test_many_equal_texts_are_linked_by_few_pairs() -> None:
    found = pairs_of([text(3)] * 500)
    assert len(found) < 1000
    assert len(set(connected(500, np.array(sorted(found))))) == 1


@given(st.lists(st.integers(0, 5), max_size=40))
def test_equal_values_and_no_others_are_connected(values: list[int]) -> None:
    labels = connected(len(values), equal_pairs(np.array(values, dtype=np.uint64)))
    for one, other in combinations(range(len(values)), 2):
        assert (labels[one] == labels[other]) == (values[one] == values[other])


@given(st.text(st.characters(max_codepoint=127)))
def test_the_fast_way_to_words_finds_the_same_words(ascii_text: str) -> None:
    assert words_in(ascii_text) == re.findall(WORD, ascii_text.lower())
