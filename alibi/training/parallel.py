"""One model on several processes, replicated (DDP) or sharded (FSDP2), and its state in whole tensors.

A checkpoint does not depend on the number of processes: it holds whole tensors, as a single process writes
them. So state is gathered before it is written and sharded after it was read, one tensor at a time.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alibi.model import LanguageModel
from alibi.processes import Processes

Tensors = dict[str, Tensor]  # by name


def place(model: LanguageModel, parallel: str, procs: Processes) -> None:
    """Move a model to this process's device: the whole, or with fsdp its shard of every parameter.

    Blocks are moved and sharded one after the other, so that no device ever holds the whole model.
    """
    if parallel != "fsdp" or procs.number == 1:
        model.to(procs.device)
        return
    from torch.distributed.device_mesh import init_device_mesh  # takes a second to import
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(procs.device.type, (procs.number,))
    for part in (*model.transformer.blocks, model):
        fully_shard(part, mesh=mesh)
    for name in ("total_nats", "nll"):  # called in place of forward
        register_fsdp_forward_method(model, name)


def is_sharded(what: nn.Module | Tensor) -> bool:
    """Whether this process holds only a shard: the model is an FSDPModule, the tensor a DTensor."""
    return hasattr(what, "full_tensor" if isinstance(what, Tensor) else "set_requires_gradient_sync")


def replicate(module: nn.Module, procs: Processes) -> nn.Module:
    """The module with DDP, which averages gradients over processes; a sharded model does so by itself."""
    devices = [procs.device] if procs.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)


def average_gradients(model: nn.Module, module: nn.Module, now: bool) -> None:
    """Let the next backward pass average the accumulated gradients over processes, or only accumulate."""
    if is_sharded(model):
        model.set_requires_gradient_sync(now)
    elif isinstance(module, DistributedDataParallel):
        module.require_backward_grad_sync = now


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> float:
    """Clip the norm of the whole gradient; returns the norm before."""
    norm = nn.utils.clip_grad_norm_(parameters, largest)
    return (norm.full_tensor() if is_sharded(norm) else norm).item()


def full_state(model: LanguageModel, optimizer: torch.optim.Optimizer, procs: Processes) -> tuple[Tensors, Tensors]:
    """All parameters, and the optimizer's tensors by `<parameter>.<moment>`: whole and on the CPU.

    All processes take part, and only the main one gets them.
    """
    if is_sharded(model):
        model.reshard()  # a forward pass without a backward pass leaves the root unsharded
    weights = dict(model.named_parameters())
    moments = {
        f"{name}.{moment}": tensor
        for name, parameter in weights.items()
        for moment, tensor in optimizer.state.get(parameter, {}).items()
    }
    return _whole(weights, procs), _whole(moments, procs)


def _whole(tensors: Tensors, procs: Processes) -> Tensors:
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.detach().full_tensor() if is_sharded(tensor) else tensor.detach()
        if procs.is_main:
            whole[name] = full.cpu().contiguous()
    return whole


def load_moments(moments: Iterable[tuple[str, Tensor]], model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    """Fill the optimizer with the moments of `full_state`, of which each process keeps its own part."""
    parameters = dict(model.named_parameters())
    for key, whole in moments:
        name, _, moment = key.rpartition(".")
        optimizer.state[parameters[name]][moment] = _cut(whole, parameters[name])


def _cut(whole: Tensor, parameter: nn.Parameter) -> Tensor:
    """A tensor on the device of a parameter; if it has the parameter's shape, sharded as the parameter is."""
    if not is_sharded(parameter) or whole.shape != parameter.shape:
        return whole.to(parameter.device)
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements
    return distribute_tensor(whole, mesh, placements, src_data_rank=None).clone()  # a view would keep the whole alive
