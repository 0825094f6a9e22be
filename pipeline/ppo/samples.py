"""Writes a few answers at intervals to `samples.jsonl`, for people to read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.ppo.rollouts import Rollouts
from pipeline.row_log import RowLog


class Samples:
    """The file of sample answers. It grows during a run; a resumed run removes the rows after its checkpoint.

    Without a path, as in a process that writes nothing, it is left alone.
    """

    def __init__(self, path: Path | None) -> None:
        self.log = RowLog(path) if path else None

    def write(
        self,
        step: int,
        count: int,
        prompts: Sequence[Sequence[Mapping[str, Any]]],
        answers: Sequence[Any],
        rollouts: Rollouts,
    ) -> None:
        """Append the first `count` answers of an iteration, with reward and KL to the reference in nats per answer."""
        if self.log is None:
            return
        kl = (rollouts.logprobs - rollouts.reference).sum(1).tolist()
        rows = [
            {
                "step": step,
                "prompt": prompts[i],
                "answer": answers[i].text,
                "stopped": answers[i].stopped,
                "reward": float(rollouts.scores[i]),
                "kl": kl[i],
            }
            for i in range(min(count, len(answers)))
        ]
        self.log.append(*rows)

    def keep(self, step: int) -> None:
        """Remove the rows after `step`."""
        if self.log is None:
            return
        kept = [row for row in self.log.rows if row["step"] <= step]
        if len(kept) < len(self.log.rows):
            self.log.keep(kept)
