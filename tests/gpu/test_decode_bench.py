"""The bench of decode on a GPU: every engine in one cell, its memory counted, its kernels too, and the ceiling above all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from shapewright.decode.bench import Plan, cells_of, engines_of, run
from shapewright.decode.bench_read_kernel import read, read_reference
from shapewright.decode.bench_rows import read_checks, read_rows

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

CONFIG = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 1024,
    "vocab_size": 4096,
    "max_position_embeddings": 256,
}


def test_every_engine_has_its_row(tmp_path: Path) -> None:
    name, out = tmp_path / "config.json", tmp_path / "run.jsonl"
    name.write_text(json.dumps(CONFIG))
    cells = cells_of(batches=(1, 4), contexts=(100,), new_tokens=32, warmup_tokens=8)
    run(Plan(models=(str(name),), cells=cells, engines=engines_of(("all",), ()), out=out, dtype="fp32", repeats=2, counts_launches=True))

    rows = read_rows(out)
    assert [(row.status, row.error) for row in rows] == [("ok", None)] * 14
    for row in rows:
        if row.engine != "read":
            assert row.memory_peak_bytes is not None and row.memory_peak_bytes > row.weight_bytes + row.cache_bytes
            assert row.launches is not None and row.launches > 1
    checks = read_checks(out)
    assert {check.engine for check in checks} == {"hf-eager", "hf-static-compile", "gpt-fast", "ours-generate", "ours-loop"}
    assert all(check.num_equal_tokens == check.num_tokens for check in checks)
    assert all(check.max_relative_difference is None or check.max_relative_difference < 1e-4 for check in checks)


@pytest.mark.parametrize(("block", "tiles", "num_warps"), [(1024, 1, 4), (4096, 4, 8), (8192, 8, 4)])
def test_the_ceiling_reads_every_byte(block: int, tiles: int, num_warps: int) -> None:
    source = torch.randint(-(2**31), 2**31, (3 * block * tiles,), device="cuda").int()
    sums = torch.full((8,), -1, dtype=torch.int32, device="cuda")
    read(source, sums, block=block, tiles=tiles, num_warps=num_warps)
    assert torch.equal(sums, read_reference(source, 8, block=block, tiles=tiles))
