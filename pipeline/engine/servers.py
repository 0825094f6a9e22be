"""Checks, when a request is planned, that each policy whose answers a server draws has a server."""

from collections.abc import Collection, Iterator

from pipeline.config.nodes.machine import ROLLOUTS
from pipeline.config.schema import PipelineConfig
from pipeline.errors import Unplannable


def check_servers(config: PipelineConfig, stages: Collection[str]) -> None:
    """Raise `Unplannable` if one of `stages`, which are to run, draws from a policy that no server is named for."""
    served = [one.policy for one in config.generation.servers or []]
    faults = [
        f"{name} has answers of '{policy}' drawn by {getattr(config, name).drawn_by}, and generation.servers names "
        f"no server of it: 'generation.servers=[{{policy: {policy}, url: http://HOST/v1}}]'. "
        f"Or: {'ppo.drawn_by' if policy == ROLLOUTS else 'generation'}=hf."
        for name in stages
        for policy in _drawing(getattr(config, name))
        if policy not in served
    ]
    if faults:
        raise Unplannable(faults)


def _drawing(node: object) -> Iterator[str]:
    """Yield the policies that a stage has drawn by servers."""
    if getattr(node, "drawn_by", "hf") != "hf":
        yield from getattr(node, "policies", None) or [getattr(node, "writer", ROLLOUTS)]
