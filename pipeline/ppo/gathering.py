"""The first half of an iteration: samples answers from the current policy, scores them and measures them.

Several processes share the work out and exchange the results, so that each has all answers, scores and measurements of
the iteration: means, whitening, health and the log are those of one process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch

from pipeline.config.nodes.learning import PpoConfig
from pipeline.modeling import processes
from pipeline.modeling.answering import Answer
from pipeline.modeling.passes import Batch
from pipeline.modeling.roles import Roles
from pipeline.ppo import diagnostics, kl
from pipeline.ppo.batching import Batching
from pipeline.ppo.importance import sampler_figures
from pipeline.ppo.masked import masked_mean
from pipeline.ppo.rollouts import Rollouts, Sampled, aligned, answer_mask, next_prompts
from pipeline.ppo.samplers import Sampler
from pipeline.ppo.sources import Scorer, WeightedScorer, combination, combine_scores

Prompt = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PpoTask:
    """The task of a run: its prompts and its sources of reward."""

    prompts: Sequence[Prompt]
    ids: Sequence[list[int]]  # the same prompts as the policy's token ids
    sources: Sequence[WeightedScorer]
    watchers: Mapping[str, Scorer]  # scores that are logged and never learned from, by their name in the history


class Gathered(NamedTuple):
    """An iteration's rollouts, with readable prompts and answers, and the batches of the first learning epoch."""

    rollouts: Rollouts
    prompts: list[Prompt]
    answers: list[Answer]
    first_epoch: list[list[list[int]]]  # batches of micro batches of rows
    collated: dict[tuple[int, ...], Batch]  # the first epoch's micro batches
    figures: dict[str, float]  # figures for the log


class Gatherer:
    """Has answers sampled, scores them and measures log-probabilities and values."""

    def __init__(self, task: PpoTask, roles: Roles, config: PpoConfig, batching: Batching, sampler: Sampler) -> None:
        self.task, self.roles, self.config, self.batching, self.sampler = task, roles, config, batching, sampler
        self.combine = combination(config.combine, config.caution)
        self.chat = roles.in_training.chat

    def gather(self, iteration: int, cursor: int, *, watch: bool) -> Gathered:
        """Gather answers of the current policy to the prompts from the cursor on.

        `watch` includes the scores of the slow watchers; the true score is always included.
        """
        config = self.config
        drawn = next_prompts(len(self.task.prompts), cursor, config.prompts, f"{config.seed} prompts")
        order = [prompt for prompt in drawn for _ in range(config.group)]
        prompts, asked = [self.task.ids[i] for i in order], [self.task.prompts[i] for i in order]
        with self.batching.timed("sampling"):
            sampled = self.sampler.draw(prompts, iteration)
        answers = [Answer(self.chat.text(one.ids), one.ids, one.stopped) for one in sampled.answers]
        ids = [answer.ids for answer in answers]
        lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, ids, strict=True)]
        first_epoch = self.batching.shuffled_batches(lengths, iteration, 0)
        with self.batching.timed("scoring"):
            measured, collated = self._measure(prompts, ids, first_epoch)
            mask = measured["mask"]
            drawn_with = None if sampled.logprobs is None else aligned(sampled.logprobs, mask)
            self.sampler.check(Sampled(mask, measured["logprobs"], measured["entropy"], drawn_with), collated)
            scores, means = combine_scores(self.task.sources, asked, answers, self.combine)
            watched = self._watched_scores(asked, answers, all_watchers=watch)
        device = self.batching.device
        stopped = torch.tensor([answer.stopped for answer in answers], device=device)
        scores_of_all = torch.tensor(scores, device=device)
        rollouts = Rollouts(prompts, ids, stopped, **measured, scores=scores_of_all, sampler=drawn_with)
        figures = _rollout_figures(rollouts, config.group) | _watched_figures(rollouts, watched)
        if drawn_with is not None:
            figures |= sampler_figures(rollouts.logprobs, drawn_with, mask, config.importance_cap)
        return Gathered(rollouts, asked, answers, first_epoch, collated, figures | mean_reward_per_source(means))

    def _watched_scores(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], *, all_watchers: bool
    ) -> dict[str, list[float]]:
        """Return the watchers' scores by their name: of all watchers, or the true score alone."""
        chosen = {n: watcher for n, watcher in self.task.watchers.items() if all_watchers or n == "true_score"}
        return {name: watcher.score(prompts, answers) for name, watcher in chosen.items()}

    @torch.no_grad()
    def _measure(
        self, prompts: Sequence[list[int]], answers: Sequence[list[int]], epoch: Sequence[Sequence[list[int]]]
    ) -> tuple[dict[str, Any], dict[tuple[int, ...], Batch]]:
        """Return mask, log-probabilities, entropy and values, [rows, tokens] each, and the collated micro batches.

        Micro batches are collated in the process that learns from them.
        """
        mask = answer_mask([len(answer) for answer in answers]).to(self.batching.device)
        names = ("logprobs", "reference", "entropy", *(["values"] if self.roles.value else []))
        found = {name: torch.zeros(mask.shape, device=self.batching.device) for name in names}
        collated = {}
        for rows in chain.from_iterable(map(self.batching.own_part, epoch)):
            batch = self.batching.collate(prompts, answers, rows)
            collated[tuple(rows)] = batch
            with self.roles.in_training.autocast():
                own = self.roles.logprobs(self.roles.policy, batch, self.config.temperature, with_entropy=True)
                reference = self.roles.logprobs(self.roles.reference, batch, self.config.temperature)
                values = [self.roles.values(batch)] if self.roles.value else []
            assert own.statistic is not None
            width = batch.mask.shape[1]
            for name, flat in zip(names, (own.logprobs, reference.logprobs, own.statistic, *values), strict=True):
                found[name][rows, :width] = batch.aligned(flat.float())
        processes.add_up(found.values())  # each process measured other rows
        return {"mask": mask, "values": None, **found}, collated


def _rollout_figures(rollouts: Rollouts, group: int) -> dict[str, float]:
    """Return the figures of an iteration's answers, before the policy learns from them. KL is in nats per answer.

    Answers differ from each other if those to different prompts do: a sure policy answers a prompt alike each time.
    """
    mask, scores = rollouts.mask, rollouts.scores.tolist()
    lengths = [len(answer) for answer in rollouts.answers]
    per_answer = kl.k1(rollouts.logprobs, rollouts.reference).sum(1)  # 0 outside the mask
    return {
        "reward": sum(scores) / len(scores),
        "kl": float(per_answer.mean()),
        "entropy": float(masked_mean(rollouts.entropy, mask)),
        **({} if rollouts.values is None else {"value": float(masked_mean(rollouts.values, mask))}),
        "stopped": float(rollouts.stopped.float().mean()),
        "length": sum(lengths) / len(lengths),
        "reward_length_correlation": diagnostics.correlation(scores, lengths),
        "repetition": diagnostics.repetition(rollouts.answers),
        "distinct": diagnostics.distinct_share(rollouts.answers[::group]),
    }


def mean_reward_per_source(means: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each source of reward by its role; empty if there is only one."""
    return {f"reward_{role}": mean for role, mean in means.items()} if len(means) > 1 else {}


def _watched_figures(rollouts: Rollouts, watched: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the means of the watched scores, and the correlation of the reward with each."""
    scores = rollouts.scores.tolist()
    means = {name: sum(values) / len(values) for name, values in watched.items()}
    together = {f"reward_{name}_correlation": diagnostics.correlation(scores, v) for name, v in watched.items()}
    return {**means, **together}
