"""The blind A/B tests of a project that people are judging: who is ahead, at any look."""

from collections.abc import Iterator, Mapping

from labeling.guidelines import version_of
from labeling.projects import AnsweredRound, Project, read_json, read_rows
from labeling.records import SlotMap
from labeling.rounds import complete_only, rankings_of
from labeling.sequential import running_text
from labeling.verdicts import Pair, Verdict, by_policies, tally_of, verdicts


def sentences(project: Project, overlaps: Mapping[str, int]) -> Iterator[str]:
    """Yield a sentence for each two policies; `overlaps` maps a queue to the answers that each of its pairs needs."""
    for asked in project.of_kind("blind"):
        pairs = [Pair(**row) for folder in asked.folders for row in read_rows(folder / "pairs.jsonl")]
        judged = by_policies(_verdicts(asked, pairs, overlaps))
        for policies in dict.fromkeys((pair.first, pair.second) for pair in pairs):
            planned = len({pair.task for pair in pairs if (pair.first, pair.second) == policies})
            yield f"{_text(policies, judged.get(policies, []))} {planned:,} prompts are asked about."


def _text(policies: tuple[str, str], judged: list[Verdict]) -> str:
    if not judged:
        return f"{policies[0]} against {policies[1]}: no prompt is judged yet."
    return running_text(*policies, tally_of(judged))


def _verdicts(asked: AnsweredRound, pairs: list[Pair], overlaps: Mapping[str, int]) -> list[Verdict]:
    """The verdicts on the pairs that have all their answers, as `abtest` counts them."""
    overlap = max((overlaps.get(queue, 1) for queue in asked.queues), default=1)
    answers = complete_only(asked.answers, {task["id"]: overlap for task in asked.tasks})
    slots: SlotMap = {name: own for folder in asked.folders for name, own in read_json(folder / "slots.json").items()}
    return verdicts(rankings_of(asked.tasks, answers, version_of(asked.guidelines)), pairs, slots)
