"""Rankings to preference rows: the laws that votes, ties, margins and splits keep."""

import json
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.records import Ranking
from pipeline.data.judgements.pooling import (
    MIN_ANNOTATORS_FOR_JUDGE_SPLIT,
    preferences_from_pairs,
    preferences_from_rankings,
    split_off_judge_annotators,
    split_preferences,
)
from pipeline.data.rows import prompt_id
from tests.places import REAL as DATA


def ranking(responses: list[str], *tables: list[int], name: str = "r0", prompt: str = "question") -> Ranking:
    rows = [{"annotator": f"annotator{number}", "ranks": list(ranks)} for number, ranks in enumerate(tables, start=1)]
    return {"id": name, "prompt": prompt, "responses": list(responses), "rankings": rows}


@st.composite
def rankings(draw):
    """Two to five responses, texts that may repeat, up to five annotators who may tie."""
    responses = draw(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=5))
    ranks = st.lists(st.integers(1, len(responses)), min_size=len(responses), max_size=len(responses))
    return ranking(responses, *draw(st.lists(ranks, max_size=5)))


def texts(row):
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


def order(row):
    """Which response of which pair was chosen, without the margin and the label noise."""
    return {**row, "margin": None, "label_noise": None}


@given(rankings(), st.data())
def test_the_order_of_the_slots_does_not_matter(row, data):
    slots = data.draw(st.permutations(range(len(row["responses"]))))
    shown = {
        **row,
        "responses": [row["responses"][slot] for slot in slots],
        "rankings": [{**one, "ranks": [one["ranks"][slot] for slot in slots]} for one in row["rankings"]],
    }
    assert preferences_from_rankings([shown]) == preferences_from_rankings([row])


@given(rankings())
def test_margins_are_in_the_half_open_interval(row):
    assert all(0 < found["margin"] <= 1 for found in preferences_from_rankings([row]).rows)


@given(rankings())
def test_a_pair_comes_once_and_never_with_its_mirror(row):
    pairs = [texts(found) for found in preferences_from_rankings([row]).rows]
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert all(chosen != rejected for chosen, rejected in pairs)


@given(rankings())
def test_every_pair_of_texts_is_a_row_or_a_tie(row):
    found = preferences_from_rankings([row])
    different = len(set(row["responses"]))
    assert len(found.rows) == found.counts["pairs"]
    assert found.counts["pairs"] + found.counts["ties"] == different * (different - 1) // 2


@given(st.integers(2, 5), st.integers(0, 5))
def test_ties_never_become_strict_pairs(responses, annotators):
    row = ranking(list("abcde"[:responses]), *([[1] * responses] * annotators))
    found = preferences_from_rankings([row])
    assert found.rows == []
    assert found.counts["ties"] == responses * (responses - 1) // 2


@given(rankings())
def test_an_annotator_who_ties_everything_changes_margins_only(row):
    tied = {"annotator": "indifferent", "ranks": [1] * len(row["responses"])}
    before = preferences_from_rankings([row], "net")
    after = preferences_from_rankings([{**row, "rankings": [*row["rankings"], tied]}], "net")
    assert list(map(order, after.rows)) == list(map(order, before.rows))
    assert all(new["margin"] < old["margin"] for new, old in zip(after.rows, before.rows, strict=True))


@given(rankings())
def test_reversing_every_vote_turns_every_pair_round(row):
    turned = [{**one, "ranks": [len(one["ranks"]) + 1 - rank for rank in one["ranks"]]} for one in row["rankings"]]
    before, after = preferences_from_rankings([row]), preferences_from_rankings([{**row, "rankings": turned}])
    assert [texts(found)[::-1] for found in after.rows] == [texts(found) for found in before.rows]
    assert after.counts == before.counts


def test_the_row_of_the_contract():
    found = preferences_from_rankings([ranking(["bad", "good"], [2, 1], [2, 1], [2, 1], [1, 2])])
    assert found.rows == [
        {
            "prompt": [{"role": "user", "content": "question"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
            "margin": (3 - 1) / 4,
            "group": "r0",
            "label_noise": (1 + 1) / (4 + 2),
        }
    ]
    assert found.counts == {"pairs": 1, "ties": 0, "rankings": 1, "annotators": 4}


def test_as_many_votes_for_as_against_are_a_tie():
    found = preferences_from_rankings([ranking(["a", "b", "c"], [1, 2, 3], [2, 1, 3])])
    assert [texts(row) for row in found.rows] == [("a", "c"), ("b", "c")]
    assert found.counts == {"pairs": 2, "ties": 1, "rankings": 1, "annotators": 2}


def test_a_majority_is_more_than_half_of_the_votes():
    """Two of three tie: that is a tie, and so is two of four for one answer; more for than against is another rule."""
    for tables, margin in (
        (([1, 2], [1, 1], [1, 1]), 1 / 3),
        (([1, 2], [1, 2], [1, 1], [2, 1]), 1 / 4),
        (([1, 2], [1, 2], [1, 1], [1, 1]), 2 / 4),
    ):
        row = ranking(["a", "b"], *tables)
        assert preferences_from_rankings([row]).counts == {
            "pairs": 0,
            "ties": 1,
            "rankings": 1,
            "annotators": len(tables),
        }
        assert [found["margin"] for found in preferences_from_rankings([row], "net").rows] == [margin]
    assert preferences_from_rankings([ranking(["a", "b"], [1, 2], [1, 2], [1, 1])]).rows[0]["margin"] == 2 / 3


@given(rankings(), rankings())
def test_a_majority_is_a_net_majority_too(row, other):
    strict, net = (preferences_from_rankings([row, {**other, "id": "r1"}], pool) for pool in ("majority", "net"))
    assert all(found in net.rows for found in strict.rows)
    assert sum(strict.counts[name] for name in ("pairs", "ties")) == sum(net.counts[name] for name in ("pairs", "ties"))


def test_votes_on_a_pair_are_pooled_over_the_rankings_of_a_prompt():
    """Three people see other subsets: A over B twice, B over A once."""
    subsets = [
        ranking(["A", "B", "C"], [1, 2, 3], name="r0"),
        {
            **ranking(["B ", "a"], [2, 1], name="r1", prompt="Question "),
            "rankings": [{"annotator": "x", "ranks": [2, 1]}],
        },
        {**ranking(["A", "B", "D"], [1, 2, 3], name="r2"), "rankings": [{"annotator": "y", "ranks": [2, 1, 3]}]},
    ]
    found = {texts(row): (row["margin"], row["group"]) for row in preferences_from_rankings(subsets).rows}
    assert found["A", "B"] == (pytest.approx(1 / 3), "r0")
    assert ("B", "A") not in found
    assert found["A", "D"] == (1.0, "r2")


def test_a_prompt_in_two_spellings_is_one_prompt_in_all_its_rows():
    """Else its rows could be on two sides of a split."""
    asked = [
        ranking(["a", "b"], [1, 2], prompt="Which  one?"),
        ranking(["c", "d"], [1, 2], name="r1", prompt="which one?"),
    ]
    assert {json.dumps(row["prompt"]) for row in preferences_from_rankings(asked).rows} == {
        json.dumps([{"role": "user", "content": "Which  one?"}])
    }
    pairs = [{"prompt": "Q", "chosen": "a", "rejected": "b"}, {"prompt": "q ", "chosen": "c", "rejected": "d"}]
    assert {row["prompt"][0]["content"] for row in preferences_from_pairs(pairs).rows} == {"Q"}


def test_a_person_who_ranked_a_pair_in_two_rankings_has_one_vote():
    first, second = ranking(["a", "b"], [1, 2], name="r0"), ranking(["a", "b", "c"], [2, 1, 3], name="r1")
    assert next(texts(row) for row in preferences_from_rankings([first, second]).rows) == ("b", "a")
    unnamed = [{**row, "rankings": [{**row["rankings"][0], "annotator": "unnamed 1"}]} for row in (first, second)]
    found = preferences_from_rankings(unnamed)
    assert (found.counts["ties"], found.counts["annotators"]) == (1, 0)


def test_pairs_of_the_same_answers_are_pooled():
    pairs = [{"prompt": "p", "chosen": chosen, "rejected": other} for chosen, other in ("ab", "ab", "ba", "cd", "dc")]
    found = preferences_from_pairs(pairs)
    assert [(texts(row), row["margin"]) for row in found.rows] == [(("a", "b"), pytest.approx(1 / 3))]
    assert found.counts == {"pairs": 1, "ties": 1}
    weighted = [{**pairs[0], "margin": 0.25}, pairs[2]]
    assert preferences_from_pairs(weighted).counts == {"pairs": 0, "ties": 1}
    assert [texts(row) for row in preferences_from_pairs(weighted, "net").rows] == [("b", "a")]


def test_a_prompt_of_messages_stays_as_it_is():
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "question"}]
    row: Ranking = {**ranking(["a", "b"], [1, 2]), "prompt": messages}
    assert preferences_from_rankings([row]).rows[0]["prompt"] == messages


def test_unreadable_ranks_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'r9'.*'annotator1' gave 3 ranks for 2 responses"):
        preferences_from_rankings([ranking(["a", "b"], [1, 2, 3], name="r9")])


def test_ready_made_pairs_pass_through():
    pairs = [
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "a", "rejected": "c", "margin": 0.5, "group": "mine"},
        {"prompt": "p", "chosen": "same", "rejected": "same"},
        {"prompt": "p", "chosen": "a", "rejected": "d", "margin": 0},
    ]
    found = preferences_from_pairs(pairs)
    prompt = [{"role": "user", "content": "p"}]
    assert [(texts(row), row["margin"], row["group"]) for row in found.rows] == [
        (("a", "b"), 1.0, prompt_id(prompt)),
        (("a", "c"), 0.5, "mine"),
    ]
    assert found.counts == {"pairs": 2, "ties": 2}
    assert preferences_from_pairs(found.rows).rows == found.rows


@pytest.mark.parametrize("margin", [-0.1, 1.1, float("nan")])
def test_margins_out_of_range_are_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        preferences_from_pairs([{"prompt": "p", "chosen": "a", "rejected": "b", "margin": margin}])


pair_rows = st.lists(st.tuples(st.sampled_from("pqrstuvw"), st.sampled_from("ABCDEFGHIJ")), max_size=20).map(
    lambda keys: (
        preferences_from_pairs(
            {"prompt": prompt, "chosen": f"good {number}", "rejected": "bad", "group": group}
            for number, (prompt, group) in enumerate(keys)
        ).rows
    )
)


@given(pair_rows, st.floats(0, 0.99), st.floats(0, 0.99), st.integers(0, 3))
def test_no_prompt_and_no_group_is_in_two_parts_of_a_split(rows, test_share, judge_share, seed):
    """Rule: all pairs of one ranking in one group; parts by prompt (arXiv 2203.02155)."""
    parts = split_preferences(rows, test_share, seed, judge_share=judge_share)
    for one, other in combinations(parts, 2):
        assert not {prompt_id(row["prompt"]) for row in one} & {prompt_id(row["prompt"]) for row in other}
        assert not {row["group"] for row in one} & {row["group"] for row in other}
    for part in parts:
        assert [row for row in rows if row in part] == part
    assert sum(map(len, parts)) == len(rows)


@given(pair_rows, st.integers(0, 3))
def test_a_split_does_not_depend_on_the_order_of_the_rows(rows, seed):
    parts = split_preferences(rows, 0.4, seed, judge_share=0.3)
    turned = split_preferences(rows[::-1], 0.4, seed, judge_share=0.3)
    assert [part[::-1] for part in turned] == list(parts)


def test_the_share_of_a_split_is_a_share_of_the_prompts():
    found = preferences_from_rankings(
        ranking(["a", "b", "c"], [1, 2, 3], name=f"r{number}", prompt=f"question {number}") for number in range(40)
    )
    parts = split_preferences(found.rows, 0.25, seed=0)
    assert [len(part) for part in parts] == [90, 30, 0, 0]
    assert split_preferences(found.rows, 0.25, seed=1) != parts
    assert split_preferences(found.rows, 0.0, seed=0) == (found.rows, [], [], [])
    with pytest.raises(ValueError, match="test_share"):
        split_preferences(found.rows, 1.0, seed=0)
    with_judge = split_preferences(found.rows, 0.25, seed=0, judge_share=0.2)
    assert [len(part) for part in with_judge] == [66, 30, 18, 6]
    assert with_judge.test == parts.test  # the judge takes nothing from what DPO and the reward model are tested on
    assert [len(part) for part in split_preferences(found.rows, 0.1, seed=0, judge_share=0.05)] == [102, 12, 3, 3]
    with pytest.raises(ValueError, match="judge_share"):
        split_preferences(found.rows, 0.1, seed=0, judge_share=-0.1)


def ranked_by(*groups: str) -> list[Ranking]:
    """One ranking of two responses per group; each letter is an annotator who ranks the first higher."""
    said = [[{"annotator": name, "ranks": [1, 2]} for name in group] for group in groups]
    return [
        {"id": f"r{i}", "prompt": f"question {i}", "responses": [f"a{i}", f"b{i}"], "rankings": rows}
        for i, rows in enumerate(said)
    ]


def names(rankings: list[Ranking]) -> set[str]:
    return {row["annotator"] for ranking in rankings for row in ranking["rankings"]}


@given(
    st.lists(st.sets(st.sampled_from("abcdefghij"), max_size=4), max_size=20), st.floats(0.01, 0.7), st.integers(0, 3)
)
def test_no_annotator_teaches_both_the_judge_and_the_policies(groups, share, seed):
    rankings = ranked_by(*groups)
    found = split_off_judge_annotators(rankings, share, seed)
    if len(names(rankings)) < MIN_ANNOTATORS_FOR_JUDGE_SPLIT:
        assert found == (rankings, rankings, [])
        return
    assert names(found.judges) == set(found.annotators)
    assert names(found.rankings) == names(rankings) - set(found.annotators)
    assert 2 <= len(found.annotators) <= len(names(rankings)) / 2
    assert split_off_judge_annotators(rankings[::-1], share, seed).annotators == found.annotators


def test_unnamed_votes_do_not_count_as_annotators():
    rankings = ranked_by("abcde", "abcde")
    for one in rankings:
        one["rankings"] += [{"annotator": f"unnamed {number}", "ranks": [2, 1]} for number in (1, 2)]
    assert split_off_judge_annotators(rankings, 0.15, 0) == (rankings, rankings, [])
    rankings[0]["rankings"].append({"annotator": "f", "ranks": [1, 2]})
    found = split_off_judge_annotators(rankings, 0.15, 0)
    assert len(found.annotators) == 2
    assert all(name[:7] != "unnamed" for name in names(found.judges))
    assert {"unnamed 1", "unnamed 2"} < names(found.rankings)


def test_no_annotator_is_set_apart_without_a_judge():
    rankings = ranked_by("abcdef", "defghi")
    assert split_off_judge_annotators(rankings, 0.0, 0) == (rankings, rankings, [])


def test_the_judges_rows_are_what_its_own_annotators_said():
    """Six people, two of whom disagree with all others: only they teach the judge."""
    found = split_off_judge_annotators(ranked_by("abcdef"), 0.15, 0)
    rankings = ranked_by(*["abcdef"] * 30)
    for one in rankings:
        for row in one["rankings"]:
            row["ranks"] = [2, 1] if row["annotator"] in found.annotators else [1, 2]
    said = split_off_judge_annotators(rankings, 0.15, 0)
    parts = split_preferences(
        preferences_from_rankings(said.rankings).rows,
        0.1,
        0,
        judge_share=0.15,
        judge_rows=preferences_from_rankings(said.judges).rows,
    )
    assert {texts(row)[0][0] for row in parts.judge + parts.judge_test} == {"b"}
    assert {texts(row)[0][0] for row in parts.train + parts.test} == {"a"}
    assert {row["margin"] for part in parts for row in part} == {1.0}
    assert [len(part) for part in parts] == [23, 3, 3, 1]


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("pandalm_neutral", {"pairs": 273, "ties": 33, "rankings": 357, "annotators": 3}),
        ("squality_neutral", {"pairs": 120, "ties": 0, "rankings": 40, "annotators": 4}),
    ],
)
def test_preferences_of_real_annotators(file, counts):
    path = DATA / "rankings" / f"{file}.jsonl"
    if not path.exists():
        pytest.skip(f"the real rankings are not here: {path}")
    assert preferences_from_rankings(json.loads(line) for line in path.read_text().splitlines()).counts == counts
