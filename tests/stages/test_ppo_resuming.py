"""PPO that is killed at any moment and resumed gives bitwise the same result."""

import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.store.artifacts import MANIFEST
from tests.examples import is_deep
from tests.stages.conftest import Chain
from tests.stages.test_ppo import SMALL, assert_same_run

pytestmark = pytest.mark.slow

KILLS = 10 if is_deep() else 5  # each one lets one or two iterations be made, so that five for each are enough
LONG = (
    *(*SMALL, f"ppo.iterations={5 * KILLS}", "ppo.learning_rate=3e-4", "ppo.checkpoint_every=3", "ppo.sample_every=4"),
    *("ppo.kl.target=2", "ppo.kl.horizon=200", "ppo.rollouts=8", "ppo.batch_size=4", "ppo.epochs=1"),
)


@pytest.mark.parametrize(
    ("peft", "own", "often"),
    [
        ("full", (), ()),
        ("lora", (), ("launch.checkpoint_minutes=1e-9",)),  # after every iteration by the clock
        ("full", ("ppo.advantage=rloo", "ppo.group=4"), ()),
    ],
)
def test_killed_at_random_moments(
    chain: Chain, tmp_path: Path, peft: str, own: tuple[str, ...], often: tuple[str, ...]
) -> None:
    """Policy, value model, samples, history and metrics of a run killed several times equal those of an unbroken run.

    Rule 21 (trl#583, trl#2657); a kill can hit loading, sampling, learning or the writing of a checkpoint. The KL
    coefficient is adaptive, so it is part of the state to restore.
    """
    given, rng = (*LONG, f"peft@reward.peft={peft}", f"peft@ppo.peft={peft}", *own), random.Random(0)
    chain = chain.beside(tmp_path / "outputs", chain.make("reward", *given), chain.make("judge", *given))
    unbroken = chain.make("ppo", *given)
    kept = unbroken.path.rename(chain.outputs / "unbroken")
    longest = min(0.2, unbroken.metrics["seconds_per_iteration"])  # so that the kills leave iterations to make
    log = unbroken.path / "log.txt"
    for _ in range(KILLS):
        process = chain.start("stage=ppo", *given, *often)
        begun = finished(log)
        while finished(log) == begun:  # until it has resumed: otherwise most kills would hit the imports
            assert process.is_alive(), "it ended before it could be killed"
            time.sleep(0.01)
        time.sleep(rng.uniform(0, longest))
        assert process.is_alive(), "it ended before it could be killed"
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (unbroken.path / MANIFEST).exists()
    resumed = chain.make("ppo", *given)
    assert resumed.file("log.txt").read_text().count("resumed from iteration") >= KILLS - 1
    assert_same_run(resumed, replace(unbroken, path=kept))


def finished(log: Path) -> int:
    """Return the number of finished iterations, over all attempts."""
    return log.read_text().count("pipeline.ppo.loop: iteration") if log.exists() else 0
