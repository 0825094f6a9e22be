"""The training loop: sample, score, learn, log; checkpoints at intervals; an early end if the answers degrade.

An iteration is scored in the same micro batches as its first learning epoch uses. So before the first optimizer step
the ratio is exactly 1, and in the first iteration KL is exactly 0: any other value is a fault, not rounding.
"""

import logging
import math
from itertools import chain

from pipeline.config.nodes.learning import PpoConfig
from pipeline.errors import PipelineError
from pipeline.modeling import processes
from pipeline.modeling.checkpoints import SaveTimer
from pipeline.modeling.memory import peak_memory_mb
from pipeline.modeling.roles import Roles
from pipeline.ppo import kl
from pipeline.ppo.batching import Batching
from pipeline.ppo.checkpoints import Checkpoints, State
from pipeline.ppo.gathering import Gathered, Gatherer, PpoTask
from pipeline.ppo.health import Health, HealthLimits
from pipeline.ppo.learning import Learner
from pipeline.ppo.overoptimization import part_of_ways
from pipeline.ppo.samples import Samples
from pipeline.ppo.served import sampler_of
from pipeline.stage import Metrics, StageContext

log = logging.getLogger(__name__)


class Loop:
    """One run of PPO."""

    def __init__(self, task: PpoTask, roles: Roles, config: PpoConfig, context: StageContext) -> None:
        self.config, self.context, self.roles = config, context, roles
        self.batching = Batching.of(config, roles, context.runtime)
        self.sampler = sampler_of(roles, config, self.batching, context)
        self.gatherer = Gatherer(task, roles, config, self.batching, self.sampler)
        recompute = context.runtime.launch.gradient_checkpointing
        self.learner = Learner(roles, config, self.batching, recompute=recompute)
        self.checkpoints = Checkpoints(context.output_dir, roles, self.learner.optimizer)
        self.timer = SaveTimer(context.runtime.launch.checkpoint_minutes)
        self.samples = Samples(context.output_dir / "samples.jsonl" if context.is_main else None)

    def run(self) -> tuple[Metrics, list[dict[str, float]]]:
        """Train to the end, or until an early stop; return the metrics of the kept policy, and the history.

        Afterwards the roles hold the weights of the kept policy. Raises `PipelineError` if no good policy exists.
        """
        state = self.checkpoints.load_last()
        if state is not None:
            self.context.say(f"resumed from iteration {state.iteration}")
            self.samples.keep(state.iteration)
        else:
            state = State(self.config.kl.coefficient)
            self.checkpoints.save(state)
        with self.context.progress("ppo", self.config.iterations) as advance:
            advance(state.iteration)
            while state.iteration < self.config.iterations and not state.health.fault:
                self._iterate(state)
                advance(1)
        kept = state.iteration
        if not state.health.fault:
            last = self._gather(state.iteration, state.cursor)
            state.health = self._health_after(state, last)
        if state.health.fault:
            kept = self._keep_last_good(state)
            last = self._gather(kept, kept * self.config.prompts)
        self.sampler.close()
        return self._metrics(state, last, kept), state.history

    def _iterate(self, state: State) -> None:
        """Run one iteration, from sampling to its row in the history; set `state.health.fault` if the run must end."""
        self.batching.seconds.clear()
        try:
            gathered = self._gather(state.iteration, state.cursor)
        except PipelineError:  # of a reward function or a server; the weights are still those before this iteration
            self.checkpoints.save(state)
            raise
        state.health = self._health_after(state, gathered)
        if state.health.fault:
            return
        learned = self.learner.learn(gathered, state.iteration, state.coefficient)
        if not all(map(math.isfinite, learned.values())):
            state.health = state.health.with_fault("a loss or a gradient is not finite")
            return
        row = {
            **gathered.figures,
            **learned,
            "kl_coefficient": state.coefficient,
            **{f"seconds_{phase}": seconds for phase, seconds in self.batching.seconds.items()},
        }
        self._record(state, gathered, row)

    def _record(self, state: State, gathered: Gathered, row: dict[str, float]) -> None:
        config = self.config
        if config.kl.target is not None and state.iteration >= config.value_warmup:  # before, KL is 0 whatever it costs
            adaptive = kl.Adaptive(config.kl.target, config.kl.horizon)
            state.coefficient = kl.adapted_coefficient(state.coefficient, row["kl"], config.rollouts, adaptive)
        state.cursor += config.prompts
        state.iteration += 1
        answers = gathered.rollouts.answers
        read = sum(map(len, chain(answers, gathered.rollouts.prompts)))
        state.tokens += sum(map(len, answers)) + config.epochs * read
        row = {"step": state.iteration, **row, "tokens": state.tokens}
        state.history.append(row)
        self.context.track({name: value for name, value in row.items() if name != "step"}, state.iteration)
        if remark := part_of_ways(state.history):
            self.context.say(remark)
        log.info("iteration %d of %d: %s", state.iteration, config.iterations, row)
        if self._writes_samples(state.iteration - 1):
            self.samples.write(state.iteration, config.samples, gathered.prompts, gathered.answers, gathered.rollouts)
        planned = state.iteration % config.checkpoint_every == 0 or state.iteration == config.iterations
        if planned or self.timer.is_due():
            self.checkpoints.save(state)
            self.timer.restart()

    def _writes_samples(self, iteration: int) -> bool:
        return iteration % self.config.sample_every == 0 or iteration + 1 >= self.config.iterations

    def _gather(self, iteration: int, cursor: int) -> Gathered:
        return self.gatherer.gather(iteration, cursor, watch=self._writes_samples(iteration))

    def _health_after(self, state: State, gathered: Gathered) -> Health:
        stop = self.config.stop
        limits = HealthLimits(stop.kl, stop.stopped, stop.distinct, stop.patience)
        return state.health.after(state.iteration, gathered.figures, limits)

    def _keep_last_good(self, state: State) -> int:
        """Restore the last good policy, report why, return its iteration. Raises `PipelineError` if there is none."""
        kept = self.checkpoints.load_good(state.health.good)
        fault = f"ppo stopped at iteration {state.iteration + 1} of {self.config.iterations}: {state.health.fault}"
        if not kept:
            raise PipelineError(f"{fault}. No checkpoint before it has a healthy policy.")
        self.context.say(f"{fault}; the policy of iteration {kept} is kept")
        return kept

    def _metrics(self, state: State, last: Gathered, kept: int) -> Metrics:
        phases = [value for row in state.history for name, value in row.items() if name.startswith("seconds_")]
        return {
            **last.figures,
            "iterations": state.iteration,
            "kept": kept,
            "ended_early": float(state.health.fault is not None),
            "kl_coefficient": state.coefficient,
            "seconds_per_iteration": sum(phases) / max(len(state.history), 1),
            "tokens": state.tokens,
            "peak_memory_mb": max(processes.gathered(peak_memory_mb(self.batching.device))),
        }
