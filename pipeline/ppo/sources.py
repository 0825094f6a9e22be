"""The sources of reward: reward models and the user's Python functions, and how their scores make one reward."""

import importlib
import importlib.util
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.config.nodes.learning import RewardSource
from pipeline.errors import RequestError

if TYPE_CHECKING:
    from pipeline.modeling.answering import Answer

Combine = Callable[[Sequence[float]], float]  # from an answer's weighted scores to its reward
RewardFunction = Callable[[list[list[dict[str, str]]], list[str]], Sequence[float]]
FUNCTION_SOURCE = re.compile(r"(?P<where>.+\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")


class Scorer(Protocol):
    """Gives each answer one score."""

    def score(self, prompts: Sequence[Any], answers: Sequence[Any]) -> list[float]: ...


@dataclass(frozen=True)
class WeightedScorer:
    """One source of reward with its weight."""

    name: str
    scorer: Scorer
    weight: float


def function_file(source: str) -> tuple[Path, str] | None:
    """Return file and name of a function given as `module:function` or `file.py:function`; None for a model.

    Raises `RequestError` for a module that cannot be found. A package that contains the module is imported to find it.
    """
    found = FUNCTION_SOURCE.fullmatch(source)
    if found is None:
        return None
    where, name = found["where"], found["name"]
    if where.endswith(".py"):
        return Path(where).expanduser(), name
    try:
        spec = importlib.util.find_spec(where)
    except Exception as error:
        raise RequestError(f"ppo.rewards: {source}: {where} cannot be imported ({_first_line_of(error)}).") from None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise RequestError(
            f"ppo.rewards: {source}: no module {where} found from here. Name its file instead: path/to/file.py:{name}"
        )
    return Path(spec.origin), name


def sources_by_role(rewards: Sequence[RewardSource]) -> dict[str, RewardSource]:
    """Return the sources by the names of their inputs: `reward`, `reward2`, … for models, `function`, … for code."""
    named: dict[str, RewardSource] = {}
    for source in rewards:
        kind = "function" if FUNCTION_SOURCE.fullmatch(source.source) else "reward"
        count = sum(role.startswith(kind) for role in named) + 1
        named[kind if count == 1 else f"{kind}{count}"] = source
    return named


def load_function(source: str) -> RewardFunction:
    """Import the user's function. Raises `RequestError` if its file cannot be imported, or has no such function."""
    found = FUNCTION_SOURCE.fullmatch(source)
    assert found is not None, f"{source} was planned as a function"
    where, name = found["where"], found["name"]
    try:
        module = _from_file(Path(where).expanduser()) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise RequestError(f"ppo.rewards: {source}: its file cannot be imported ({_first_line_of(error)}).") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise RequestError(f"ppo.rewards: {source}: {where} has no function {name}.")
    return function  # type: ignore[no-any-return]


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FunctionScorer:
    """Scores with a Python function of prompts (lists of messages) and answers (texts); one number per answer."""

    def __init__(self, source: str) -> None:
        self.source, self.function = source, load_function(source)

    def score(self, prompts: Sequence[Any], answers: "Sequence[Answer]") -> list[float]:
        """Return one score per answer. Raises `RequestError` unless the function returns one finite number for each."""
        given = [
            [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in prompt] for prompt in prompts
        ]
        from pipeline.modeling.processes import on_main

        scores = on_main(lambda: self._call(given, [answer.text for answer in answers]))
        if len(scores) != len(answers):
            raise RequestError(
                f"The reward function {self.source} returned {len(scores)} scores for {len(answers)} answers."
            )
        for prompt, answer, score in zip(prompts, answers, scores, strict=True):
            if not math.isfinite(score):
                raise RequestError(
                    f"The reward function {self.source} returned {score} for the answer {answer.text!r} "
                    f"to {prompt[-1]['content']!r}."
                )
        return scores

    def _call(self, prompts: list[list[dict[str, str]]], answers: list[str]) -> list[float]:
        """Call the function, in one of several processes only: its results may differ from call to call."""
        try:
            return [float(score) for score in self.function(prompts, answers)]
        except Exception as error:
            raise RequestError(f"The reward function {self.source} failed: {_first_line_of(error)}.") from error


def combine_scores(
    sources: Sequence[WeightedScorer], prompts: Sequence[Any], answers: Sequence[Any], combine: Combine
) -> tuple[list[float], Mapping[str, float]]:
    """Return one reward for each answer, from all sources, and the unweighted mean of each source by its name."""
    weighted, means = [], {}
    for source in sources:
        scores = source.scorer.score(prompts, answers)
        weighted.append([source.weight * score for score in scores])
        means[source.name] = sum(scores) / len(scores)
    return [combine(of_answer) for of_answer in zip(*weighted, strict=True)], means


def combination(name: str, caution: float) -> Combine:
    """Return what makes one reward of an answer's weighted scores: `ppo.combine` (arXiv 2310.02743, section 3).

    `sum` adds up sources with different aims. The others are for models with one aim, an ensemble: their `mean`; the
    `worst`, so that a policy has to please all of them; `cautious`, the mean less `caution` times the variance, since
    where models disagree at least one is wrong.
    """

    def cautious(scores: Sequence[float]) -> float:
        return statistics.fmean(scores) - caution * statistics.pvariance(scores)

    combinations: dict[str, Combine] = {"sum": sum, "mean": statistics.fmean, "worst": min, "cautious": cautious}
    return combinations[name]


def _first_line_of(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
