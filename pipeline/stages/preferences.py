"""`preferences`: turns rankings or ready-made pairs into training rows: pooled by majority, no ties, split by prompt.

Answers that were marked one by one are also written, to `marked_train.jsonl` and `marked_test.jsonl`, for `kto`.

A share of the prompts is reserved for the independent judge and does not occur in `train.jsonl`. `disagreement.jsonl`
has how far people disagreed about each prompt that several of them judged, for `sample`.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from labeling.agreement import accuracy_of_people, agreement_metrics, disagreement
from labeling.agreement_intervals import agreement_intervals
from labeling.chance import against_chance
from labeling.records import Ranking
from labeling.suspects import Suspect
from labeling.trust import Table, chance_with_interval
from labeling.votes import prompt_key
from pipeline.config.names import nearest
from pipeline.config.nodes.people import PreferencesConfig
from pipeline.config.schema import PipelineConfig
from pipeline.data.judgements.choosing import PairChoice
from pipeline.data.judgements.loading import Loaded, LoadingOptions, load_judgements, taken
from pipeline.data.judgements.marked import MarkedAnswers, marked_answers, split_marked
from pipeline.data.judgements.noise import swapped_count, with_swapped_sides
from pipeline.data.judgements.polls import UnweightedPool
from pipeline.data.judgements.pooling import (
    Preferences,
    Split,
    preferences_from_pairs,
    preferences_from_rankings,
    rankings_by,
    split_off_judge_annotators,
    split_preferences,
)
from pipeline.data.judgements.weighted import Pool
from pipeline.data.ledger import Ledger, OnBadRow
from pipeline.data.rows import Preference, as_messages, write_jsonl
from pipeline.errors import RequestError
from pipeline.people.trust import read_suspects, write_annotators
from pipeline.stage import FromFiles, FromStage, Metrics, Reference, Stage, StageContext
from pipeline.store.artifact import Artifact


def inputs(config: PipelineConfig) -> Mapping[str, Reference]:
    if config.labeling.backend == "file":
        return {"rankings": FromFiles("rankings", config.labeling.path)}
    return {"rankings": FromStage("collect")}


def run(config: PreferencesConfig, context: StageContext) -> Metrics:
    files = _files(context.inputs)
    loaded = load_judgements(files, _manner(config))
    ledger = loaded.ledger
    for remark in [*(loaded.readings if _are_from_files(context) else []), *loaded.remarks]:
        context.say(remark)
    if loaded.kind == "rankings":
        preferences, split, people = _from_rankings(_without(loaded.rankings, config.exclude), config, context)
    elif config.exclude:
        raise RequestError(f"preferences.exclude={config.exclude}: {files[0]} has pairs, and not who judged them.")
    else:
        _check_needs_no_rankings(config, files[0])
        pairs: Iterator[Preference] = taken(loaded.pairs)
        preferences, people = preferences_from_pairs(pairs, cast(UnweightedPool, config.pool)), {}
        split = split_preferences(
            preferences.rows, config.test_fraction, config.seed, judge_share=config.judge_fraction
        )
    answers = _marked_answers(loaded, config)
    marked = split_marked(answers.rows, split, config.test_fraction, config.seed)
    fault = _pairs_fault(preferences, split, files[0])
    if fault and not marked["train"]:
        raise RequestError(fault)
    if fault:
        context.say(f"{fault} `kto` can learn from its marked answers; `dpo` and `reward` need pairs.")
    if preferences.rows and config.judge_fraction and not (split.judge and split.judge_test):
        context.say(f"too few prompts for an independent judge: {config.judge_fraction:.0%} of them leave it no pairs")
    split = _with_noise(split, config, context)
    for name, rows in split._asdict().items():
        write_jsonl(context.output_dir / f"{name}.jsonl", rows)
    for name, some in marked.items() if loaded.marks else ():
        write_jsonl(context.output_dir / f"marked_{name}.jsonl", some)
    _write_ledger(ledger, context)
    return {
        "read": ledger.read,
        "dropped": ledger.dropped,
        **{name: float(value) for name, value in preferences.counts.items()},
        **{name: float(len(rows)) for name, rows in split._asdict().items()},
        **({"swapped": float(swapped_count(split.train, config.noise))} if config.noise else {}),
        **({"marked": float(len(answers.rows)), "marked_ties": float(answers.ties)} if loaded.marks else {}),
        **people,
    }


def _write_ledger(ledger: Ledger, context: StageContext) -> None:
    ledger.write(context.output_dir / "ledger.jsonl")
    if ledger.dropped:
        reasons = ", ".join(f"{count} {reason}" for reason, count in list(ledger.reasons().items())[:3])
        context.say(f"{ledger.dropped} of {ledger.read} rows were left out: {reasons}; see ledger.jsonl")


def _with_noise(split: Split, config: PreferencesConfig, context: StageContext) -> Split:
    """Return the split with wrong training pairs if they are requested; test pairs and the judge's stay right."""
    if not config.noise:
        return split
    context.say(f"{config.noise:.0%} of the training pairs are made WRONG on purpose (preferences.noise)")
    return split._replace(train=with_swapped_sides(split.train, config.noise, config.seed))


def _are_from_files(context: StageContext) -> bool:
    """Return whether the user brought the judgements."""
    return any(given.external_files for given in context.inputs.values())


def _check_needs_no_rankings(config: PreferencesConfig, file: Path) -> None:
    """Raise `RequestError` for an option that needs rankings: the file has ready-made pairs."""
    if config.pool == "weighted":
        raise RequestError(
            f"preferences.pool=weighted: {file} has pairs, and not who judged them. Use preferences.pool=majority, or "
            "bring rankings with annotators."
        )
    if config.pairs != "all":
        raise RequestError(
            f"preferences.pairs={config.pairs}: {file} has pairs, and no rankings to choose pairs from. Use "
            "preferences.pairs=all."
        )


def _pairs_fault(preferences: Preferences, split: Split, file: Path) -> str | None:
    """Return why the pairs cannot be used for training; None if they can."""
    if not preferences.rows:
        return f"{file}: no pair comes from it: every comparison is a tie or of two equal answers."
    if not split.train or not split.test:
        return (
            f"{file}: its {len(preferences.rows)} pairs cannot be split by prompt into train and test "
            f"({len(split.train)} and {len(split.test)}). Bring rankings of more prompts."
        )
    return None


def _marked_answers(loaded: Loaded, config: PreferencesConfig) -> MarkedAnswers:
    """Return answers marked as good or bad, without the marks of the judge's annotators and of excluded ones."""
    judges = split_off_judge_annotators(loaded.rankings, config.judge_fraction, config.seed).annotators
    return marked_answers(loaded.marks, {*judges, *(config.exclude or ())})


def _manner(config: PreferencesConfig) -> LoadingOptions:
    return LoadingOptions(
        config.format, config.columns, config.codes, cast(OnBadRow, config.on_bad_row), config.max_bad_fraction
    )


def _from_rankings(
    rankings: Sequence[Ranking], config: PreferencesConfig, context: StageContext
) -> tuple[Preferences, Split, dict[str, float]]:
    """Return all rankings as pairs, their split for training, and metrics of people's agreement."""
    pool, pairs = cast(Pool, config.pool), cast(PairChoice, config.pairs)
    said = split_off_judge_annotators(rankings, config.judge_fraction, config.seed)
    if said.annotators:
        context.say(f"the judge learns from {', '.join(said.annotators)} alone, and nothing else does")
    split = split_preferences(
        preferences_from_rankings(said.rankings, pool, pairs).rows,
        config.test_fraction,
        config.seed,
        judge_share=config.judge_fraction,
        judge_rows=preferences_from_rankings(said.judges, pool, pairs).rows,
    )
    ceilings = {
        "accuracy_people": accuracy_of_people(_of_prompts(said.rankings, split.test)),
        "judge_accuracy_people": accuracy_of_people(_of_prompts(said.judges, split.judge_test)),
    }
    known = {name: value for name, value in ceilings.items() if math.isfinite(value)}
    people = {**agreement_metrics(rankings), **_intervals(rankings, config.seed), **known}
    write_jsonl(context.output_dir / "disagreement.jsonl", _disagreements(said.rankings))
    people["judge_annotators"] = float(len(said.annotators))
    people |= write_annotators(
        _against_chance(rankings),
        rankings,
        context.output_dir,
        context.say,
        known=_too_fast(config, context),
        title="annotators" if _are_from_files(context) else "",  # `collect` has shown the others
    )
    preferences = preferences_from_rankings(rankings, pool, pairs)
    if preferences.cycles:
        context.say(
            f"{preferences.cycles:,} prompts have a cycle: answer a beats b, b beats c, and c beats a. Their pairs "
            "contradict each other."
        )
    unused = {"unused": float(preferences.unused)} if pairs != "all" else {}
    return preferences, split, {**people, "cycles": float(preferences.cycles), **unused}


def _intervals(rankings: Sequence[Ranking], seed: int) -> dict[str, float]:
    """Return the ends of the agreement's 95% intervals as metrics."""
    return {
        f"{name}_{end}": value
        for name, estimate in agreement_intervals(rankings, seed).items()
        for end, value in (("low", estimate.low), ("high", estimate.high))
    }


def _disagreements(rankings: Sequence[Ranking]) -> list[dict[str, Any]]:
    """Return how far people disagreed about each prompt that several of them judged."""
    found = ((ranking["prompt"], disagreement(ranking)) for ranking in rankings)
    return [{"prompt": as_messages(prompt), **one._asdict()} for prompt, one in found if one.comparisons]


def _against_chance(rankings: Sequence[Ranking]) -> Table:
    """Return each annotator's number of rankings and agreement with the others."""
    judged = Counter(row["annotator"] for ranking in rankings for row in ranking["rankings"])
    known = against_chance(rankings)
    return {name: {"rankings": judged[name], **chance_with_interval(one)} for name, one in known.items()}


def _too_fast(config: PreferencesConfig, context: StageContext) -> list[Suspect]:
    """Return the annotators that `collect` found to answer too fast, without excluded ones."""
    found = [one for given in context.inputs.values() for one in read_suspects(given) if one.reason == "fast"]
    return [one for one in found if one.name not in (config.exclude or ())]


def _without(rankings: list[Ranking], excluded: Sequence[str] | None) -> list[Ranking]:
    """Return the rankings without those of excluded annotators. Raises `RequestError` for an unknown name."""
    names = {one["annotator"] for ranking in rankings for one in ranking["rankings"]}
    for name in excluded or ():
        if name not in names:
            raise RequestError(f"preferences.exclude: nobody is called '{name}'. {nearest(name, names)}")
    return rankings_by(rankings, names - set(excluded or ()))


def _of_prompts(rankings: Sequence[Ranking], rows: Sequence[Preference]) -> list[Ranking]:
    """Return all rankings of the prompts of these rows."""
    prompts = {prompt_key(row["prompt"]) for row in rows}
    return [ranking for ranking in rankings if prompt_key(ranking["prompt"]) in prompts]


def _files(given: Mapping[str, Artifact]) -> list[Path]:
    """Return the rankings files: of every round of people's answers, or the user's."""
    return [file for one in given.values() for file in one.external_files or [one.file("rankings.jsonl")]]


def summary(metrics: Mapping[str, float]) -> str:
    parts = [f"{metrics['pairs']:,.0f} pairs, {metrics['ties']:,.0f} ties"]
    parts += [f"alpha {metrics['alpha']:.2f}"] if "alpha" in metrics else []
    return ", ".join(parts)


STAGE = Stage("preferences", PreferencesConfig, inputs, run, summary, version=5, is_shared=True)
