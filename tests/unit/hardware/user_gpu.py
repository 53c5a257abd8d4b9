"""A GPU as a user writes it down: plain numbers, no library, no node, no sources."""

GPU = """\
name = "my-gpu"
vendor = "nvidia"
architecture = "hopper"
num_sms = 78
clock_hz = 1.98e9
memory_bytes = 96e9
memory_bytes_per_s = 4.0e12
l2_bytes = 62_914_560
shared_memory_bytes = 233_472
tdp_w = 400
vector_flops_per_s = 44e12

[flops_per_s]
bf16 = 148e12
fp32 = 44e12
"""
