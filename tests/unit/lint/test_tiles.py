"""Tiles and waves of products, by hand, and which dimensions stand behind them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shapewright.lint.case import Case
from shapewright.lint.rules import sw601_partial_tiles, sw602_partial_last_wave
from shapewright.lint.tiles import (
    TiledProduct,
    batch_changes,
    best_values,
    dearest_products,
    multiples,
    output_fields,
    tiled,
    width_changes,
)
from shapewright.operators.types import Gemm, Operator
from shapewright.predict.explain import load_machine, runnable
from shapewright.predict.gemm import predict_gemm
from shapewright.read.resolve import load
from shapewright.workload import Workload


def case_of(model: str, gpu: str, *, given: tuple[str, ...] = (), overrides: dict[str, int] | None = None, **workload: object) -> Case:
    loaded, machine = load(model, overrides=overrides or {}), load_machine(gpu)
    asked = runnable(loaded.shape, Workload(**workload), machine.gpu)  # type: ignore[arg-type]
    return Case(loaded=loaded, workload=asked, machine=machine, given=frozenset(given))


def product(*, tiles: int, sms: int = 132, softness: float = 0.0, m: int = 128, n: int = 128, tile: int = 128) -> TiledProduct:
    work = Gemm(m=m, n=n, k=64)
    return TiledProduct(
        operator=Operator(name="mlp_up", kind="gemm", layer="full+dense", part="forward", work=work), work=work, tile_m=tile, tile_n=tile,
        num_tiles=tiles, num_splits=1, num_sms=sms, softness=softness, is_compute_bound=True,
    )  # fmt: skip


def test_one_tile_too_many_takes_a_second_wave() -> None:
    full, over = product(tiles=132), product(tiles=133)
    assert (full.waves, full.idle, full.last_wave) == (1, 0, 1)
    assert over.idle == pytest.approx(131 / 264)
    assert over.last_wave == pytest.approx(1 / 132)


def test_a_soft_last_wave_is_paid_in_part() -> None:
    # 1.5 waves, of whose empty half 0.8 is not paid: 2 - 0.8 x 0.5 = 1.6 waves paid.
    assert product(tiles=198, softness=0.8).idle == pytest.approx(1 - 1.5 / 1.6)


def test_area_of_partial_tiles() -> None:
    assert product(tiles=18, m=256, n=1088).used == pytest.approx(8.5 / 9)


@pytest.mark.parametrize("gpu", ["h200", "v100-16gb", "mi250x"])
def test_tiles_are_those_of_the_explanation(gpu: str) -> None:
    case = case_of("gpt2-xl", gpu, overrides={"vocab_size": 50304})
    for found in dearest_products(case):
        estimate = case.machine.estimate(found.work)
        assert f"tile {found.tile_m} x {found.tile_n}, {found.used:.0%} used" in estimate.reasons


def test_the_dearest_products_come_first_and_misaligned_ones_are_left_out() -> None:
    case = case_of("gpt2", "h200")  # 50257 tokens
    found = dearest_products(case)
    assert 0 < len(found) <= 4
    assert all(not each.operator.name.startswith("logits") for each in found)
    counts = {work: sum(each.count for each in case.operators if each.work == work) for work in {each.work for each in found}}
    times = [case.machine.estimate(each.work).time_s * counts[each.work] for each in found]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mlp_up", ("intermediate_size", "micro_batch")),
        ("mlp_down", ("hidden_size", "micro_batch")),
        ("mlp_up_wgrad", ("hidden_size", "intermediate_size")),
        ("logits", ("vocab_size", "micro_batch")),
        ("query", ("hidden_size", "micro_batch")),
        ("key", ("micro_batch",)),  # 8 heads of 128: no width of the model
    ],
)
def test_the_fields_behind_an_output(name: str, fields: tuple[str, ...]) -> None:
    case = case_of("llama-3-8b", "h200")
    operator = next(each for each in case.operators if each.name == name)
    assert isinstance(operator.work, Gemm)
    assert set(output_fields(case, tiled(operator, operator.work, case.machine))) == set(fields)


def test_multiples_nearby() -> None:
    assert multiples(1000, 64) == (960, 1024)
    assert multiples(2048, 64) == (1984, 2112)
    assert multiples(1024, 64) == (), "64 is more than 6 % of it"
    assert multiples(50257, 64, is_padding=True)[0] == 50304


def test_offered_widths_are_quicker_by_the_predictor_itself() -> None:
    case = case_of("gpt2-xl", "v100-16gb")
    offered = best_values(case, "intermediate_size", multiples(6400, 64))
    assert offered

    def seconds_a_flop(width: int) -> float:
        sizes = {"NN": (8192, width, 1600), "NT": (8192, 1600, width), "TN": (1600, width, 8192)}
        up = [("NN", sizes["NN"]), ("NT", sizes["NT"]), ("TN", sizes["TN"])]
        down = [("NN", (8192, 1600, width)), ("NT", (8192, width, 1600)), ("TN", (width, 1600, 8192))]
        return sum(
            float(predict_gemm("v100-16gb", m=m, n=n, k=k, layout=layout, dtype="fp16").time_s[0]) for layout, (m, n, k) in (*up, *down)
        ) / width  # fmt: skip

    assert all(seconds_a_flop(width) <= 0.98 * seconds_a_flop(6400) for width in offered)


def test_widths_over_several_gpus_stay_whole_multiples_each() -> None:
    case = case_of("llama-2-7b", "v100-16gb", tensor_parallel=4)
    for field in ("intermediate_size", "vocab_size", "hidden_size"):
        for change in width_changes(case, field):
            assert all(int(value) % 256 == 0 for name, value in change.model if name == field and isinstance(value, int))
            assert change.compare == ("as_is" if field == "vocab_size" else "equal_work")


def test_hidden_size_stays_where_heads_or_layers_have_a_fault_of_their_own() -> None:
    assert width_changes(case_of("gpt2-xl", "h200"), "hidden_size")
    assert not width_changes(case_of("gpt2-xl", "h200", tensor_parallel=6), "hidden_size"), "25 heads over 6 GPUs"
    assert not width_changes(case_of("gpt2-xl", "h200", overrides={"intermediate_size": 6399}), "hidden_size")


def test_a_micro_batch_is_offered_where_one_was_chosen_and_the_waves_come_out() -> None:
    chosen = case_of("pythia-1b", "v100-16gb", given=("micro_batch",), phase="forward")
    down = next(each for each in chosen.operators if each.name == "mlp_down")
    assert isinstance(down.work, Gemm)
    found = tiled(down, down.work, chosen.machine)
    assert found.waves == pytest.approx(6.4)
    is_faulty = sw602_partial_last_wave._is_faulty
    offered = batch_changes(chosen, found, is_faulty)
    assert (("micro_batch", 5),) in [change.workload for change in offered], "10240 tokens fill 8 waves"
    assert batch_changes(replace(chosen, given=frozenset()), found, is_faulty) == ()
    pipeline = case_of("pythia-1b", "v100-16gb", given=("micro_batch",), pipeline_parallel=2)
    assert batch_changes(pipeline, found, is_faulty) == ()
    assert batch_changes(chosen, replace(found, is_compute_bound=False), is_faulty) == ()


def test_in_training_both_sides_take_one_global_batch_and_a_larger_micro_batch_must_fit() -> None:
    small = case_of("pythia-1b", "v100-16gb", given=("micro_batch",))  # 16 GB hold neither 4 nor 5 sequences
    down = next(each for each in small.operators if each.name == "mlp_down")
    assert isinstance(down.work, Gemm)
    changes = batch_changes(small, tiled(down, down.work, small.machine), sw602_partial_last_wave._is_faulty)
    (change,) = changes
    assert change.workload == (("micro_batch", 3), ("global_batch", 12))
    assert change.against == (("global_batch", 12),)


def test_rules_ask_for_a_fault_of_some_size() -> None:
    assert not list(sw602_partial_last_wave.check(case_of("llama-2-7b", "h200")))
    assert not sw601_partial_tiles._is_faulty(product(tiles=1))
    assert not sw602_partial_last_wave._is_faulty(product(tiles=60)), "less than one wave is another fault"
    assert sw602_partial_last_wave._is_faulty(product(tiles=133))
