"""The GPUs that come with the package: complete, sourced, consistent with their architecture, and equal to the paper where it is right."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields

import pytest

from shapewright.dtypes import DTYPES
from shapewright.errors import InputError
from shapewright.hardware import Gpu, default_node, gpu_names, load_gpu, node_names
from shapewright.hardware.load import GPU_FOLDER

REQUIRED = {
    "v100-16gb", "v100-32gb", "v100-pcie-16gb", "v100-pcie-32gb", "a100-40gb", "a100-80gb", "a100-40gb-pcie", "a100-80gb-pcie",
    "h100", "h100-pcie", "h200", "b200", "l40s", "l4", "a10", "t4", "rtx-4090", "mi210", "mi250x", "mi300x", "mi355x",
}  # fmt: skip

# FLOP that one SM (compute unit) finishes per clock, dense, fp32 accumulation: from the architecture whitepapers, independent of the files.
HOPPER = {"fp16": 4096, "bf16": 4096, "tf32": 2048, "fp8": 8192, "fp32": 256}
ADA = {"fp16": 1024, "bf16": 1024, "tf32": 512, "fp8": 2048, "fp32": 256}
VOLTA = {"fp16": 1024, "fp32": 128}
GA100 = {"fp16": 2048, "bf16": 2048, "tf32": 1024, "fp32": 128}
CDNA2 = {"fp16": 1024, "bf16": 1024, "fp32": 256}
FLOPS_PER_CLOCK = {
    "v100-16gb": VOLTA, "v100-32gb": VOLTA, "v100-pcie-16gb": VOLTA, "v100-pcie-32gb": VOLTA, "t4": {"fp16": 1024, "fp32": 128},
    "a100-40gb": GA100, "a100-80gb": GA100, "a100-40gb-pcie": GA100, "a100-80gb-pcie": GA100,
    "a10": {"fp16": 1024, "bf16": 1024, "tf32": 512, "fp32": 256}, "l40s": ADA, "l4": ADA,
    "rtx-4090": {"fp16": 512, "bf16": 512, "tf32": 256, "fp8": 1024, "fp32": 256},
    "h100": HOPPER, "h100-pcie": HOPPER, "h200": HOPPER,
    "b200": {"fp16": 8192, "bf16": 8192, "tf32": 4096, "fp8": 16384, "fp32": 256},
    "mi210": CDNA2, "mi250x": CDNA2,
    "mi300x": {"fp16": 2048, "bf16": 2048, "tf32": 1024, "fp8": 4096, "fp32": 256},
    "mi355x": {"fp16": 4096, "bf16": 4096, "fp8": 8192, "fp32": 256},
}  # fmt: skip
# Plain cores of these boost higher than the clock of their tensor peaks.
FP32_CLOCK_HZ = {"h100": 1.98e9, "h200": 1.98e9, "h100-pcie": 1.755e9, "b200": 1.98e9}
# fp32 FLOP per clock of the plain cores where products run elsewhere (CDNA matrix cores).
VECTOR_PER_CLOCK = {"mi210": 128, "mi250x": 128}
# Bus width in bits and data rate per pin in bit/s, from the board specifications.
MEMORY_BUS = {
    "v100-16gb": (4096, 1.75e9), "a100-40gb": (5120, 2.43e9), "a100-80gb": (5120, 3.186e9), "a100-80gb-pcie": (5120, 3.024e9),
    "h100": (5120, 5.23e9), "l40s": (384, 18e9), "l4": (192, 12.5e9), "rtx-4090": (384, 21e9), "a10": (384, 12.5e9), "t4": (256, 10e9),
    "mi210": (4096, 3.2e9), "mi250x": (4096, 3.2e9), "mi300x": (8192, 5.2e9), "mi355x": (8192, 8e9),
}  # fmt: skip


@pytest.fixture(params=sorted(REQUIRED))
def gpu(request: pytest.FixtureRequest) -> Gpu:
    return load_gpu(request.param)


def test_every_promised_gpu_is_there() -> None:
    assert set(gpu_names()) == REQUIRED


def test_file_and_name_agree(gpu: Gpu) -> None:
    assert (GPU_FOLDER / f"{gpu.name}.toml").is_file()
    assert gpu.full_name.startswith("NVIDIA " if gpu.vendor == "nvidia" else "AMD ")


def test_every_number_has_a_source(gpu: Gpu) -> None:
    numbers = {f.name for f in fields(Gpu) if isinstance(getattr(gpu, f.name), int | float)}
    assert set(gpu.sources) == numbers | {f"flops_per_s.{dtype}" for dtype in gpu.flops_per_s}
    for field, source in gpu.sources.items():
        assert len(source) > 40, (field, source)
        assert "user file" not in source and "default" not in source, (field, source)


def test_sources_are_declared_and_used(gpu: Gpu) -> None:
    """A source names an entry of [sources] or says that it is an estimate, and no entry is idle."""
    raw = tomllib.loads((GPU_FOLDER / f"{gpu.name}.toml").read_text(encoding="utf-8"))
    written = [fact["source"] for fact in [*raw.values(), *raw["flops_per_s"].values()] if isinstance(fact, dict) and "source" in fact]
    keys = {source.split(":")[0] for source in written if not source.startswith("estimated")}
    assert keys == set(raw["sources"])
    assert len(written) == len(gpu.sources)


def test_peaks_follow_from_sms_and_clock(gpu: Gpu) -> None:
    """Dense peak = SMs x clock x FLOP per SM and clock, within 1.5 %, for every dtype; and no dtype is missing."""
    per_clock = FLOPS_PER_CLOCK[gpu.name]
    assert set(gpu.flops_per_s) == set(per_clock) <= set(DTYPES)
    for dtype, flops in per_clock.items():
        clock_hz = FP32_CLOCK_HZ.get(gpu.name, gpu.clock_hz) if dtype == "fp32" else gpu.clock_hz
        assert gpu.flops_per_s[dtype] == pytest.approx(gpu.num_sms * clock_hz * flops, rel=0.015), dtype


def test_plain_cores_follow_from_sms_and_clock(gpu: Gpu) -> None:
    flops = VECTOR_PER_CLOCK.get(gpu.name, FLOPS_PER_CLOCK[gpu.name]["fp32"])
    clock_hz = FP32_CLOCK_HZ.get(gpu.name, gpu.clock_hz)
    assert gpu.vector_flops_per_s == pytest.approx(gpu.num_sms * clock_hz * flops, rel=0.015)


def test_fp32_products_of_nvidia_run_on_plain_cores(gpu: Gpu) -> None:
    if gpu.vendor == "nvidia":
        assert gpu.flops_per_s["fp32"] == gpu.vector_flops_per_s
    else:
        assert gpu.flops_per_s["fp32"] >= gpu.vector_flops_per_s


@pytest.mark.parametrize("name", MEMORY_BUS)
def test_bandwidth_follows_from_the_memory_bus(name: str) -> None:
    bits, bits_per_s = MEMORY_BUS[name]
    assert load_gpu(name).memory_bytes_per_s == pytest.approx(bits * bits_per_s / 8, rel=0.025)


def test_default_library_and_node(gpu: Gpu) -> None:
    assert gpu.libraries and len(set(gpu.libraries)) == len(gpu.libraries)
    assert all(library.startswith("cuda" if gpu.vendor == "nvidia" else "rocm") for library in gpu.libraries)
    assert gpu.default_node in node_names()
    node = default_node(gpu)
    assert node is not None and node.gpu == gpu.name


def test_aliases_stand_on_one_line_and_mean_one_gpu(gpu: Gpu) -> None:
    text = (GPU_FOLDER / f"{gpu.name}.toml").read_text(encoding="utf-8")
    aliases = tomllib.loads(text)["aliases"]
    assert re.search(r"^aliases = \[.*\]$", text, flags=re.MULTILINE)
    assert [load_gpu(alias).name for alias in aliases] == [gpu.name] * len(aliases)


# ------------------------------------------------------------------------------------------------ the paper's numbers


@pytest.mark.parametrize(("name", "num_sms"), [("v100", 80), ("a100", 108), ("h100", 132), ("h200", 132), ("h100-pcie", 114)])
def test_sm_counts_of_the_paper(name: str, num_sms: int) -> None:
    """Section VI-B: 80 on V100, 108 on A100. Its 144 for H100 is the full die."""
    assert load_gpu(name).num_sms == num_sms


@pytest.mark.parametrize("name", ["h100", "h100-pcie"])
def test_the_papers_144_sms_are_explained(name: str) -> None:
    assert any("144" in note and "full GH100 die" in note for note in load_gpu(name).notes)


@pytest.mark.parametrize(("name", "tflops", "ridge"), [("a100-40gb", 312, 201), ("v100", 125, 139), ("h100", 989, 295), ("h200", 989, 206)])
def test_peaks_and_ridge_points(name: str, tflops: int, ridge: int) -> None:
    """fp16 peak in TFLOP/s, and FLOP per byte at which compute and memory take equally long."""
    gpu = load_gpu(name)
    assert int(gpu.flops_per_s["fp16"] / 1e12) == tflops
    assert round(gpu.flops_per_s["fp16"] / gpu.memory_bytes_per_s) == ridge


def test_paper_alignment_of_a100_is_noted() -> None:
    gpu = load_gpu("a100-40gb")
    assert gpu.alignment_bytes == 16
    assert any("128 bytes" in note for note in gpu.notes)


def test_short_names_mean_the_papers_parts() -> None:
    assert load_gpu("a100").name == "a100-40gb"
    assert load_gpu("v100").name == "v100-16gb"
    assert load_gpu("a100").libraries == ("cuda11.7", "cuda13")
    assert load_gpu("v100").libraries == ("cuda11.3",)
    assert load_gpu("mi250x").libraries == ("rocm5.6",)


def test_one_mi250x_is_half_the_card() -> None:
    gpu = load_gpu("mi250x")
    assert (gpu.num_sms, gpu.memory_bytes, gpu.tdp_w) == (110, 64 * 10**9, 280)
    assert 2 * gpu.flops_per_s["fp16"] == 383e12


def test_variants_differ_only_where_they_should() -> None:
    sxm40, sxm80, pcie80 = (load_gpu(name) for name in ("a100-40gb", "a100-80gb", "a100-80gb-pcie"))
    assert (sxm40.memory_bytes_per_s, sxm80.memory_bytes_per_s, pcie80.memory_bytes_per_s) == (1555e9, 2039e9, 1935e9)
    assert sxm40.flops_per_s == sxm80.flops_per_s == pcie80.flops_per_s
    assert load_gpu("v100-32gb").memory_bytes == 2 * load_gpu("v100-16gb").memory_bytes


def test_dtypes_that_a_gpu_lacks() -> None:
    assert load_gpu("v100").default_dtype == "fp16"
    assert load_gpu("h200").default_dtype == "bf16"
    with pytest.raises(InputError, match=r"a100-40gb has no fp8 products; it has bf16, fp16, fp32, tf32"):
        load_gpu("a100").peak_flops_per_s("fp8")


def test_a_gpu_cannot_be_changed() -> None:
    gpu = load_gpu("h200")
    with pytest.raises(TypeError):
        gpu.flops_per_s["fp16"] = 1.0  # type: ignore[index]
    assert hash(gpu) == hash(load_gpu("h200"))
