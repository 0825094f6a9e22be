"""The first half of an iteration: samples answers from the current policy, scores them and measures them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.config.schema import PpoConfig
from pipeline.modeling.answering import Answer
from pipeline.modeling.heads import ids_with_token
from pipeline.modeling.passes import Batch
from pipeline.modeling.roles import Roles
from pipeline.modeling.sampling import sample
from pipeline.ppo import kl, watching
from pipeline.ppo.batching import Batching
from pipeline.ppo.masked import masked_mean
from pipeline.ppo.rollouts import Rollouts, answer_mask, cycled, sampling_seed
from pipeline.ppo.sources import Scorer, Weighted, combined

Prompt = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Task:
    """The task of a run: its prompts and its sources of reward."""

    prompts: Sequence[Prompt]
    ids: Sequence[list[int]]  # the same prompts as the policy's token ids
    sources: Sequence[Weighted]
    watchers: Mapping[str, Scorer]  # scores that are logged and never learned from, by their name in the history


class Gathered(NamedTuple):
    """An iteration's rollouts, with readable prompts and answers, and the batches of the first learning epoch."""

    rollouts: Rollouts
    prompts: list[Prompt]
    answers: list[Answer]
    first_epoch: list[list[list[int]]]  # batches of micro batches of rows
    collated: dict[tuple[int, ...], Batch]  # the first epoch's micro batches
    seen: dict[str, float]  # figures for the log


class Gatherer:
    """Samples answers, scores them and measures log-probabilities and values."""

    def __init__(self, task: Task, roles: Roles, config: PpoConfig, batching: Batching) -> None:
        self.task, self.roles, self.config, self.batching = task, roles, config, batching
        self.chat = roles.in_training.chat
        self.valid_ids = ids_with_token(roles.in_training.tokenizer)

    def gather(self, iteration: int, cursor: int, *, watch: bool) -> Gathered:
        """Gather answers of the current policy to the prompts from the cursor on.

        `watch` includes the scores of the slow watchers; the true score is always included.
        """
        config, roles = self.config, self.roles
        assert config.max_new_tokens is not None  # the stage has chosen one
        whole = cycled(len(self.task.prompts), cursor, config.rollouts, f"{config.seed} prompts")
        rows = whole[self.batching.rank * self.batching.count : (self.batching.rank + 1) * self.batching.count]
        prompts = [self.task.ids[i] for i in rows]
        with self.batching.timed("sampling"), self.roles.in_training.autocast():
            roles.policy.switch()
            drawn = sample(
                roles.policy.decoder,
                roles.policy.head,
                prompts,
                valid_ids=self.valid_ids,
                pad_id=self.batching.pad_id,
                stop_id=self.chat.stop_id,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                seed=sampling_seed(config.seed, iteration, self.batching.rank),
                batch_size=config.sampling_batch_size,
            )
        answers = [Answer(self.chat.text(one.ids), one.ids, one.stopped) for one in drawn]
        lengths = [len(p) + len(a.ids) for p, a in zip(prompts, answers, strict=True)]
        first = self.batching.cut(lengths, iteration, 0)
        with self.batching.timed("scoring"):
            measured, collated = self._measure(prompts, [a.ids for a in answers], first)
            asked = [self.task.prompts[i] for i in rows]
            scores, means = combined(self.task.sources, asked, answers)
            watched = {
                name: watcher.score(asked, answers)
                for name, watcher in self.task.watchers.items()
                if name == "true_score" or watch
            }
        rollouts = Rollouts(
            prompts,
            [a.ids for a in answers],
            torch.tensor([a.stopped for a in answers], device=self.batching.device),
            **measured,
            scores=torch.tensor(scores, device=self.batching.device),
        )
        seen = {**_seen(rollouts), **_against(rollouts, watched), **_apart(means)}
        return Gathered(rollouts, asked, answers, first, collated, seen)

    @torch.no_grad()
    def _measure(
        self, prompts: Sequence[list[int]], answers: Sequence[list[int]], epoch: Sequence[Sequence[list[int]]]
    ) -> tuple[dict[str, Tensor], dict[tuple[int, ...], Batch]]:
        """Return mask, log-probabilities, entropy and values, [rows, tokens] each, and the collated micro batches."""
        mask = answer_mask([len(answer) for answer in answers]).to(self.batching.device)
        names = ("logprobs", "reference", "values", "entropy")
        found = {name: torch.zeros(mask.shape, device=self.batching.device) for name in names}
        collated = {}
        for rows in chain.from_iterable(epoch):
            batch = self.batching.collate(prompts, answers, rows)
            collated[tuple(rows)] = batch
            with self.roles.in_training.autocast():
                own = self.roles.logprobs(self.roles.policy, batch, self.config.temperature, with_entropy=True)
                reference = self.roles.logprobs(self.roles.reference, batch, self.config.temperature)
                values = self.roles.values(batch)
            assert own.statistic is not None
            width = batch.mask.shape[1]
            for name, flat in zip(names, (own.logprobs, reference.logprobs, values, own.statistic), strict=True):
                found[name][rows, :width] = batch.aligned(flat.float())
        return {"mask": mask, **found}, collated


def _seen(rollouts: Rollouts) -> dict[str, float]:
    """Return the figures of an iteration's answers, before the policy learns from them. KL is in nats per answer."""
    mask, scores = rollouts.mask, rollouts.scores.tolist()
    lengths = [len(answer) for answer in rollouts.answers]
    per_answer = kl.k1(rollouts.logprobs, rollouts.reference).sum(1)  # 0 outside the mask
    return {
        "reward": sum(scores) / len(scores),
        "kl": float(per_answer.mean()),
        "entropy": float(masked_mean(rollouts.entropy, mask)),
        "value": float(masked_mean(rollouts.values, mask)),
        "stopped": float(rollouts.stopped.float().mean()),
        "length": sum(lengths) / len(lengths),
        "reward_length_correlation": watching.correlation(scores, lengths),
        "repetition": watching.repetition(rollouts.answers),
        "distinct": watching.distinct_share(rollouts.answers),
    }


def _apart(means: Mapping[str, float]) -> dict[str, float]:
    """Return the mean of each source of reward by its role; empty if there is only one."""
    return {f"reward_{role}": mean for role, mean in means.items()} if len(means) > 1 else {}


def _against(rollouts: Rollouts, watched: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the means of the watched scores, and the correlation of the reward with each."""
    scores = rollouts.scores.tolist()
    means = {name: sum(values) / len(values) for name, values in watched.items()}
    together = {f"reward_{name}_correlation": watching.correlation(scores, v) for name, v in watched.items()}
    return {**means, **together}
