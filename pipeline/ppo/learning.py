"""The second half of an iteration: advantages and returns, then epochs of clipped steps on policy and value model."""

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
    """Trains policy and value model with one optimizer: Adam with eps 1e-5 and a learning rate for each.

    The rates are constant or fall linearly to 0 (`ppo.schedule`).
    """

    def __init__(self, roles: Roles, config: PpoConfig, batching: Batching, *, recompute: bool) -> None:
        self.roles, self.config, self.batching, self.recompute = roles, config, batching, recompute
        rates = {"policy": config.learning_rate, "value": config.value_learning_rate or config.learning_rate}
        groups = [{"params": [*roles.parameters[role].values()], "lr": rate} for role, rate in rates.items()]
        self.rates, self.optimizer = list(rates.values()), torch.optim.Adam(groups, eps=1e-5, fused=True)

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
        expected = explained_variance(rollouts.values[rollouts.mask], targets.returns[rollouts.mask])
        return {**sums.means(), "explained_variance": expected, "learning_rate": self.rates[0] * left}

    def _targets(self, rollouts: Rollouts, coefficient: float) -> Targets:
        """Return advantages, whitened over all answers of the iteration, and returns from the unwhitened ones."""
        config, mask = self.config, rollouts.mask
        scores = penalized(rollouts.scores, rollouts.stopped, config.missing_stop_penalty)
        divergence = kl.ESTIMATORS[config.kl.estimator](rollouts.logprobs, rollouts.reference)
        rewards = token_rewards(scores, divergence, mask, coefficient, whitened=config.whiten_rewards)
        advantages, returns = advantages_and_returns(rewards, rollouts.values, mask, gamma=config.gamma, lam=config.lam)
        return Targets(whiten(advantages, mask), returns)

    def _step(self, batch: Sequence[list[int]], update: Update) -> None:
        """Take one optimizer step on one batch: the gradients of its micro batches add up to that of the whole.

        Each process computes those of its own micro batches. A step with a gradient norm that is not finite is skipped.
        """
        total = update.rollouts.mask[list(chain.from_iterable(batch))].sum()
        for rows in self.batching.own_part(batch):
            self._add_gradients(rows, update, total)
        parameters = [[*self.roles.parameters[role].values()] for role in ("policy", "value")]
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
        tables = rollouts.logprobs, targets.advantages, rollouts.values, targets.returns
        sampled, advantages, before, returns = (table[rows, : part.mask.shape[1]][part.mask] for table in tables)

        def loss(logprobs: Tensor, chunk: slice) -> Tensor:
            policy = policy_loss(logprobs, sampled[chunk], advantages[chunk], config.clip)
            sums.add_policy(policy, (logprobs - sampled[chunk]).detach().abs().max())
            return policy.loss / total

        with autocast():
            if with_policy:
                self.roles.learn_logprobs(part, config.temperature, loss)  # before the value model's adapter is active
            else:
                loss(sampled, slice(None))  # for the figures: the policy is the one that sampled
            values = self.roles.values(part).float()
        value = value_loss(values, before, returns, config.value_clip)
        sums.add_value(value, len(values))
        torch.autograd.backward(config.value_coefficient * value.loss / total)


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
        self.norms: list[tuple[Tensor, Tensor]] = []
        self.start: Tensor | None = None

    def add_policy(self, policy: PolicyLoss, difference: Tensor) -> None:
        """Add a chunk of tokens; `difference` is the largest of a log-probability from that at the sampling."""
        if not self.norms:  # before the first optimizer step
            self.start = difference if self.start is None else torch.maximum(self.start, difference)
        self._add(policy_loss=policy.loss, ratio=policy.ratio, approx_kl=policy.approx_kl, clip_fraction=policy.clipped)

    def add_value(self, value: ValueLoss, tokens: int) -> None:
        """Add a micro batch of so many tokens."""
        self._add(value_loss=value.loss, value_clip_fraction=value.clipped)
        self.tokens += tokens

    def _add(self, **sums: Tensor) -> None:
        for name, one in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + one.detach()

    def step(self, policy_norm: Tensor, value_norm: Tensor) -> None:
        self.norms.append((policy_norm, value_norm))

    def means(self) -> dict[str, float]:
        """Return the figures over the steps of all processes."""
        norms = torch.tensor([[float(one) for one in pair] for pair in self.norms]).mean(0).tolist()
        tokens = torch.tensor(float(self.tokens), device=self.sums["policy_loss"].device)
        processes.add_up([*self.sums.values(), tokens])
        start = max(processes.gathered(float(self.start if self.start is not None else 0.0)))
        return {
            **{name: float(one / tokens) for name, one in self.sums.items()},
            **dict(zip(("gradient_norm", "value_gradient_norm"), norms, strict=True)),
            "start_difference": start,
        }
