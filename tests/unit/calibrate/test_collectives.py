"""The fit of collectives finds the constants that made the rows; published rows are placed and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shapewright.calibrate.collectives import CollectiveRows, fit_protocols, is_held_out, predicted_s, size_spreads
from shapewright.calibrate.sets.collectives import CUBE_MESH_RINGS, link_rate, load, place_of
from shapewright.hardware.profile import COLLECTIVE_EDGES_BYTES, Protocol

DATA = Path(__file__).parents[4] / "shared/data"
TRUTH = (
    Protocol(name="LL", up_to_bytes=24576.0, base_s=6e-6, hop_s=0.8e-6, link_share=0.05, passes=0.0),
    Protocol(name="LL128", up_to_bytes=3145728.0, base_s=8e-6, hop_s=0.8e-6, link_share=0.3, passes=0.0),
    Protocol(name="Simple", up_to_bytes=None, base_s=3e-5, hop_s=3e-6, link_share=0.95, passes=2.5),
)


def rows(sizes: tuple[int, ...], seed: int = 0) -> CollectiveRows:
    """All-reduces timed by the truth with 1 % of noise."""
    message = np.tile(2.0 ** np.arange(9, 31), len(sizes))
    group = np.repeat(np.array(sizes, float), 22)
    rate, ones = np.full(len(group), 3e11), np.ones(len(group))
    made = CollectiveRows(collective="all_reduce", group_size=group, message_bytes=message, time_s=ones, rate=rate, memory=2e12)
    noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal(len(group)))
    return replace(made, time_s=predicted_s(TRUTH, made) * noise)


def test_the_fit_recovers_what_made_the_rows() -> None:
    found = fit_protocols(rows((2, 4)))
    assert [each.up_to_bytes for each in found] == [each.up_to_bytes for each in TRUTH]
    assert [each.base_s for each in found] == pytest.approx([each.base_s for each in TRUTH], rel=0.15)
    assert found[0].hop_s == pytest.approx(0.8e-6, rel=0.2) and found[1].link_share == pytest.approx(0.3, rel=0.1)


def test_it_holds_for_a_group_that_was_not_fitted() -> None:
    unseen = rows((8,), seed=1)
    error = np.abs(predicted_s(fit_protocols(rows((2, 4))), unseen) / unseen.time_s - 1)
    assert error.mean() < 0.05


def test_neighbours_in_size_stay_on_one_side_of_the_split() -> None:
    message = np.array([1100.0, 1500.0, 2000.0])
    assert len(set(is_held_out("all_reduce", np.full(3, 4.0), message))) == 1
    many = is_held_out("all_reduce", np.repeat(np.arange(2.0, 66.0), 20), np.tile(2.0 ** np.arange(9, 29), 64))
    assert 0.25 < many.mean() < 0.35


def test_spreads_are_percentiles_by_size() -> None:
    message = np.repeat([1e3, 1e6, 1e8], 100)
    ratio = np.concatenate([np.linspace(0.5, 1.5, 100), np.linspace(0.9, 1.1, 100), np.linspace(0.99, 1.03, 100)])
    spreads = size_spreads(ratio, message)
    assert len(spreads) == len(COLLECTIVE_EDGES_BYTES) + 1
    assert (spreads[0].low, spreads[0].high) == (0.6, 1.4) and spreads[1].high == pytest.approx(1.08)
    assert spreads[2].low == 0.99


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (("aiconfigurator", "nccl-tests out-of-place", "single node", 4), "link"),
        (("aiconfigurator", "vLLM_custom_graph", "single node", 4), "link"),
        (("aiconfigurator", "TRTLLM", "single node", 4), "trtllm"),
        (("aiconfigurator", "vLLM_custom_eager", "single node", 4), "custom_eager"),
        (("vidur", "kineto", "a100_dgx; devices/node 4", 4), "vidur"),
        (("vidur", "kineto", "a100_dgx; devices/node 4", 8), "vidur_dgx_network_4"),
        (("vidur", "kineto", "h100_pairwise_nvlink; devices/node 4", 4), "vidur_pcie"),
        (("vidur", "kineto", "h100_pairwise_nvlink; devices/node 2", 2), "vidur_bridge"),
        (("vtrain", "in-place column", "single node NVLink (node type not stated)", 3), "vtrain"),
    ],
)
def test_rows_are_placed_by_how_they_were_measured(row: tuple[str, str, str, int], place: str) -> None:
    assert place_of(*row)[0] == place


def test_a_cube_mesh_offers_as_many_rings_as_it_has_cycles() -> None:
    sizes = np.array([2.0, 3.0, 4.0, 8.0])
    assert link_rate("v100-16gb", "summit", "vtrain", sizes) == pytest.approx([25e9, 50e9, 100e9, 150e9])
    assert set(CUBE_MESH_RINGS) == set(range(2, 9))


@pytest.mark.skipif(not DATA.is_dir(), reason="measured data is not beside the repository")
def test_published_rows_are_within_their_goal() -> None:
    sets = {each.name: each for each in load(DATA)}
    for name in ("collectives-link-a100-80gb", "collectives-link-h100", "collectives-vtrain-a100-80gb", "collectives-vtrain-v100-16gb"):
        own = sets[name]
        error = np.abs(own.predicted_s / own.measured_s - 1)[own.is_held_out]
        assert 100 * error.mean() < own.goal_percent and len(error) >= 20
        assert bool(np.all(own.limit_s < own.measured_s * 1.2))
