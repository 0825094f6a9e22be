"""What PPO learns with each update, beside TRL 1.12's `PPOTrainer`: the true score of the answers each of them draws.

    python benchmarks/ppo_learning.py --trl FOLDER [--outputs FOLDER] [--projects NAME,NAME] [--to FILE.svg] [--at 1,10]

`FOLDER` holds TRL 1.12: `pip install --no-deps --target FOLDER trl==1.12.0`. A project is one seed of the playground,
made by `python -m pipeline stage=ppo project=NAME seed=N`: its `ppo` is our side. TRL's side starts from the same SFT
policy, reward model and prompts, with the same number of answers, epochs, minibatches, KL coefficient, clipping and
learning rate. Its value model starts from the reward model, as ours does, and has the policy's learning rate: it has
no other. Both sides use one thread. The true score is that of an iteration's own answers, at PPO's temperature.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.rows import prompt_id, read_jsonl
from pipeline.playground.scorer import true_score
from pipeline.report.charts import Series, curves
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store

Curve = list[dict[str, float]]  # `true_score`, `kl`, `length` by iteration
SMOOTH = 2  # a point of the table is the mean of so many iterations before and after it, too
STYLE = (
    "<style>svg{background:#fff} text{font:12px sans-serif;fill:#59636e} .grid{stroke:#dde1e6} polyline{fill:none;"
    "stroke-width:1.6;stroke:#d55e00;opacity:.8} polyline.eval{stroke:#0072b2} circle{display:none}</style>"
)


# -- TRL's side, in a process of its own -------------------------------------------------------------------------------


def run_trl(policy: Path, reward: Path, prompts: Path, config: dict[str, Any]) -> Curve:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(policy / "model", padding_side="left")
    asked = list({prompt_id(row["prompt"]): row["prompt"] for row in read_jsonl(prompts)}.values())
    ids = [tokenizer.apply_chat_template(p, add_generation_prompt=True, return_dict=False) for p in asked]
    content = {tuple(one): prompt[-1]["content"] for one, prompt in zip(ids, asked, strict=True)}
    value, scorer = (load_scorer(reward) for _ in range(2))
    curve: Curve = []
    unwatched = ppo_trainer.get_reward

    def watched(model: Any, rows: torch.Tensor, pad_id: int, start: int) -> Any:
        """Score as TRL does; where it is the reward model that scores, note the answers' true score."""
        if model is scorer:
            curve.append(truth(rows, pad_id, start))
        return unwatched(model, rows, pad_id, start)

    def truth(rows: torch.Tensor, pad_id: int, start: int) -> dict[str, float]:
        scores, lengths = [], []
        for row in rows.tolist():
            prompt, answer = (tuple(i for i in part if i != pad_id) for part in (row[:start], row[start:]))
            text = tokenizer.decode(answer, skip_special_tokens=True)
            scores.append(true_score(content[prompt], text, finished=tokenizer.eos_token_id in answer))
            lengths.append(len(answer))
        return {"true_score": statistics.fmean(scores), "length": statistics.fmean(lengths)}

    class Divergence(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            curve[-1] |= {"kl": logs["objective/kl"]} if "objective/kl" in logs else {}

    ppo_trainer.get_reward = watched
    count = config["rollouts"]
    trainer = PPOTrainer(
        PPOConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=count, gradient_accumulation_steps=1,
            num_mini_batches=count // config["batch_size"], num_ppo_epochs=config["epochs"],
            learning_rate=config["learning_rate"], lr_scheduler_type=config["schedule"], seed=config["seed"],
            total_episodes=count * config["iterations"], local_rollout_forward_batch_size=count,
            response_length=config["max_new_tokens"], temperature=config["temperature"],
            kl_coef=config["kl"]["coefficient"],
            cliprange=config["clip"], cliprange_value=config["value_clip"], vf_coef=config["value_coefficient"],
            gamma=config["gamma"], lam=config["lam"], missing_eos_penalty=config["missing_stop_penalty"],
            max_grad_norm=config["max_grad_norm"], stop_token_id=tokenizer.eos_token_id, num_sample_generations=0,
            save_strategy="no", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1,
            disable_tqdm=True,
        ),
        tokenizer, AutoModelForCausalLM.from_pretrained(policy / "model"), None, scorer,
        Dataset.from_list([{"input_ids": one} for one in ids]), value,
        eval_dataset=Dataset.from_list([{"input_ids": one} for one in ids[:count]]), callbacks=[Divergence()],
    )  # fmt: skip
    trainer.train()
    return curve


def load_scorer(reward: Path) -> Any:
    """Load a reward model with shift and scale of its score in its head."""
    from torch import nn
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(reward / "model", num_labels=1)
    normal = json.loads((reward / "reward.json").read_text())
    head = nn.Linear(model.score.in_features, 1)
    head.weight.data = normal["scale"] * model.score.weight.data
    head.bias.data.fill_(-normal["scale"] * normal["shift"])
    model.score = head
    return model


# -- both sides, project by project ------------------------------------------------------------------------------------


def curves_of(project: str, given: argparse.Namespace) -> dict[str, Curve]:
    """Return both sides' curves of one project."""
    store = Store(given.outputs, project)
    ppo = store.open(*store.resolve("ppo"))
    policy, reward, prompts = (ppo.inputs[role] for role in ("policy", "reward", "prompts"))
    asked = [policy.path, reward.path, prompts.file("rl.jsonl"), json.dumps(settings_of(ppo))]
    root = Path(__file__).resolve().parents[1]
    ran = subprocess.run(
        [sys.executable, __file__, "--trl", given.trl, "--side", *map(str, asked)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([given.trl, str(root)]), "OMP_NUM_THREADS": "1",
             "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"TRL's side failed:\n{ran.stderr[-3000:]}")
    return {"ours": read_jsonl(ppo.file("history.jsonl")), "TRL 1.12": json.loads(ran.stdout.strip().splitlines()[-1])}


def settings_of(ppo: Artifact) -> dict[str, Any]:
    """Return the settings of our side. Stops the benchmark where TRL has no like of them."""
    config: dict[str, Any] = ppo.manifest["config"]
    if config["whiten_rewards"] or config["value_warmup"] or config["kl"]["target"] or len(config["rewards"]) > 1:
        raise SystemExit(f"{ppo.name} has settings that TRL's side does not: rewards, whitening, warm-up or KL target.")
    return config


def around(curve: Curve, iteration: int, key: str) -> float:
    """Return the mean of a metric at an iteration (from 1) and `SMOOTH` before and after it."""
    rows = curve[max(0, iteration - 1 - SMOOTH) : iteration + SMOOTH]
    return statistics.fmean(row[key] for row in rows)


def table(made: dict[str, dict[str, Curve]], at: Sequence[int]) -> Iterator[str]:
    yield f"| project | side | {' | '.join(f'at {i}' for i in at)} | mean of all | KL at the end | answer tokens |"
    yield "|---" * (5 + len(at)) + "|"
    for project, sides in made.items():
        for side, curve in sides.items():
            cells = [f"{around(curve, i, 'true_score'):.3f}" for i in at]
            mean = statistics.fmean(row["true_score"] for row in curve)
            end = f"{around(curve, len(curve), 'kl'):.2f} | {around(curve, len(curve), 'length'):.1f}"
            yield f"| {project} | {side} | {' | '.join(cells)} | {mean:.3f} | {end} |"


def chart(made: dict[str, dict[str, Curve]]) -> str:
    kinds = {"ours": "eval", "TRL 1.12": "train"}
    series = [
        Series(side, kinds[side], [(i + 1.0, row["true_score"]) for i, row in enumerate(curve)])
        for sides in made.values()
        for side, curve in sides.items()
    ]
    drawn = str(curves(series, "iteration", "true score: ours blue, TRL 1.12 orange"))
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{STYLE}", 1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", required=True)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--projects", default="playground")
    parser.add_argument("--to", type=Path, help="where the chart is written")
    parser.add_argument("--at", default="1,5,10,20,30,40,50", help="iterations of the table")
    parser.add_argument("--side", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        policy, reward, prompts, config = given.side
        print(json.dumps(run_trl(Path(policy), Path(reward), Path(prompts), json.loads(config))))
        return
    made = {project: curves_of(project, given) for project in given.projects.split(",")}
    print("\n".join(table(made, [int(i) for i in given.at.split(",")])))
    if given.to:
        given.to.write_text(chart(made))


if __name__ == "__main__":
    main()
