"""Where and in which number format to compute: CUDA where there is one, bf16 where the hardware is fast at it."""

from __future__ import annotations

import torch


def pick_device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where its matrix products are faster than fp32's (about twice on AVX512-BF16), else float32.

    Without such instructions torch emulates it: 0.8 instead of 135 GFLOP/s on two cores of AVX2 (Zen 3).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    known = torch.cpu.get_capabilities()
    return torch.bfloat16 if known.get("avx512_bf16") or known.get("bf16") else torch.float32  # x86, or ARM
