"""The machine: device and precision, versions for manifests and results, peak memory.

A leaf: imports nothing of this project.
"""

import atexit
import contextlib
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "pyarrow", "hydra-core")


def environment(device: torch.device) -> dict:
    """Commit, versions, device and threads, for manifests and result files."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        **_git_state(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES} | {"torch": str(torch.__version__)},
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    """With the instruction sets that decide its speed: one name may stand for several generations."""
    name = _proc("cpuinfo", "model name") or platform.processor() or platform.machine()
    able = torch.cpu.get_capabilities()
    return ", ".join([name, *(has for has in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if able.get(has))])


def _git_state() -> dict:
    """The code's commit, and whether the working tree differs from it; None if this file is not tracked by git.

    A copy inside another repository does not belong to that repository's commit.
    """
    here = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here.parent, capture_output=True, text=True, errors="replace", check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}


def _proc(file: str, field: str) -> str:
    """The first value of a field in a file of Linux' /proc; elsewhere empty."""
    with contextlib.suppress(OSError):
        for line in Path("/proc", file).read_text().splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    return ""


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of the peak, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: then the peak is since the start of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(device: torch.device) -> float:
    """Peak since the last reset: allocated on a CUDA device, resident in the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if peak_kib := _proc("self/status", "VmHWM").removesuffix(" kB"):
        return int(peak_kib) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a device; under several processes, this process's GPU.

    Raises:
        ValueError: another name, or cuda where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device ({name}) must be one of: auto, cpu, cuda (a GPU).")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but torch finds no CUDA device on this machine; use device=cpu or device=auto.")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def lend_home() -> None:
    """Give libraries a temporary folder for settings and caches where there is no writable home.

    For a user without a passwd entry, or a daemon's HOME=/nonexistent: matplotlib, wandb and huggingface_hub would
    warn, fail, or create a folder named ~.
    """
    home = os.path.expanduser("~")
    if os.path.isabs(home) and os.access(home, os.W_OK | os.X_OK):
        return
    lent = tempfile.mkdtemp(prefix="alibi-home-")
    atexit.register(shutil.rmtree, lent, ignore_errors=True)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "WANDB_CONFIG_DIR"):
        os.environ.setdefault(name, lent)


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` as bf16 if the machine is fast at it, else fp32; other names unchanged.

    Raises:
        ValueError: another name.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision ({name}) must be one of: auto, fp32, bf16.")
    return ("bf16" if has_fast_bf16(device) else "fp32") if name == "auto" else name


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the machine has bf16 matrix instructions. A CPU without them took 30 times as long as in fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return able.get("avx512_bf16", False) or able.get("amx_bf16", False)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Matrix products in bf16 or fp16 if `precision` says so; weights, sums and losses stay in fp32."""
    narrow = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(device.type, narrow or torch.bfloat16, enabled=narrow is not None)
