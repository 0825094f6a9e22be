"""Checks the keys of PPO that contradict each other."""

from collections.abc import Iterator

from pipeline.config.nodes.learning import PpoConfig

OF_TOKENS = ("gamma", "lam", "whiten_rewards")  # about the rewards of single tokens
OF_VALUES = ("value_learning_rate", "value_clip", "value_coefficient", "value_warmup")


def wrong_ppo(ppo: PpoConfig) -> Iterator[str]:
    """Yield faults in numbers of answers, in keys of a value model or a server, and in the sources of reward."""
    yield from _indivisible_rollouts(ppo)
    yield from _policy_without_iterations(ppo)
    yield from _lone_source(ppo)
    yield from _elsewhere(ppo)
    if not ppo.has_value_model:
        yield from _lone_answers(ppo)
        yield from _keys_of_a_value_model(ppo)


def _indivisible_rollouts(ppo: PpoConfig) -> Iterator[str]:
    """Yield rollouts that are not whole batches, or not whole groups of answers."""
    for key, size in (("batch_size", ppo.batch_size), ("group", ppo.group)):
        if size > 0 and ppo.rollouts % size:
            fits = f"ppo.rollouts={-(-ppo.rollouts // size) * size}"
            yield f"ppo.rollouts={ppo.rollouts}: not a multiple of ppo.{key}={size}. Give {fits}, for example."


def _policy_without_iterations(ppo: PpoConfig) -> Iterator[str]:
    """Yield a warm-up of the value model that leaves the policy no iteration."""
    warmup, iterations = ppo.value_warmup, ppo.iterations
    if warmup >= iterations:
        yield f"ppo.value_warmup={warmup}: the policy would learn in none of ppo.iterations={iterations}. Give less."


def _lone_source(ppo: PpoConfig) -> Iterator[str]:
    """Yield a combination of rewards where there is nothing to combine."""
    if ppo.combine != "sum" and len(ppo.rewards) < 2:
        yield (
            f"ppo.combine={ppo.combine}: ppo.rewards has one source. Give several, such as reward models of "
            "other seeds: ppo.rewards=[{source: reward@A}, {source: reward@B}, {source: reward@C}]."
        )


def _elsewhere(ppo: PpoConfig) -> Iterator[str]:
    """Yield what a server cannot be given, and keys that have no effect without one."""
    if ppo.drawn_by != "hf" and ppo.peft.method == "full":
        yield (
            f"ppo.drawn_by={ppo.drawn_by}: a server is given the policy as an adapter after each iteration, and "
            "ppo.peft.method=full has none. Use peft@ppo.peft=lora, or ppo.drawn_by=hf."
        )
    if ppo.drawn_by == "hf" and ppo.importance_cap != PpoConfig().importance_cap:
        yield (
            f"ppo.importance_cap={ppo.importance_cap}: this machine draws from the policy itself, so that all weights "
            "are 1. Leave it out, or have a server draw: ppo.drawn_by=vllm."
        )


def _lone_answers(ppo: PpoConfig) -> Iterator[str]:
    """Yield groups of one answer, which has no other to be compared with."""
    if ppo.group == 1:
        yield (
            f"ppo.group={ppo.group}: ppo.advantage={ppo.advantage} compares answers to the same prompt with each "
            "other. Give ppo.group=4, for example."
        )


def _keys_of_a_value_model(ppo: PpoConfig) -> Iterator[str]:
    """Yield keys that have no effect without a value model, where they are not at their defaults."""
    plain, instead = PpoConfig(), "Leave it out, or use ppo.advantage=gae."
    for key in (*OF_VALUES, *OF_TOKENS):
        if getattr(ppo, key) != getattr(plain, key):
            about = "it is about a value model" if key in OF_VALUES else "it is about the rewards of single tokens"
            yield f"ppo.{key}={getattr(ppo, key)}: {about}, and ppo.advantage={ppo.advantage} has none. {instead}"
    if ppo.inputs.get("value"):
        yield f"ppo.inputs.value: it is a value model, and ppo.advantage={ppo.advantage} has none. {instead}"
