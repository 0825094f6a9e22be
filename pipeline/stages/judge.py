"""`judge`: an independent reward model, trained like `reward`, that only evaluates answers.

It learns from separate prompts, and with enough annotators also from separate annotators, which nothing else learns
from. So in `evaluate` it can still judge answers after PPO has optimized against the reward model.
"""

from pipeline.config.nodes.learning import JudgeConfig
from pipeline.stage import Metrics, ModelRows, Stage, StageContext
from pipeline.stages.reward import Pairs, inputs, summary, train_reward_model

PAIRS = Pairs(
    train="judge.jsonl",
    test="judge_test.jsonl",
    people="judge_accuracy_people",
    missing=(
        "no pairs were set apart for an independent judge. Raise preferences.judge_fraction, bring judgements of more "
        "prompts, or do without a judge: evaluate.judge=false"
    ),
)


def run(config: JudgeConfig, context: StageContext) -> Metrics:
    return train_reward_model("judge", PAIRS, config, context)


ROWS = ModelRows("preferences", (PAIRS.train,), passes=2)
STAGE = Stage(
    "judge", JudgeConfig, inputs, run, summary, makes="reward model",
    rows=ROWS, is_distributed=True, is_side_branch=True,
)  # fmt: skip
