"""Profiles as files: complete, within what is physically possible, and refused when malformed."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import pytest

import shapewright
from shapewright.dtypes import DTYPES
from shapewright.errors import InputError
from shapewright.hardware import load_gpu
from shapewright.hardware.profile import Profile, profile_from_json
from shapewright.operators.types import CollectiveName, Pattern
from shapewright.predict.gemm import PLAIN

FOLDER = Path(shapewright.__file__).parent / "hardware" / "profiles"
#: Profiles with rows of their own; the generic ones serve GPUs without any.
FILES = sorted(path for path in FOLDER.glob("*.json") if not path.stem.endswith(".generic"))
GENERIC = sorted(FOLDER.glob("*.generic.json"))
CLASSES = {"aligned_nt", "aligned_nn_tn", "batched", "half", "odd"}
MISALIGNED = {"half", "odd"}


def document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=FILES, ids=[path.stem for path in FILES])
def profile(request: pytest.FixtureRequest) -> Profile:
    found = profile_from_json(document(request.param))
    assert f"{found.gpu}.{found.library}" == request.param.stem
    return found


def test_eight_gpus_were_fitted() -> None:
    assert [path.stem for path in FILES] == [
        "a100-40gb.cuda11.7", "a100-80gb.cuda13", "h100.cuda13", "h200.cuda13", "mi210.rocm6", "mi250x.rocm5.6", "mi300x.rocm6",
        "v100-16gb.cuda11.3",
    ]  # fmt: skip


def test_generic_profiles_claim_no_row() -> None:
    assert [path.stem for path in GENERIC] == ["a100-80gb.generic", "h100.generic", "mi250x.generic"]
    for path in GENERIC:
        found = profile_from_json(document(path))
        assert f"{found.gpu}.{found.library}" == path.stem and load_gpu(found.gpu)
        assert found.provenance == "datasheet" and set(found.menus) == CLASSES
        assert all(menu.num_rows == 0 and menu.origin for menu in found.menus.values())


def test_a_profile_names_its_origin(profile: Profile) -> None:
    gpu = load_gpu(profile.gpu)
    assert profile.provenance == "calibrated" and profile.inherited_from is None
    assert profile.library in gpu.libraries
    assert profile.sources and all(source.strip() for source in profile.sources)
    assert set(profile.fitted_dtypes) <= set(gpu.flops_per_s) <= set(DTYPES)


def test_menus_are_complete(profile: Profile) -> None:
    assert set(profile.menus) - {PLAIN} == CLASSES
    for name, menu in profile.menus.items():
        assert (menu.num_rows == 0) == (menu.origin != "") or name in ("aligned_nt", "aligned_nn_tn")
        assert menu.num_rows == profile.accuracy.get(name, {}).get("rows_fitted", menu.num_rows)
        assert set(menu.groups) == set() or name in MISALIGNED
        assert len(menu.spreads) == 4


def test_constants_are_physical(profile: Profile) -> None:
    for menu in profile.menus.values():
        assert menu.candidates and len(set(menu.candidates)) == len(menu.candidates)
        for candidate in menu.candidates:
            assert 0 < candidate.efficiency <= 1
            assert candidate.tile_m > 0 and candidate.tile_n > 0 and candidate.fill in (0, 1, 2)
        assert any(candidate.fill == 0 for candidate in menu.candidates)
        assert 0 < menu.bandwidth_share <= 1 and 0 < menu.softness <= 1 and menu.sharpness >= 1 and menu.feed > 0
        # Plain cores were fitted to six products: what they do not show is 0.
        is_plain = menu is profile.menus.get(PLAIN)
        for seconds in (menu.launch_s, menu.epilogue_s, menu.split_s, *(() if is_plain else (menu.prologue_s,))):
            assert 0 < seconds < 1e-4
        assert menu.split_share > 0 and (menu.droop > 0 or is_plain) and menu.grain in ((8,) if is_plain else (16, 64))
        assert all(0.1 < factor < 10 for factor in menu.groups.values())
        # A class carried over from other GPUs, or fitted to a few dozen rows, may be off by factors.
        most = 2 if menu.num_rows > 100 else 5
        assert all(0 < spread.low < 1 < spread.high < most for spread in menu.spreads)


@pytest.mark.parametrize("name", ["h100.cuda13", "h200.cuda13"])
def test_misaligned_kernels_of_hopper_are_slower_kernels(name: str) -> None:
    """0.2 and 0.4 of the peak at most (measured: 98 to 127 and 231 to 286 of 989 TFLOP/s).

    The factor of each pattern of linear products is included; of batched ones some are rare.
    """
    menus = profile_from_json(document(FOLDER / f"{name}.json")).menus

    def best(class_name: str) -> float:
        factors = [factor for pattern, factor in menus[class_name].groups.items() if "b:" not in pattern]
        return max(candidate.efficiency for candidate in menus[class_name].candidates) * max(factors, default=1.0)

    assert best("odd") < 0.2 and best("odd") < best("half") < 0.4 < 0.5 * best("aligned_nt")


def test_other_rates_are_physical(profile: Profile) -> None:
    assert set(profile.memory) == set(get_args(Pattern))
    for rate in profile.memory.values():
        assert 0 < rate.bandwidth_share <= 1 and rate.bytes_per_clock > 0 and 0 < rate.fixed_s < 1e-4
    sizes = [head.head_dim for head in profile.attention.heads]
    assert sizes == sorted(set(sizes))
    for head in profile.attention.heads:
        assert 0 < head.backward_efficiency <= head.forward_efficiency <= 1
    attention = profile.attention
    for kernel in attention.kernels:
        assert 0 < kernel.efficiency < 1 and 0 < kernel.bandwidth_share <= 1 and 0 <= kernel.framework_s <= kernel.fixed_s < 1e-4
        assert kernel.num_rows > 0 or kernel.origin
        assert all(spread.low < 1 < spread.high for spread in kernel.spreads)
    assert {"prefill", "decode"} <= {kernel.use for kernel in attention.kernels}
    assert attention.dropout_forward >= 1 and attention.dropout_backward >= 1
    assert 0 < attention.bandwidth_share <= 1 and 0 < attention.fixed_s < 1e-4 and attention.tile_q > 0
    assert profile.collectives.source and {"link", "pcie", "network"} <= set(profile.collectives.protocols)
    for place in ("link", "pcie", "network"):
        collectives = profile.collectives.protocols[place]
        assert set(get_args(CollectiveName)) <= set(collectives)
        for protocols in collectives.values():
            limits = [protocol.up_to_bytes or 0.0 for protocol in protocols[:-1]]
            assert protocols[-1].up_to_bytes is None and limits == sorted(limits)
            for protocol in protocols:
                assert 0 < protocol.base_s < 1e-3 and 0 < protocol.hop_s < 1e-4 and 0 < protocol.link_share <= 1 and protocol.passes >= 0
    assert 1e-6 < profile.launch_host_s < 1e-4
    assert profile.power.slope >= 0 and 0 <= profile.power.threshold <= 1


def test_intervals_are_given_for_every_kind_of_work(profile: Profile) -> None:
    assert set(profile.spreads) == {"memory", "attention", "collective", "datasheet", "host"}
    for spread in profile.spreads.values():
        assert 0 < spread.low < 1 < spread.high
    # What nothing was measured for is less certain than what was.
    wide, own = profile.spreads["datasheet"], profile.menus["aligned_nt"].spreads
    assert wide.low <= min(each.low for each in own) and wide.high >= max(each.high for each in own)


def test_accuracy_is_reported_for_every_fitted_class(profile: Profile) -> None:
    fitted = {name for name, menu in profile.menus.items() if menu.num_rows and name != PLAIN}  # all six of its rows are fitted
    pooled = {"aligned_nt", "aligned_nn_tn"} & fitted
    assert set(profile.accuracy) | pooled == fitted
    for errors in profile.accuracy.values():
        # The MI300X has 36 rows of 16-bit products, by many kernels.
        least, most = (5, 35) if profile.gpu == "mi300x" else (10, 15)
        assert errors["rows_fitted"] >= 20 and errors["rows_held_out"] >= least
        assert 0 < errors["median_percent"] <= errors["p90_percent"] and 0 < errors["mape_percent"] < most


def without(*keys: str):
    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return change


def with_value(value: object, *keys: str):
    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value(2, "schema_version"), "profile has schema_version 2; this version reads 1"),
        (without("schema_version"), "profile has schema_version None; this version reads 1"),
        (without("menus"), "profile has no menus"),
        (without("collectives"), "profile has no collectives"),
        (without("attention"), "profile has no attention"),
        (without("launch_host_s"), "profile has no launch_host_s"),
        (without("menus", "odd", "candidates"), "profile has no candidates"),
        (without("menus", "odd", "feed"), "profile is malformed"),
        (with_value(3.0, "menus", "odd", "fede"), "profile is malformed"),
        (with_value([[128, 128]], "menus", "odd", "candidates"), "profile is malformed"),
        (with_value({"low": 0.5}, "spreads", "memory"), "profile is malformed"),
        (with_value([], "menus"), "profile is malformed"),
        (with_value(7, "power"), "profile is malformed"),
        (with_value([[64, 0.4]], "attention", "heads"), "profile is malformed"),
    ],
)
def test_a_malformed_profile_is_refused_in_one_line(change, message: str) -> None:
    data = deepcopy(document(FOLDER / "h200.cuda13.json"))
    change(data)
    with pytest.raises(InputError) as error:
        profile_from_json(data)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize("data", [[], "text", None, 3])
def test_what_is_no_profile_at_all_is_refused(data: object) -> None:
    with pytest.raises(InputError, match="profile has schema_version None"):
        profile_from_json(data)  # type: ignore[arg-type]
