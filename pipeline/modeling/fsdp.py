"""Shards a model in training among the processes: its weights, gradients and optimizer (FSDP, arXiv 2304.11277).

Each process keeps a part of every tensor (torch's `fully_shard`). A layer is whole while it computes. What lies outside
the layers (embeddings, last norm, head) is whole from the start of the model's forward pass to the end of its backward
pass, so the head can be applied apart from the transformer, as all stages do. All processes have to pass through a
sharded model equally often.

Numbers, names and files are those of a model that is not sharded: gradients are means over the processes, trained
weights stay float32, and checkpoints hold whole tensors, so another number of processes can resume from them.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from pipeline.errors import RequestError
from pipeline.modeling import processes
from pipeline.modeling.architecture import has_experts

T = TypeVar("T")


def mesh_on(device: torch.device) -> DeviceMesh:
    """Return the devices of all processes as one row. All processes have to ask for it."""
    return init_device_mesh(device.type, (processes.count(),))


def shard(model: Any, mesh: DeviceMesh, name: str) -> Any:
    """Shard a whole model in place onto the devices of a mesh, layer by layer; return it. Exchanges nothing.

    Raises `RequestError` for an architecture that cannot be sharded.
    """
    refusal = f"launch.shard=true does not work with {type(model).__name__} ({name})"
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise RequestError(f"{refusal}: it has no layers that transformers marks as such. Use launch.shard=false.")
    if has_experts(model.config):
        raise RequestError(f"{refusal}: an expert that no row reaches has no gradient. Use launch.shard=false.")
    if not all(parameter.is_floating_point() for parameter in model.parameters()):
        raise RequestError(f"{refusal}: its weights are in 4 bits. Use launch.shard=false.")
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for part in (*layers, model):
        fully_shard(part, mesh=mesh)
    model.computed_inside = lambda compute: compute()
    register_fsdp_forward_method(model, "computed_inside")
    return model


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def computed_inside(model: Any, compute: Callable[[], T]) -> T:
    """Return what `compute()` returns, which may call the parts of a model one by one: the root is whole inside."""
    return cast(T, model.computed_inside(compute)) if is_sharded(model) else compute()


def reshard(model: Any) -> None:
    """Make every process keep its part only: the root's weights stay whole after a pass without a backward pass."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor whole, in all processes. All of them have to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, distributed as `like`; all of it if that is not sharded."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def gathered_on_main(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whole tensors on the CPU in the main process, and none in the others; equal tensors stay one."""
    kept: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in kept:
            found = whole(tensor.detach())
            kept[id(tensor)] = found.cpu().contiguous() if processes.rank() == 0 else found.new_empty(0)
    return {name: kept[id(tensor)] for name, tensor in tensors.items()} if processes.rank() == 0 else {}


def whole_weights(model: Any, *, trained: bool = False) -> dict[str, Tensor]:
    """Return the weights of a sharded model by name, as `state_dict` does, or the trained ones of them alone.

    They are in the main process; the others get none.
    """
    reshard(model)  # `state_dict` does: what was whole is freed
    found = dict(model.named_parameters(remove_duplicate=False))
    if trained:
        return gathered_on_main({name: parameter for name, parameter in found.items() if parameter.requires_grad})
    return gathered_on_main({name: found.get(name, value) for name, value in model.state_dict().items()})


def keep_whole_state(optimizer: torch.optim.Optimizer) -> None:
    """Make the state of an optimizer of sharded weights whole: what it gives to a checkpoint, and what it takes back.

    The others give an empty state to the main process's whole one.
    """
    optimizer.register_state_dict_post_hook(_with_whole_tensors)
    optimizer.register_load_state_dict_pre_hook(_with_own_parts)


def _with_whole_tensors(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "state": {index: _gathered(values) for index, values in state["state"].items()}}


def _gathered(values: dict[str, Any]) -> dict[str, Any]:
    tensors = {name: value for name, value in values.items() if isinstance(value, DTensor)}
    return {**values, **gathered_on_main(tensors)}


def _with_own_parts(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parts = {
        index: {name: _part_of_state(value, parameters[index]) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": parts}


def _part_of_state(value: Any, parameter: Tensor) -> Any:
    """Return this process's part of a number per weight, such as Adam's; other state, such as its step, unchanged."""
    per_weight = isinstance(value, Tensor) and value.shape == parameter.shape and value.dim() > 0
    return part_of(value, parameter) if per_weight else value
