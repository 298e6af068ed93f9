"""Where and how a run computes: device, precision, memory format, compilation."""

import contextlib
import ctypes
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ganmix.config.common import Device
from ganmix.errors import naming


def find_device(name: str) -> torch.device:
    """Return the device called `name`; 'auto' is CUDA where there is one.

    Raises:
        ValueError: the name is not a device's, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"expected auto, cpu, cuda or cuda:N, got '{name}'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"{name} is not available; PyTorch sees {torch.cuda.device_count()} CUDA devices")
    return device


def prepare_device(settings: Device) -> torch.device:
    """Return a config's device, ready to compute.

    Raises:
        UserError: it is not there, or cannot compile where the config wants it to.
    """
    device = device_named(settings.name)
    if settings.compile:
        with naming("device.compile"):
            check_compiler(device)
    keep_freed_memory()
    return device


def device_named(name: str, key: str = "device.name") -> torch.device:
    """Return the device called `name`, the value of the config's or the command line's `key`.

    Raises:
        UserError: it is not there.
    """
    with naming(key):
        return find_device(name)


def memory_format(settings: Device) -> torch.memory_format:
    """Return the layout that networks get."""
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def autocast(device: torch.device, bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which convolutions and matrix products run in bfloat16, or nothing changes."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()


def compiled(network: nn.Module) -> Callable[..., Any]:
    """Return `torch.compile(network)`, which shares its parameters.

    One graph for each stage a plan mixes at, with and without gradients of the weights: more than the default limit.
    """
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(network, dynamic=False)


def check_compiler(device: torch.device) -> None:
    """Raise ValueError if `torch.compile` cannot work on the device; otherwise it would fail only in the first step."""
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise ValueError("compilation for the CPU needs a C++ compiler (g++ or clang++), and none is installed")


def keep_freed_memory(keep: bool = True) -> None:
    """Let the C library keep what tensors on the CPU free, instead of returning it to the kernel each time.

    By default glibc does so for every block over 32 MiB, which is each large activation: about a fifth of a step.

    Args:
        keep: False: back to the default, and give back what was kept.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # not glibc
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    libc.mallopt(m_mmap_threshold, 2**30 if keep else 2**25)
    libc.mallopt(m_trim_threshold, 2**31 - 1 if keep else 2**26)
    if not keep:
        libc.malloc_trim(0)


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether bfloat16 is computed by the hardware; elsewhere it is emulated, many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def hardware(device: torch.device) -> str:
    """Return the device's name, with the number of threads for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = models[0].split(":")[1].strip() if models else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
