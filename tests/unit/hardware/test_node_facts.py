"""The nodes that come with the package: complete, sourced, and equal to the paper's Table III where it is right."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace

import pytest

from shapewright.hardware import Node, default_node, gpu_names, load_gpu, load_node, node_names
from shapewright.hardware.load import NODE_FOLDER
from shapewright.hardware.node import ANY_GPU

REQUIRED = {
    "aws-p4d", "summit", "expanse", "dgx-a100", "dgx-a100-40gb", "dgx-h100", "dgx-h200", "dgx-b200", "frontier", "azure-nd-mi300x-v5",
    "mi355x-platform", "pcie3", "pcie4", "pcie5",
}  # fmt: skip


@pytest.fixture(params=sorted(REQUIRED))
def node(request: pytest.FixtureRequest) -> Node:
    return load_node(request.param)


def test_every_promised_node_is_there() -> None:
    assert set(node_names()) == REQUIRED


def test_every_number_has_a_source(node: Node) -> None:
    numbers = {f.name for f in fields(Node) if isinstance(getattr(node, f.name), int | float)}
    assert set(node.sources) == numbers
    for field, source in node.sources.items():
        assert len(source) > 25, (field, source)
        assert "user file" not in source and "default" not in source, (field, source)


def test_sources_are_declared_and_used(node: Node) -> None:
    raw = tomllib.loads((NODE_FOLDER / f"{node.name}.toml").read_text(encoding="utf-8"))
    written = [fact["source"] for fact in raw.values() if isinstance(fact, dict) and "source" in fact]
    assert {source.split(":")[0] for source in written if not source.startswith("estimated")} == set(raw["sources"])
    assert len(written) == len(node.sources)


def test_links_are_faster_than_the_network(node: Node) -> None:
    assert node.network_bytes_per_s < node.link_bytes_per_s < load_gpu("h100").memory_bytes_per_s
    assert node.link_latency_s < node.network_latency_s < 20e-6


def test_gpu_is_known(node: Node) -> None:
    assert node.gpu in {*gpu_names(), ANY_GPU}


def test_aliases_mean_one_node(node: Node) -> None:
    aliases = tomllib.loads((NODE_FOLDER / f"{node.name}.toml").read_text(encoding="utf-8"))["aliases"]
    assert [load_node(alias).name for alias in aliases] == [node.name] * len(aliases)


@pytest.mark.parametrize(
    ("name", "gpu", "gpus", "network_gbit_per_s"),
    [("aws-p4d", "a100-40gb", 8, 400), ("summit", "v100-16gb", 6, 200), ("expanse", "v100-32gb", 4, 200)],
)
def test_table_3_of_the_paper(name: str, gpu: str, gpus: int, network_gbit_per_s: float) -> None:
    """GPUs of a node and the rate of its network; network_bytes_per_s is one GPU's share."""
    node = load_node(name)
    assert (node.gpu, node.gpus_per_node) == (gpu, gpus)
    assert node.network_bytes_per_s * gpus * 8 == pytest.approx(network_gbit_per_s * 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "both_ways"),
    [
        ("aws-p4d", 600e9),
        ("dgx-a100", 600e9),
        ("dgx-h100", 900e9),
        ("dgx-h200", 900e9),
        ("dgx-b200", 1800e9),
        ("azure-nd-mi300x-v5", 896e9),
    ],
)
def test_link_rates_are_one_direction(name: str, both_ways: float) -> None:
    assert load_node(name).link_bytes_per_s == both_ways / 2


@pytest.mark.parametrize(("generation", "transfers_per_s"), [(3, 8e9), (4, 16e9), (5, 32e9)])
def test_pcie_rates_follow_from_lanes_and_encoding(generation: int, transfers_per_s: float) -> None:
    assert load_node(f"pcie{generation}").link_bytes_per_s == pytest.approx(16 * transfers_per_s * 128 / 130 / 8, rel=1e-3)


@pytest.mark.parametrize(
    ("gpu", "node"),
    [
        ("a100", "aws-p4d"), ("v100", "summit"), ("v100-32gb", "expanse"), ("a100-80gb", "dgx-a100"), ("h100", "dgx-h100"),
        ("h200", "dgx-h200"), ("b200", "dgx-b200"), ("mi250x", "frontier"), ("t4", "pcie3"), ("l4", "pcie4"), ("h100-pcie", "pcie5"),
    ],
)  # fmt: skip
def test_default_nodes(gpu: str, node: str) -> None:
    found = default_node(gpu)
    assert found is not None
    assert (found.name, found.gpu) == (node, load_gpu(gpu).name)


def test_a_gpu_may_have_no_default_node() -> None:
    assert default_node(replace(load_gpu("h100"), default_node="")) is None


def test_a_node_passes_through() -> None:
    node = load_node("dgx-h100")
    assert load_node(node) is node
