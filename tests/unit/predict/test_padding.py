"""Products that a compiler pads, beside what `torch.compile` did with them on an H200."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shapewright.measure.store import read_run
from shapewright.operators.lower import lower
from shapewright.operators.types import Gemm
from shapewright.predict.explain import load_machine, runnable
from shapewright.predict.gemm import estimate_gemm, product_rates
from shapewright.predict.gemm_reasons import aligned_product
from shapewright.predict.padding import padded_product, shorter
from shapewright.read.resolve import load_shape
from shapewright.workload import Workload

RUN = Path(__file__).parents[3] / "benchmarks/h200/misalignment-compiled.jsonl.gz"
H200 = load_machine("h200")


def test_only_what_may_be_padded_is() -> None:
    assert padded_product(Gemm(m=8192, n=50257, k=2560), H200.gpu) is None
    assert padded_product(Gemm(m=8192, n=50304, k=2560, may_pad=True), H200.gpu) is None
    found = padded_product(Gemm(m=8192, n=50257, k=2560, may_pad=True), H200.gpu)
    assert found is not None
    aligned, copies = found
    assert (aligned.m, aligned.n, aligned.k) == (8192, 50264, 2560)
    assert (copies.read_bytes, copies.written_bytes, copies.num_kernels) == (2 * 2560 * 50257, 2 * 2560 * 50264, 1)


def test_both_operands_of_a_misaligned_inner_dimension_are_copied() -> None:
    found = padded_product(Gemm(m=8192, n=4096, k=10923, may_pad=True), H200.gpu)
    assert found is not None
    assert found[1].read_bytes == 2 * 10923 * (8192 + 4096) and found[1].num_kernels == 2


def test_the_parts_of_a_padded_product_add_up() -> None:
    plain = H200.estimate(Gemm(m=8192, n=10923, k=4096))
    padded = H200.estimate(Gemm(m=8192, n=10923, k=4096, may_pad=True))
    assert padded.time_s < 0.4 * plain.time_s
    assert sum(part.time_s for part in padded.parts) == pytest.approx(padded.time_s)
    assert "padded by the compiler" in padded.reasons[0]


def test_a_copy_that_costs_more_than_it_saves_is_not_made() -> None:
    """With 16 rows a copy of the weights moves twice what the product reads: Inductor does not try."""
    assert padded_product(Gemm(m=16, n=4097, k=4096, may_pad=True), H200.gpu) is None


def test_measured_products_of_compiled_code() -> None:
    times: dict[Gemm, dict[str, float]] = {}
    for row in read_run(RUN).rows:
        if row["status"] == "ok":
            gemm = Gemm(**{name: row[name] for name in ("batch", "m", "n", "k", "dtype", "layout")}, may_pad=True)
            times.setdefault(gemm, {})[row["runtime"]] = row["time_s"]
    ratios, choices = [], []
    for gemm, both in times.items():
        if len(both) < 2 or aligned_product(gemm, product_rates(H200.gpu, gemm.dtype)) == gemm:
            continue
        plain, padded = estimate_gemm(gemm, H200.gpu, H200.profile), padded_product(gemm, H200.gpu)
        best = plain if padded is None else shorter(plain, estimate_gemm(padded[0], H200.gpu, H200.profile), H200.estimate(padded[1]))
        ratios.append(both["compiled"] / best.time_s)
        choices.append((both["compiled"] < 0.9 * both["eager"]) == (best is not plain))
    assert len(ratios) == 84
    assert abs(np.median(ratios) - 1) < 0.03 and np.quantile(abs(np.array(ratios) - 1), 0.9) < 0.06
    assert np.mean(choices) > 0.97


def test_compiled_models_pad_and_eager_ones_do_not() -> None:
    shape = load_shape("gpt2")
    times = {}
    for runtime in ("graph", "compiled"):
        workload = runnable(shape, Workload(runtime=runtime), H200.gpu)  # type: ignore[arg-type]
        works = {operator.name: operator.work for operator in lower(shape, workload, "bf16")}
        times[runtime] = H200.estimate(works["logits"]).time_s
    assert times["compiled"] < 0.3 * times["graph"]
