"""A few answers every so often, for people to look at: `samples.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.ppo.rollouts import Rollouts


class Samples:
    """Grows while a run goes on; a resumed run takes back what came after its checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(
        self,
        step: int,
        count: int,
        prompts: Sequence[Sequence[Mapping[str, Any]]],
        answers: Sequence[Any],
        rollouts: Rollouts,
    ) -> None:
        """Add the first `count` answers of an iteration, with reward and KL to the reference in nats."""
        kl = (rollouts.logprobs - rollouts.reference).sum(1).tolist()
        with self.path.open("a", encoding="utf-8") as file:
            for i in range(min(count, len(answers))):
                row = {
                    "step": step,
                    "prompt": prompts[i],
                    "answer": answers[i].text,
                    "stopped": answers[i].stopped,
                    "reward": float(rollouts.scores[i]),
                    "kl": kl[i],
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def keep(self, step: int) -> None:
        """Leave only what was written up to `step`; a line that was cut off goes, too."""
        if not self.path.is_file():
            return
        lines = [line for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
