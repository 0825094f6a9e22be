"""PPO beside other libraries' on one machine: CPU seconds of an iteration and peak memory, in turn in one run.

    python benchmarks/ppo_rivals.py [--trl FOLDER] [--agilerl FOLDER] [--runs 5] [--iterations 4] [--only small-uneven]

The folders hold TRL 1.12, the last with a `PPOTrainer` (`pip install --no-deps --target FOLDER trl==1.12.0`), and
AgileRL 2.58, with actor, critic and reference as adapters on one base (`pip install --no-deps --target FOLDER
agilerl==2.58.0 agilerl-arena lazy_loader dill fastrand flatten-dict gymnasium farama-notifications tensordict==0.13.0
pettingzoo termcolor cloudpickle pyvers orjson`); torch, transformers and peft are the pipeline's own on all sides. All
get the same Phi of random weights, reward model, prompts, lengths, epochs, minibatches and optimizer steps, in a
process of their own with one thread. The bias of the stop token decides how long answers become: one setting has
answers of all lengths, the others none that stops. Given are medians and ranges of the ratios ours / theirs, and of the
seconds; the first iteration is left out, and memory counts from what the imports take.

The last columns have a floor: the seconds of the matrix products that PPO cannot do without, each once, timed after
each run with the shapes that they have, in the fastest way known here. Attention, activations, norms and the softmax
over the vocabulary are not in it.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

PAD, BOS, EOS = 0, 1, 2
NEVER = -30.0  # the bias of a stop token that is not drawn


@dataclass(frozen=True)
class Setting:
    """A size of model and rows; `mean` is the answers' mean length, or None where all are `longest` tokens long."""

    vocabulary: int
    hidden: int
    layers: int
    answers: int
    longest: int
    prompt: int
    mean: int | None = None
    lora: bool = False


SETTINGS = {
    "small-uneven": Setting(1024, 192, 2, 64, 64, 24, mean=24),
    "small": Setting(1024, 192, 2, 64, 64, 24),
    "small-lora": Setting(1024, 192, 2, 64, 64, 24, lora=True),
    "vocabulary": Setting(50_257, 256, 6, 32, 48, 24),
    "vocabulary-lora": Setting(50_257, 256, 6, 32, 48, 24, lora=True),
}
EPOCHS, BATCHES, RATE = 2, 2, 1e-6
COLUMNS = (
    *("setting", "rival", "ours, s", "theirs, s", "ratio of times (range)", "ratio of memory", "our tokens per answer"),
    *("floor, s", "ours / floor"),
)
RANK = 16  # the pipeline's own default


def prompts_of(setting: Setting, count: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[draw.randrange(3, setting.vocabulary) for _ in range(setting.prompt)] for _ in range(count)]


def save_model(setting: Setting, folder: Path) -> None:
    """Write the model with its tokenizer, and next to it a reward model of the same shape."""
    import torch
    from random_models import tokenizer_of
    from transformers import PhiConfig, PhiForCausalLM, PhiForSequenceClassification

    config = PhiConfig(
        vocab_size=setting.vocabulary,
        hidden_size=setting.hidden,
        intermediate_size=4 * setting.hidden,
        num_hidden_layers=setting.layers,
        num_attention_heads=setting.hidden // 32,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        num_labels=1,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    torch.manual_seed(0)
    model = PhiForCausalLM(config)
    with torch.no_grad():
        odds = math.log(setting.vocabulary / setting.mean) if setting.mean else NEVER
        model.lm_head.bias[EOS] = odds
    tokenizer = tokenizer_of(setting.vocabulary)
    for part, which in ((model, "policy"), (PhiForSequenceClassification(config), "reward")):
        part.save_pretrained(folder / which)
        tokenizer.save_pretrained(folder / which)


class Products(NamedTuple):
    """Seconds of the matrix products of one token: forward, the gradient of the inputs, that of the weights."""

    forward: float
    inputs: float
    weights: float

    def learned(self, frozen: bool) -> float:
        """Return the seconds of a forward and a backward pass; a frozen weight has no gradient."""
        return self.forward + self.inputs + (0.0 if frozen else self.weights)


def least_seconds(setting: Setting, tokens: float) -> float:
    """Return the seconds of an iteration's matrix products, each done once; `tokens` are those of a mean answer.

    Log-probabilities at the sampling come from the sampling itself. The head is computed at answers only. A layer has
    12 hidden**2 weights; the eight of its MLP stand for all.
    """
    answers = round(setting.answers * tokens)
    row_tokens = setting.answers * setting.prompt + answers
    hidden = setting.hidden
    mlp = [timed_products(row_tokens, *shape) for shape in ((hidden, 4 * hidden), (4 * hidden, hidden))]
    layers = Products(*(12 / 8 * setting.layers * sum(kind) for kind in zip(*mlp, strict=True)))
    head = timed_products(answers, hidden, setting.vocabulary)
    sampled_and_compared = 2 * (row_tokens * layers.forward + answers * head.forward)
    scored_and_valued = 2 * row_tokens * layers.forward
    learned = 2 * row_tokens * layers.learned(setting.lora) + answers * head.learned(setting.lora)  # policy and values
    return sampled_and_compared + scored_and_valued + EPOCHS * learned


def timed_products(rows: int, inside: int, outside: int) -> Products:
    """Return the seconds a row of one thread's products of [rows, inside] and [inside, outside], medians of five.

    A large vocabulary is computed in tiles, as the pipeline does: that is the fastest way known.
    """
    import torch

    from pipeline.modeling.tiles import tiled

    torch.set_num_threads(1)
    layer = torch.nn.Linear(inside, outside, bias=False).requires_grad_(False)
    given, slopes, forward = torch.randn(rows, inside), torch.randn(rows, outside), tiled(layer)
    kinds = (lambda: forward(given), lambda: slopes @ layer.weight, lambda: slopes.T @ given)
    return Products(*(statistics.median(seconds_of(kind) for _ in range(5)) / rows for kind in kinds))


def seconds_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


class Meter:
    """CPU seconds of each iteration, and the peak memory above what the imports took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.imported = peak_mib()
        self.began = time.process_time()

    def lap(self) -> None:
        now = time.process_time()
        self.seconds.append(now - self.began)
        self.began = now

    def report(self, tokens: float) -> str:
        memory = peak_mib() - self.imported
        return json.dumps({"seconds": statistics.median(self.seconds[1:]), "memory": memory, "tokens": tokens})


def peak_mib() -> float:
    """Return the largest resident set of this program: `getrusage` counts that of the program that started it, too."""
    import torch

    from pipeline.modeling.memory import peak_memory_mb

    return peak_memory_mb(torch.device("cpu"))


# -- one side in a process of its own ----------------------------------------------------------------------------------


def run_ours(setting: Setting, folder: Path, iterations: int) -> str:
    import torch

    from pipeline.config.nodes.learning import PpoConfig
    from pipeline.config.nodes.machine import LaunchConfig
    from pipeline.config.nodes.models import PeftConfig
    from pipeline.modeling.in_training import prepare_model
    from pipeline.modeling.rewards.scoring import RewardModel
    from pipeline.modeling.roles import ValueStart, build_roles
    from pipeline.ppo.gathering import PpoTask
    from pipeline.ppo.loop import Loop
    from pipeline.ppo.sources import WeightedScorer
    from pipeline.progress import progress
    from pipeline.stage import Runtime, StageContext
    from pipeline.store.artifact import Artifact

    def artifact(which: str) -> Artifact:
        source = {"path": str(folder / which), "dtype": "float32", "chat_template": None}
        return Artifact(which, "random", folder / which, {"source": source})

    class ById(RewardModel):
        """Scores token ids: the words of the random tokenizer are not rendered again."""

        def score(self, prompts: Any, answers: Any, batch_size: int = setting.answers) -> list[float]:
            from pipeline.modeling.rewards.scoring import raw_scores
            from pipeline.modeling.scoring import AnsweredPrompt

            rows = [
                AnsweredPrompt(ids[p[0]["content"]], answer.ids) for p, answer in zip(prompts, answers, strict=True)
            ]
            return raw_scores(self.model, rows, pad_id=PAD, batch_size=batch_size, cheapest=True)

    torch.set_num_threads(1)
    meter = Meter()
    launch = LaunchConfig(device="cpu")
    run = Path(tempfile.mkdtemp(dir=folder))  # a second run in one folder would resume the first
    context = StageContext({}, run, Runtime(launch, 1), progress, print, lambda *_: meter.lap())
    peft = PeftConfig("lora" if setting.lora else "full")
    config = PpoConfig(
        seed=0, iterations=iterations, rollouts=setting.answers, batch_size=setting.answers // BATCHES, epochs=EPOCHS,
        learning_rate=RATE, max_new_tokens=setting.longest, checkpoint_every=1000, sample_every=1000, peft=peft,
    )  # fmt: skip
    config.stop.kl, config.stop.stopped, config.stop.distinct = 1e9, 0.0, 0.0
    in_training = prepare_model(artifact("policy"), peft, 0, context)
    roles = build_roles(in_training, ValueStart(), peft, 0, recompute=False)
    reward = ById(artifact("reward"), context)
    prompts = prompts_of(setting, setting.answers * iterations)
    ids = {str(i): one for i, one in enumerate(prompts)}
    asked = [[{"role": "user", "content": str(i)}] for i in range(len(prompts))]
    meter.began = time.process_time()
    _, history = Loop(
        PpoTask(asked, prompts, [WeightedScorer("reward", reward, 1.0)], {}), roles, config, context
    ).run()
    return meter.report(statistics.mean(row["length"] for row in history))


def run_trl(setting: Setting, folder: Path, iterations: int) -> str:
    import torch
    from datasets import Dataset
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    torch.set_num_threads(1)
    meter = Meter()

    class Lap(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            meter.lap()

    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(folder / "policy")
    value, reward = (AutoModelForSequenceClassification.from_pretrained(folder / "reward") for _ in range(2))
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", exclude_modules=["lm_head", "score"])
    if setting.lora:
        inject_adapter_in_model(lora, value)
        value.score.requires_grad_(True)
    config = PPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=setting.answers, gradient_accumulation_steps=1,
        num_mini_batches=BATCHES, num_ppo_epochs=EPOCHS, response_length=setting.longest, learning_rate=RATE,
        total_episodes=setting.answers * iterations, local_rollout_forward_batch_size=setting.answers,
        stop_token_id=EOS, temperature=1.0, save_strategy="no", report_to=[], num_sample_generations=0, use_cpu=True,
        missing_eos_penalty=1.0, bf16=False, gradient_checkpointing=False, logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    rows = Dataset.from_list([{"input_ids": ids} for ids in prompts_of(setting, setting.answers * iterations)])
    trainer = PPOTrainer(
        config, tokenizer, policy, None, reward, rows, value, eval_dataset=rows, callbacks=[Lap()],
        peft_config=lora if setting.lora else None,
    )  # fmt: skip
    meter.began = time.process_time()
    trainer.train()
    return meter.report(float("nan"))


def run_agilerl(setting: Setting, folder: Path, iterations: int) -> str:
    """Actor, critic and reference are adapters; answers are sampled with transformers, one by one, without vLLM."""
    import agilerl
    import torch

    agilerl.HAS_LLM_DEPENDENCIES = True  # it asks for packages, such as Triton's kernels, that PPO does without
    from agilerl.algorithms.ppo_llm import PPO
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    meter = Meter()
    reward = AutoModelForSequenceClassification.from_pretrained(folder / "reward").eval()
    agent = PPO(
        pad_token_id=PAD, pad_token="<pad>", model_name=str(folder / "policy"), device="cpu", seed=0,
        model_config={"torch_dtype": torch.float32, "attn_implementation": "sdpa"},
        lora_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", exclude_modules=["lm_head"]),
        batch_size=setting.answers, mini_batch_size=setting.answers // BATCHES, update_epochs=EPOCHS,
        micro_batch_size_per_gpu=setting.answers // BATCHES, lr_actor=RATE, lr_critic=RATE, beta=0.05, vf_coef=0.1,
        top_k=0, max_output_tokens=setting.longest, max_model_len=512, gradient_checkpointing=False,
        use_liger_loss=False, advantage_granularity="token",
    )  # fmt: skip
    prompts = prompts_of(setting, setting.answers * iterations)
    lengths = []
    meter.began = time.process_time()
    for start in range(0, len(prompts), setting.answers):
        ids = [torch.tensor([one]) for one in prompts[start : start + setting.answers]]
        acted = agent.get_action([{"input_ids": one, "attention_mask": torch.ones_like(one)} for one in ids])
        rows, masks = acted[0], acted[1]
        longest = max(row.shape[-1] for row in rows)
        padded = torch.cat([torch.nn.functional.pad(row, (0, longest - row.shape[-1]), value=PAD) for row in rows])
        with torch.no_grad():
            scores = reward(input_ids=padded, attention_mask=(padded != PAD).long()).logits[:, 0]
        agent.learn((rows, masks, scores))
        lengths += [float(mask.sum()) for mask in masks]
        meter.lap()
    return meter.report(statistics.mean(lengths))


SIDES: dict[str, Callable[[Setting, Path, int], str]] = {"ours": run_ours, "trl": run_trl, "agilerl": run_agilerl}
RIVALS = [side for side in SIDES if side != "ours"]  # AgileRL trains adapters only


# -- all runs, in turn -------------------------------------------------------------------------------------------------


def measured(side: str, setting: Setting, folder: Path, iterations: int, library: str = "") -> dict[str, float]:
    """Run one side in a process of its own; a rival's `library` comes before what is installed."""
    root = Path(__file__).resolve().parents[1]
    path = [*([library] if library else []), str(root / "benchmarks" / "gpu"), str(root)]
    options = ("--setting", json.dumps(asdict(setting)), "--folder", str(folder), "--iterations", str(iterations))
    ran = subprocess.run(
        [sys.executable, __file__, "--side", side, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"{side} failed:\n{ran.stderr[-3000:]}")
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def compare(name: str, rival: str, library: str, given: argparse.Namespace) -> str:
    """Return the line of the table for one setting and one rival: medians of runs in turn."""
    setting = SETTINGS[name]
    with tempfile.TemporaryDirectory() as folder:
        save_model(setting, Path(folder))
        sides = (("ours", ""), (rival, library))
        run = [(side, setting, Path(folder), given.iterations, where) for side, where in sides]
        pairs, floors = [], []
        for _ in range(given.runs):
            pairs.append([measured(*one) for one in run])
            floors.append(least_seconds(setting, pairs[0][0]["tokens"]))
    times = [ours["seconds"] / theirs["seconds"] for ours, theirs in pairs]
    memory = statistics.median(ours["memory"] / theirs["memory"] for ours, theirs in pairs)
    seconds = [statistics.median(pair[i]["seconds"] for pair in pairs) for i in range(2)]
    spread = f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
    floor = statistics.median(floors)
    cells = [f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", spread, f"{memory:.2f}", f"{pairs[0][0]['tokens']:.1f}"]
    return " | ".join([name, rival, *cells, f"{floor:.2f}", f"{seconds[0] / floor:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for rival in RIVALS:
        parser.add_argument(f"--{rival}", default="", metavar="FOLDER")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--only", choices=SETTINGS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--setting", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(SIDES[given.side](Setting(**given.setting), given.folder, given.iterations))
        return
    sys.path[:0] = [str(Path(__file__).parent / "gpu"), str(Path(__file__).resolve().parents[1])]
    print(" | ".join(COLUMNS))
    for name in [given.only] if given.only else SETTINGS:
        for rival in RIVALS:
            folder = getattr(given, rival)
            if folder and (SETTINGS[name].lora or rival != "agilerl"):
                print(compare(name, rival, folder, given), flush=True)


if __name__ == "__main__":
    main()
