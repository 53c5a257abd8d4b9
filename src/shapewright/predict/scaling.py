"""Carries the constants of one GPU's kernels to another by their datasheets.

Shares of a peak or of a bandwidth stay as they are, and so do fixed times of a launch (seconds). What an SM does outside its main loop is
counted in clock cycles, so that its seconds scale with 1 / clock. Slowing by power scales with the FLOPs that a joule must pay for: peak /
power limit. Where its exponent is free, fits to all GPUs with rows put it between 0.66 and 0.80; on GPUs left out 1 does no worse.
"""

from __future__ import annotations

from dataclasses import replace

from ..hardware.gpu import Gpu
from ..hardware.profile import KernelMenu


def flops_per_joule(gpu: Gpu) -> float:
    """Dense 16-bit FLOPs that the datasheet promises for each joule of the power limit."""
    return gpu.flops_per_s[gpu.default_dtype] / gpu.tdp_w


def scaled_menu(menu: KernelMenu, reference: Gpu, gpu: Gpu) -> KernelMenu:
    """`menu`, stated for `reference`, as it is expected on `gpu`."""
    cycle = reference.clock_hz / gpu.clock_hz
    power = flops_per_joule(gpu) / flops_per_joule(reference)
    return replace(menu, prologue_s=menu.prologue_s * cycle, epilogue_s=menu.epilogue_s * cycle, droop=menu.droop * power)
