"""Checks the keys about annotators, and about language models at other addresses."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from labeling.overlap import overlap_of
from pipeline.config.credentials import ENDPOINT_KEY
from pipeline.config.data_checks import wrong_paths
from pipeline.config.fields import is_endpoint
from pipeline.config.names import NAME
from pipeline.config.nodes.machine import ROLLOUTS
from pipeline.config.nodes.people import LabelingConfig
from pipeline.config.schema import PipelineConfig

OURS = {"model", "prompt", "max_tokens", "temperature", "top_p", "seed", "n", "stream"}  # fields of a request


def wrong_labeling(config: PipelineConfig) -> Iterator[str]:
    """Yield contradictions between backend, annotators, overlap and question."""
    labeling, names = config.labeling, config.labeling.annotators or []
    if labeling.backend == "file" and not labeling.path:
        yield "labeling.path has to be given: labeling.path=…"
    if names and labeling.backend in ("simulated", "file"):
        instead = " instead of a file" if labeling.path else ""
        yield f"labeling.annotators={names}: people answer in Argilla{instead}: labeling=embedded or labeling=remote."
    for name in dict.fromkeys(names):
        if not NAME.fullmatch(name):
            yield f"labeling.annotators: '{name}' has to have letters, digits, '.', '_' and '-' only."
        if names.count(name) > 1:
            yield f"labeling.annotators: '{name}' occurs twice."
    asked = len(names) or labeling.simulated
    yield from _wrong_overlap(labeling, asked)
    if config.abtest.overlap > asked:
        yield f"abtest.overlap={config.abtest.overlap}: there are {asked} to judge each pair of answers."
    if labeling.question == "pairwise" and config.sample.answers != 2:
        yield f"labeling.question=pairwise asks about two answers: sample.answers=2, not {config.sample.answers}."


def _wrong_overlap(labeling: LabelingConfig, asked: int) -> Iterator[str]:
    """Yield faults in the number of people for each prompt."""
    try:
        overlap = overlap_of(labeling.overlap)
    except ValueError as error:
        yield f"labeling.overlap={labeling.overlap}: {error}."
        return
    if labeling.backend != "file" and overlap.highest > asked:
        yield f"labeling.overlap={labeling.overlap}: there are {asked} to rank each prompt."
    if labeling.backend == "remote" and overlap.most is not None:
        yield (
            f"labeling.overlap={labeling.overlap}: an Argilla elsewhere asks the same number of people about each "
            "prompt. Give a number, or use labeling=embedded."
        )


def wrong_choice(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the choice of prompts and answers that people are asked about."""
    sample = config.sample
    of_choice = {"candidates": sample.candidates, "drawn": sample.drawn, "inputs.reward": sample.inputs.get("reward")}
    of_choice["disagreement"] = None if sample.disagreement == "ignore" else sample.disagreement
    if sample.choose != "active":
        for key, value in of_choice.items():
            if value is not None:
                yield f"sample.{key}={value}: it is about an active choice: give sample.choose=active, too."
        return
    if sample.prompts is None:
        yield "sample.choose=active: say how many prompts people are asked about: sample.prompts=100."
    elif sample.candidates is not None and sample.candidates < sample.prompts:
        yield f"sample.candidates={sample.candidates}: fewer than sample.prompts={sample.prompts} to choose from them."
    if sample.drawn is not None and sample.drawn < sample.answers:
        yield f"sample.drawn={sample.drawn}: fewer than sample.answers={sample.answers} to choose from them."


def wrong_writer(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the writer of drafts and its prompts. Only a model behind an endpoint needs `draft.model`."""
    draft = config.draft
    yield from wrong_paths("draft.prompts", draft.prompts)
    if is_endpoint(draft.writer):
        fault = address_fault(draft.writer)
        if fault:
            yield f"draft.writer: {fault}"
        if not draft.model:
            yield "draft.model has to be given: the name that the model has at draft.writer."
    elif draft.model:
        yield f"draft.model={draft.model}: only behind an endpoint; draft.writer={draft.writer} is a policy."


def wrong_judges(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the language models that judge. Only a model behind an endpoint has `model`."""
    judges = config.evaluate.judges or []
    for place, one in enumerate(judges):
        key = f"evaluate.judges[{place}]"
        if is_endpoint(one.judge):
            if fault := address_fault(one.judge):
                yield f"{key}.judge: {fault}"
            if not one.model:
                yield f"{key}.model has to be given: the name that the model has at {key}.judge."
        elif one.model:
            yield f"{key}.model={one.model}: only behind an endpoint; {key}.judge={one.judge} is a policy."
        if one.label in [other.label for other in judges[:place]]:
            yield f"{key}: another judge is called '{one.label}', too: give it a name=… of its own."


def wrong_servers(config: PipelineConfig) -> Iterator[str]:
    """Yield faults in the servers that draw policies' answers."""
    generation, servers = config.generation, config.generation.servers or []
    yield from _servers_without_work(config)
    for place, one in enumerate(servers):
        if fault := address_fault(one.url):
            yield f"generation.servers[{place}].url: {fault}"
        if one.policy in [other.policy for other in servers[:place]]:
            yield f"generation.servers[{place}]: another server draws for '{one.policy}', too."
    for name in sorted(OURS & generation.request.keys()):
        yield f"generation.request.{name}: set by the pipeline."


def _servers_without_work(config: PipelineConfig) -> Iterator[str]:
    """Yield servers, and fields of their requests, of stages that draw on this machine."""
    generation = config.generation
    named = {one.policy for one in generation.servers or []}
    if ROLLOUTS in named and config.ppo.drawn_by == "hf":
        yield f"generation.servers: this machine draws PPO's {ROLLOUTS}. Have the server draw them: ppo.drawn_by=vllm."
    served = named - {ROLLOUTS}
    if generation.by == "hf" and (served or (generation.request and config.ppo.drawn_by == "hf")):
        what = "servers" if served else "request"
        yield f"generation.{what}: this machine draws. Choose who draws: generation=vllm or generation=openai."


def address_fault(url: str) -> str | None:
    """Return the fault in an endpoint's URL, or None. URLs are shown and logged, so they must not hold a key."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        return "it has to be like https://HOST/v1."
    if parts.username or parts.password or parts.query or parts.fragment:
        return f"an address has no name, password or query; the key comes from the environment ({ENDPOINT_KEY})."
    return None
