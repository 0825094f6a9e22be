"""The second half of an iteration: advantages, then epochs of clipped steps on the policy and on a value model."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from pipeline.config.nodes.learning import PpoConfig
from pipeline.modeling import processes
from pipeline.modeling.passes import Batch
from pipeline.modeling.roles import Roles
from pipeline.ppo import kl
from pipeline.ppo.advantages import advantages_and_returns
from pipeline.ppo.batching import Batching
from pipeline.ppo.diagnostics import explained_variance
from pipeline.ppo.gathering import Gathered
from pipeline.ppo.groups import GROUP_ADVANTAGES
from pipeline.ppo.importance import truncated_weights
from pipeline.ppo.losses import PolicyLoss, ValueLoss, policy_loss, value_loss
from pipeline.ppo.masked import whiten
from pipeline.ppo.rewards import penalized, token_rewards
from pipeline.ppo.rollouts import Rollouts, Targets


class Update(NamedTuple):
    """What an iteration learns from, and the sums of its figures."""

    rollouts: Rollouts
    targets: Targets
    collated: dict[tuple[int, ...], Batch]  # the first epoch's micro batches
    with_policy: bool  # False: only the value model learns
    sums: "FigureSums"


class Learner:
    """Trains the policy, and the value model if there is one, with Adam (eps 1e-5) and a learning rate for each.

    The rates are constant or fall linearly to 0 (`ppo.schedule`).
    """

    def __init__(self, roles: Roles, config: PpoConfig, batching: Batching, *, recompute: bool) -> None:
        self.roles, self.config, self.batching, self.recompute = roles, config, batching, recompute
        rates = {"policy": config.learning_rate, "value": config.value_learning_rate or config.learning_rate}
        self.rates = [rates[role] for role in roles.parameters]
        groups = [{"params": [*own.values()], "lr": rates[role]} for role, own in roles.parameters.items()]
        self.optimizer = torch.optim.Adam(groups, eps=1e-5, fused=True)

    def learn(self, gathered: Gathered, iteration: int, coefficient: float) -> dict[str, float]:
        """Run all epochs over the iteration's answers; return the figures for the log, losses as means over tokens."""
        rollouts, config, sums = gathered.rollouts, self.config, FigureSums()
        targets, with_policy = self._targets(rollouts, coefficient), iteration >= config.value_warmup
        update = Update(rollouts, targets, gathered.collated, with_policy, sums)
        lengths = [len(p) + len(a) for p, a in zip(rollouts.prompts, rollouts.answers, strict=True)]
        left = 1 - iteration / config.iterations if config.schedule == "linear" else 1.0
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * left
        with self.batching.timed("learning"), self.roles.recomputing(self.recompute):
            for epoch in range(config.epochs):
                parts = self.batching.shuffled_batches(lengths, iteration, epoch) if epoch else gathered.first_epoch
                for batch in parts:
                    self._step(batch, update)
        return {**sums.means(), **_explained(rollouts, targets), "learning_rate": self.rates[0] * left}

    def _targets(self, rollouts: Rollouts, coefficient: float) -> Targets:
        """Return the advantages. With a value model they are whitened over the iteration, and there are returns, too.

        Returns come from the advantages before whitening. Advantages of tokens that a server drew have importance
        weights: the clipped loss is proportional to the advantage, so that weighs its loss.
        """
        config, mask = self.config, rollouts.mask
        scores = penalized(rollouts.scores, rollouts.stopped, config.missing_stop_penalty)
        divergence = kl.ESTIMATORS[config.kl.estimator](rollouts.logprobs, rollouts.reference)
        rewards = token_rewards(scores, divergence, mask, coefficient, whitened=config.whiten_rewards)
        if rollouts.values is None:
            of_answers = GROUP_ADVANTAGES[config.advantage](rewards.sum(1), config.group)
            return Targets(self._weighted(of_answers[:, None] * mask, rollouts), None)
        advantages, returns = advantages_and_returns(rewards, rollouts.values, mask, gamma=config.gamma, lam=config.lam)
        return Targets(self._weighted(whiten(advantages, mask), rollouts), returns)

    def _weighted(self, advantages: Tensor, rollouts: Rollouts) -> Tensor:
        """Return advantages with importance weights where a server drew and they are asked for."""
        cap = self.config.importance_cap
        if rollouts.sampler is None or cap is None:
            return advantages
        return advantages * truncated_weights(rollouts.logprobs, rollouts.sampler, cap)

    def _step(self, batch: Sequence[list[int]], update: Update) -> None:
        """Take one optimizer step on one batch: the gradients of its micro batches add up to that of the whole.

        Each process computes those of its own micro batches. A step with a gradient norm that is not finite is skipped.
        """
        total = update.rollouts.mask[list(chain.from_iterable(batch))].sum()
        for rows in self.batching.own_part(batch):
            self._add_gradients(rows, update, total)
        parameters = [[*own.values()] for own in self.roles.parameters.values()]  # the policy's come first
        for learned in parameters if update.with_policy else parameters[1:]:
            _add_up_gradients(learned)
        limit, device = self.config.max_grad_norm, self.batching.device
        norms = [torch.nn.utils.clip_grad_norm_(some, limit).to(device) for some in parameters]
        update.sums.step(*norms)
        if bool(torch.isfinite(torch.stack(norms)).all()):
            self.optimizer.step()
        self.optimizer.zero_grad()

    def _add_gradients(self, rows: list[int], update: Update, total: Tensor) -> None:
        """Add the gradients of one micro batch of a batch with `total` tokens."""
        rollouts, targets, collated, with_policy, sums = update
        config, autocast = self.config, self.roles.in_training.autocast
        part = collated.get(tuple(rows)) or self.batching.collate(rollouts.prompts, rollouts.answers, rows)
        sampled, advantages = (_flat(table, rows, part) for table in (rollouts.logprobs, targets.advantages))

        def loss(logprobs: Tensor, chunk: slice) -> Tensor:
            policy = policy_loss(logprobs, sampled[chunk], advantages[chunk], config.clip)
            sums.add_policy(policy, (logprobs - sampled[chunk]).detach().abs())
            return policy.loss / total

        with autocast():
            if with_policy:
                self.roles.learn_logprobs(part, config.temperature, loss)  # before the value model's adapter is active
            else:
                loss(sampled, slice(None))  # for the figures: the policy is the one that sampled
        if rollouts.values is not None and targets.returns is not None:
            before, returns = (_flat(table, rows, part) for table in (rollouts.values, targets.returns))
            with autocast():
                values = self.roles.values(part).float()
            value = value_loss(values, before, returns, config.value_clip)
            sums.add_value(value)
            torch.autograd.backward(config.value_coefficient * value.loss / total)


def _flat(table: Tensor, rows: list[int], part: Batch) -> Tensor:
    """Return the rows of a table [rows, tokens] as the tokens of a micro batch, [answer tokens]."""
    return table[rows, : part.mask.shape[1]][part.mask]


def _explained(rollouts: Rollouts, targets: Targets) -> dict[str, float]:
    """Return how well the value model foresaw the returns; empty without one."""
    if rollouts.values is None or targets.returns is None:
        return {}
    mask = rollouts.mask
    return {"explained_variance": explained_variance(rollouts.values[mask], targets.returns[mask])}


def _add_up_gradients(parameters: Sequence[Parameter]) -> None:
    """Replace the gradients with their sums over all processes."""
    for parameter in parameters if processes.is_together() else ():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        processes.add_up([parameter.grad])


class FigureSums:
    """Sums of the figures over the steps of an iteration."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.tokens = 0
        self.norms: list[tuple[Tensor, ...]] = []
        self.start: Tensor | None = None

    def add_policy(self, policy: PolicyLoss, differences: Tensor) -> None:
        """Add a chunk of tokens; `differences` [tokens] are those of log-probabilities from those at the sampling."""
        self.tokens += len(differences)
        if not self.norms:  # before the first optimizer step
            largest = differences.max()
            self.start = largest if self.start is None else torch.maximum(self.start, largest)
        self._add(policy_loss=policy.loss, ratio=policy.ratio, approx_kl=policy.approx_kl, clip_fraction=policy.clipped)

    def add_value(self, value: ValueLoss) -> None:
        """Add a micro batch."""
        self._add(value_loss=value.loss, value_clip_fraction=value.clipped)

    def _add(self, **sums: Tensor) -> None:
        for name, one in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + one.detach()

    def step(self, *norms: Tensor) -> None:
        """Add the gradient norms of a step: the policy's, and the value model's if there is one."""
        self.norms.append(norms)

    def means(self) -> dict[str, float]:
        """Return the figures over the steps of all processes."""
        norms = torch.tensor([[float(one) for one in step] for step in self.norms]).mean(0).tolist()
        tokens = torch.tensor(float(self.tokens), device=self.sums["policy_loss"].device)
        processes.add_up([*self.sums.values(), tokens])
        start = max(processes.gathered(float(self.start if self.start is not None else 0.0)))
        return {
            **{name: float(one / tokens) for name, one in self.sums.items()},
            **dict(zip(("gradient_norm", "value_gradient_norm"), norms, strict=False)),
            "start_difference": start,
        }
