"""The start of a TOML file that describes the GPU at hand: what torch knows of it, and what its datasheet must add.

Names and units are those of `hardware/gpus/*.toml`. What torch does not tell stands as a comment: a number is never made up.
"""

from __future__ import annotations

from .devices import open_device

_ASK = """\
# From its datasheet (remove the # and fill in):
# architecture = "hopper"          # volta, turing, ampere, ada, hopper, blackwell, cdna2, cdna3, cdna4
# memory_bytes_per_s = 0.0         # bytes a second
# tdp_w = 0                        # W
# vector_flops_per_s = 0.0         # fp32 FLOP/s without tensor cores

# [flops_per_s]                    # dense peaks of the tensor cores, FLOP/s
# bf16 = 0.0
# fp16 = 0.0
# fp32 = 0.0
"""


def gpu_description(device: str = "cuda") -> str:
    """TOML text; without a GPU the error of `open_device`."""
    import torch

    found = open_device(device)
    lines = [f'name = "{found.gpu.lower().replace(" ", "-")}"', f'full_name = "{found.gpu}"']
    if found.is_gpu:
        properties = torch.cuda.get_device_properties(int(found.name.partition(":")[2]))
        lines += [f'vendor = "{"amd" if torch.version.hip else "nvidia"}"', f"num_sms = {properties.multi_processor_count}"]
        clock_khz, shared = getattr(properties, "clock_rate", 0), getattr(properties, "shared_memory_per_multiprocessor", 0)
        lines += [f"clock_hz = {clock_khz * 1000:.6g}" if clock_khz else "# clock_hz = 0.0   # boost clock, Hz"]
        lines += [f"shared_memory_bytes = {shared}" if shared else "# shared_memory_bytes = 0   # an SM"]
    lines += [f"memory_bytes = {found.memory_bytes}", f"l2_bytes = {found.l2_bytes}"]
    return "\n".join(lines) + "\n" + _ASK
