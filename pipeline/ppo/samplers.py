"""What draws PPO's answers: the policy on this machine, or (`served`) a server that has its adapters."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pipeline.config.nodes.learning import PpoConfig
from pipeline.modeling import processes
from pipeline.modeling.drawing import SampledAnswer
from pipeline.modeling.heads import ids_with_token
from pipeline.modeling.passes import Batch
from pipeline.modeling.roles import Roles
from pipeline.modeling.sampling import sample
from pipeline.ppo.batching import Batching
from pipeline.ppo.rollouts import Sampled, sampling_seed


class Drawn(NamedTuple):
    """One answer to each prompt, and the log-probabilities of its tokens if they are not the policy's own."""

    answers: list[SampledAnswer]
    logprobs: list[list[float]] | None = None


class Sampler(Protocol):
    """Draws answers of the current policy."""

    def draw(self, prompts: Sequence[list[int]], iteration: int) -> Drawn:
        """Return one answer to each prompt, as token ids."""
        ...

    def check(self, sampled: Sampled, collated: Mapping[tuple[int, ...], Batch]) -> None:
        """Raise `RequestError` if the answers, which are measured now, are not the current policy's."""
        ...

    def close(self) -> None:
        """Say what was compared, and free what the sampler holds elsewhere."""
        ...


class OwnSampler:
    """Draws with the weights in training, from exactly the distribution that log-probabilities are computed of."""

    def __init__(self, roles: Roles, config: PpoConfig, batching: Batching) -> None:
        self.roles, self.config, self.batching = roles, config, batching
        self.valid_ids = ids_with_token(roles.in_training.tokenizer)

    def draw(self, prompts: Sequence[list[int]], iteration: int) -> Drawn:
        config, policy = self.config, self.roles.policy
        assert config.max_new_tokens is not None  # the stage has chosen one
        with self.roles.in_training.autocast():
            policy.switch()
            answers = sample(
                policy.decoder,
                policy.head,
                prompts,
                valid_ids=self.valid_ids,
                pad_id=self.batching.pad_id,
                stop_id=self.roles.in_training.chat.stop_id,
                max_new_tokens=config.max_new_tokens,
                temperature=config.temperature,
                seed=sampling_seed(config.seed, iteration),
                batch_size=processes.share_of(config.sampling_batch_size, len(prompts)),
            )
        return Drawn(answers)

    def check(self, sampled: Sampled, collated: Mapping[tuple[int, ...], Batch]) -> None:
        """Do nothing: the policy draws itself."""

    def close(self) -> None:
        """Do nothing: nothing is elsewhere."""
