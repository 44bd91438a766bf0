"""One process or many: who this process is, and sums over all of them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Processes:
    rank: int = 0
    number: int = 1

    @property
    def is_main(self) -> bool:
        """The process that writes and prints."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        return self.rank, self.number

    def sum(self, values: list[float], device: torch.device) -> list[float]:
        """Each value summed over all processes, in float64."""
        if self.number == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def least(self, value: int, device: torch.device) -> int:
        """The smallest value that any process has."""
        if self.number == 1:
            return value
        box = torch.tensor(value, device=device)
        dist.all_reduce(box, dist.ReduceOp.MIN)
        return int(box)

    def greatest(self, value: int, device: torch.device) -> int:
        """The largest value that any process has."""
        if self.number == 1:
            return value
        box = torch.tensor(value, device=device)
        dist.all_reduce(box, dist.ReduceOp.MAX)
        return int(box)

    def replicate(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with gradients averaged over processes."""
        if self.number == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be the only one."""
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), number)
    finally:
        dist.destroy_process_group()
