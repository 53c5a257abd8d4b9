"""Finding GPUs and nodes by name: spellings, aliases, the names that drivers report, and what is said to an unknown name."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapewright.errors import InputError
from shapewright.hardware import factfile, load_gpu, load_node
from shapewright.hardware import load as load_module


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("A100", "a100-40gb"),
        ("A100_40GB", "a100-40gb"),
        ("a100 80gb", "a100-80gb"),
        ("h100-sxm", "h100"),
        ("H100-SXM5", "h100"),
        ("rtx4090", "rtx-4090"),
        ("V100", "v100-16gb"),
        ("v100-pcie", "v100-pcie-16gb"),
        # as torch.cuda.get_device_name() spells them
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb-pcie"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
        ("Tesla T4", "t4"),
        ("AMD Instinct MI250X / MI250", "mi250x"),
        ("AMD Instinct MI300X", "mi300x"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert load_gpu(spelling).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mi250", "unknown GPU 'mi250'; did you mean mi250x or mi210"),
        ("h100-sxm6", "unknown GPU 'h100-sxm6'; did you mean h100"),
        ("a100-60gb", "unknown GPU 'a100-60gb'; did you mean a100-80gb or a100-40gb"),
        ("", "unknown GPU ''; 21 are known, for example a10, a100-40gb, a100-40gb-pcie"),
        (None, "GPU is None; expected the name of a GPU or the path of a TOML file"),
        (80, "GPU is 80; expected the name of a GPU or the path of a TOML file"),
        ("h100.toml", "h100.toml: no such file; give the path of a TOML file or a known name"),
        ("../gpus/h100", "../gpus/h100: no such file; give the path of a TOML file or a known name"),
    ],
)
def test_unknown_gpus(name: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_gpu(name)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


def test_unknown_node() -> None:
    with pytest.raises(InputError, match=r"unknown node 'dgx-h300'; did you mean dgx-h\d00"):
        load_node("dgx-h300")


def test_a_gpu_passes_through() -> None:
    gpu = load_gpu("h200")
    assert load_gpu(gpu) is gpu


def test_a_short_name_reads_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the other GPUs nor the nodes are parsed for one GPU."""
    read: list[Path] = []
    real = factfile.read_fact_file

    def counting(path: Path) -> factfile.FactFile:
        read.append(path)
        return real(path)

    monkeypatch.setattr(load_module, "read_fact_file", counting)
    load_gpu("h200")
    assert [path.name for path in read] == ["h200.toml"]
