"""The settings of the tiny chain that all stage tests share."""

TINY = (
    *("base.hidden_size=64", "base.intermediate_size=96", "base.layers=2", "base.heads=2", "base.kv_heads=2"),
    *("base.documents=400", "base.vocabulary=400", "base.steps=12", "base.batch_size=8", "base.learning_rate=2e-3"),
    *("data.world.demonstrations=64", "data.world.dev=16", "data.world.preference_prompts=16"),
    *("data.world.rl_prompts=8", "data.world.test_prompts=12", "sft.epochs=2", "sft.batch_size=16"),
    *("sample.decoding.max_new_tokens=12", "evaluate.decoding.max_new_tokens=12", "dpo.epochs=2", "dpo.batch_size=8"),
    *("reward.epochs=2", "reward.batch_size=8", "ppo.iterations=2", "ppo.rollouts=16", "ppo.batch_size=8"),
    *("ppo.max_new_tokens=12", "labeling=simulated", "labeling.noise=0.3", "labeling.tie_width=0", "tracking=off"),
    "launch.parallel=1",
)
