"""Answers that a server draws from the policy in training, which is handed over as an adapter before each iteration.

The server has to return the very tokens that it drew and their log-probabilities. These show, after each hand-over,
whether it draws from the policy: a server may go on with an older adapter, leave it out, or sample in a way of its own.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from pipeline.config.nodes.learning import PpoConfig
from pipeline.config.nodes.machine import ROLLOUTS
from pipeline.config.nodes.models import DecodingConfig
from pipeline.data.synthetic.drafts import Generated
from pipeline.errors import PipelineError, RequestError
from pipeline.modeling import processes
from pipeline.modeling.drawing import SampledAnswer
from pipeline.modeling.handover import JoinedAdapter, check_handover, joined_adapter, policy_before, trained_weights
from pipeline.modeling.heads import ids_with_token
from pipeline.modeling.passes import Batch
from pipeline.modeling.roles import Roles
from pipeline.ppo.batching import Batching
from pipeline.ppo.importance import Arrival, arrival, arrival_sums, deviation, sums_of
from pipeline.ppo.rollouts import Sampled, sampling_seed
from pipeline.ppo.samplers import Drawn, OwnSampler, Sampler
from pipeline.services.adapter_server import AdapterServer
from pipeline.stage import StageContext
from pipeline.store.artifacts import CHECKPOINTS

FOLDER = "served"  # among the checkpoints: the adapter that the server reads, and its answers
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # values that vLLM takes for --max-lora-rank
PROBE = 32  # answers of each process that are measured again, with the policy as it was before a hand-over
MAX_KL = 0.2  # nats per token from the sampler to the policy; precisions differ by less than a tenth of it
MAX_Z = 6.0  # standard errors of a mean over many tokens
MIN_KL, MIN_SURPRISE = -0.02, 0.05  # nats per token; smaller means come from precision
MAX_ERROR = 0.1  # of the share of a change that the server has: with more, nothing is told
SHARES = (0.5, 1.5)  # of a change that has arrived
INSTEAD = "Draw here instead: ppo.drawn_by=hf."

log = logging.getLogger(__name__)


def sampler_of(roles: Roles, config: PpoConfig, batching: Batching, context: StageContext) -> Sampler:
    """Return what draws PPO's answers: this machine, or the server that the request names for the rollouts."""
    own = config.drawn_by == "hf"
    return OwnSampler(roles, config, batching) if own else ServedSampler(roles, config, batching, context)


class ServedSampler:
    """A server draws, with the policy's adapters on its own copy of the base model."""

    def __init__(self, roles: Roles, config: PpoConfig, batching: Batching, context: StageContext) -> None:
        check_handover(roles)
        self.roles, self.config, self.batching, self.context = roles, config, batching, context
        self.folder = context.output_dir / CHECKPOINTS / FOLDER
        self.prefix = f"ppo-{context.output_dir.name}-"  # of the names at the server: of this version alone
        self.server = self._server()
        self.name = ""  # of the adapter that the server has
        self.now: dict[str, Tensor] | None = None  # the trained weights that the server has
        self.before: dict[str, Tensor] | None = (
            None  # earlier ones, which it has been seen to have left; None: the base
        )
        self.surprise = torch.zeros(3, dtype=torch.float64)  # sums over all tokens of this run
        self.seen = self.unseen = 0  # iterations in which log-probabilities showed the policy, or told too little

    def _server(self) -> AdapterServer:
        generation, stop = self.context.runtime.generation, self.roles.in_training.chat.stop_id
        server = next(one for one in generation.servers or () if one.policy == ROLLOUTS)
        decoding = DecodingConfig(self.config.temperature, 1.0, self.config.max_new_tokens)
        request = {
            "logprobs": 0,  # of the drawn tokens alone
            "return_token_ids": True,
            "add_special_tokens": False,
            "ignore_eos": True,  # the model's own ends, which may be several
            "stop_token_ids": [stop],
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            **generation.request,
        }
        return AdapterServer(server.url, "", decoding, 0, generation.concurrency, self.folder, request=request)

    def draw(self, prompts: Sequence[list[int]], iteration: int) -> Drawn:
        """Hand the policy over and have the server draw. Raises `RequestError` if it returns less than is needed."""
        joined = joined_adapter(self.roles)
        name = f"{self.prefix}{joined.digest}"
        processes.on_main(lambda: self._hand_over(joined, name))
        if name != self.name:
            self.name, self.now = name, trained_weights(self.roles)
        seed = sampling_seed(self.config.seed, iteration) // 2  # so that seeds stay below 2**63
        server = replace(self.server, model=name, seed=seed, folder=self.folder / name)
        with self._dropping_what_is_refused():
            written = processes.on_main(lambda: server.write(prompts, f"rollouts-{iteration}"))
            answers = [self._answer(one, len(prompt)) for prompt, one in zip(prompts, written, strict=True)]
        return Drawn(answers, [one.logprobs or [] for one in written])

    @contextmanager
    def _dropping_what_is_refused(self) -> Iterator[None]:
        """Remove kept answers that are refused in this context: the next run asks anew, perhaps another server."""
        try:
            yield
        except RequestError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _hand_over(self, joined: JoinedAdapter, name: str) -> None:
        """Write the adapter and have the server load it. Raises with the command that the server needs."""
        place = self.folder / name
        if not place.is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
            joined.write(self.folder / "part")
            (self.folder / "part").rename(place)
        try:
            self.server.hand_over(name, place.absolute(), self.prefix)
        except PipelineError as error:
            raise type(error)(f"{error} {self._needs(joined)}") from None

    def _needs(self, joined: JoinedAdapter) -> str:
        rank = next((one for one in RANKS if one >= joined.rank), joined.rank)
        return (
            "The server has to read that folder under the same path, and to run as: "
            f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve {joined.base} --enable-lora --max-lora-rank {rank} "
            "--logprobs-mode processed_logprobs."
        )

    def _answer(self, one: Generated, read: int) -> SampledAnswer:
        """Return a server's answer. Raises `RequestError` unless it has exactly the tokens that were drawn."""
        stop, most = self.roles.in_training.chat.stop_id, self.config.max_new_tokens
        ids, logprobs = one.ids or [], one.logprobs or []
        valid = self._valid_ids
        if one.refused:
            fault = "refused a prompt"
        elif not ids or not logprobs:
            fault = f"returns no {'log-probabilities' if ids else 'token ids'}: PPO learns from the very tokens drawn"
        elif one.read not in (None, read):
            fault = f"reads {one.read} tokens where a prompt has {read}: it has another tokenizer, or adds tokens"
        elif not all(0 <= token < len(valid) and valid[token] for token in ids):
            fault = "returns token ids that the policy does not have: it serves another model"
        elif len(logprobs) != len(ids) or not all(value is not None and value <= 1e-3 for value in logprobs):
            fault = f"returns {len(logprobs)} log-probabilities for {len(ids)} tokens, or impossible ones"
        elif stop in ids[:-1]:
            fault = f"goes on after token {stop}, with which the policy ends an answer"
        elif ids[-1] != stop and len(ids) != most:
            fault = f"ended an answer after {len(ids)} of {most} tokens, without token {stop}, which ends one"
        else:
            return SampledAnswer(ids, ids[-1] == stop)
        raise RequestError(f"{self.server.url} {fault}. {INSTEAD}")

    @cached_property
    def _valid_ids(self) -> list[bool]:
        return list(ids_with_token(self.roles.in_training.tokenizer).tolist())

    # the comparison

    def check(self, sampled: Sampled, collated: Mapping[tuple[int, ...], Batch]) -> None:
        """Raise `RequestError` if the log-probabilities show that the server does not draw from the policy."""
        assert sampled.sampler is not None
        if not self.context.runtime.generation.check:
            return
        with self._dropping_what_is_refused():
            self._check_distance((sampled.sampler - sampled.logprobs)[sampled.mask])
            self._check_arrival(self._arrived(sampled, collated))
            self._check_draws(sampled)

    def _check_arrival(self, arrived: Arrival) -> None:
        """Raise `RequestError` if the server has not the policy's last change, or another one."""
        told = arrived.error <= MAX_ERROR
        log.info("the server has %.2f (+- %.2f) of the policy's change", *arrived)
        if told and not SHARES[0] <= arrived.share <= SHARES[1]:
            raise RequestError(
                f"{self.server.url} does not draw from the policy as it is now: of its last change, log-probabilities "
                f"show {arrived.share:.2f} (± {arrived.error:.2f}; 1 is all of it). It has an earlier adapter, another "
                f"one, or none ('{self.name}'). {INSTEAD}"
            )
        self.seen, self.unseen = self.seen + told, self.unseen + (not told)
        if told:
            self.before = self.now

    def _check_distance(self, difference: Tensor) -> None:
        """Raise `RequestError` if log-probabilities of drawn tokens, [tokens], cannot be those that they were drawn by.

        `difference` is the sampler's less the policy's: its mean is a KL divergence, which is not negative.
        """
        mean = float(difference.mean())
        if mean > MAX_KL:
            raise RequestError(
                f"{self.server.url} draws from another distribution than the policy's: KL {mean:.2f} nats per token. "
                f"It has another base model or adapter, or sampling settings of its own ('{self.name}'). {INSTEAD}"
            )
        spread = sums_of(difference - difference.mean()).tolist()[2] ** 0.5 / len(difference)
        if mean < MIN_KL and mean < -MAX_Z * spread:
            raise RequestError(
                f"{self.server.url} returns log-probabilities by which its tokens were not drawn ({mean:.2f} nats per "
                "token less likely than by the policy): those before the temperature, for example. Run it with "
                "--logprobs-mode processed_logprobs."
            )

    @torch.no_grad()
    def _arrived(self, sampled: Sampled, collated: Mapping[tuple[int, ...], Batch]) -> Arrival:
        """Return how much of the policy's change since it was last seen at the server is there; in all processes."""
        assert sampled.sampler is not None
        sums = torch.zeros(4, dtype=torch.float64, device=sampled.mask.device)
        left = PROBE
        with policy_before(self.roles, self.before) as policy:
            for rows, batch in collated.items():
                if left <= 0:
                    break
                with self.roles.in_training.autocast():
                    before = self.roles.logprobs(policy, batch, self.config.temperature).logprobs
                now, theirs = (_flat(table, rows, batch) for table in (sampled.logprobs, sampled.sampler))
                sums += arrival_sums(now, before.float(), theirs)
                left -= len(rows)
        processes.add_up([sums])
        return arrival(sums)

    def _check_draws(self, sampled: Sampled) -> None:
        """Raise `RequestError` if the tokens of this run are more, or less, probable than draws from the policy are.

        On average, a drawn token's log-probability is the negative entropy of the distribution at its place.
        """
        self.surprise += sums_of((sampled.logprobs + sampled.entropy)[sampled.mask]).cpu()
        found = deviation(self.surprise)
        if abs(found.z) > MAX_Z and abs(found.mean) > MIN_SURPRISE:
            kind = "more" if found.mean > 0 else "less"
            raise RequestError(
                f"{self.server.url} draws {kind} probable tokens than the policy does (z = {found.z:.1f}): it has "
                "sampling settings of its own, such as a top_k. Set them in generation.request, by its names."
            )

    def close(self) -> None:
        """Say in how many iterations the server was seen to have the policy, and have it forget the adapter."""
        if self.context.runtime.generation.check:
            self.context.say(
                f"{self.server.url} drew the rollouts: log-probabilities showed the current policy in {self.seen:,} "
                f"iterations; in {self.unseen:,} it had changed too little to tell"
            )
        else:
            self.context.say(f"{self.server.url} drew the rollouts; nothing was compared (generation.check=false)")
        processes.on_main(lambda: self.server.take_back(self.prefix))


def _flat(table: Tensor, rows: tuple[int, ...], batch: Batch) -> Tensor:
    """Return the rows of a table [rows, tokens] as the tokens of a micro batch, [answer tokens]."""
    return table[list(rows), : batch.mask.shape[1]][batch.mask]
