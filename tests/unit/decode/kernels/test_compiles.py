"""What decode steps launch compiles for every GPU that is supported, none of which is here: sm_80, sm_90, gfx90a, gfx942, gfx1100."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import shapewright

if importlib.util.find_spec("triton.backends") is None:
    pytest.skip("this Triton has no backends", allow_module_level=True)

PROGRAM = Path(__file__).parents[1] / "compiling.py"
# Bytes of shared memory that a block may have. sm_80's kin go down to sm_86 with 99 KB, and its tiles are theirs too.
SHARED_BYTES = {
    "cuda:80:32": 99 * 1024,
    "cuda:90:32": 227 * 1024,
    "hip:gfx90a:64": 64 * 1024,
    "hip:gfx942:64": 64 * 1024,
    "hip:gfx1100:32": 64 * 1024,
}
MATRIX = {
    "cuda:80:32": {"mma.sync"},
    "cuda:90:32": {"mma.sync", "wgmma.mma_async"},
    "hip:gfx90a:64": {"v_mfma"},
    "hip:gfx942:64": {"v_mfma"},
    "hip:gfx1100:32": {"v_wmma"},
}
KERNELS = {"embed_kernel", "norm_kernel", "gemv_kernel", "direct_kernel", "flat_kernel", "attention_kernel", "argmax_kernel"}


def run_program(*arguments: str, cache: Path) -> str:
    """Without the interpreter, and with a cache of its own: nothing compiled before is found again."""
    source = Path(shapewright.__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(cache), "PYTHONPATH": str(source)}
    answer = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer.stdout


def faults(target: str, row: dict[str, Any]) -> list[str]:
    """What is wrong with one compiled kernel."""
    if "error" in row:
        return [row["error"]]
    found, kernel, options = [], row["kernel"], row["options"]
    if row["shared_bytes"] > SHARED_BYTES[target]:
        found.append(f"{row['shared_bytes']} bytes of shared memory")
    on_matrix_units = kernel in ("direct_kernel", "flat_kernel") or options.get("QUERIES", 1) > 1
    if row["dtype"] != "fp32" and (on_matrix_units != bool(row["matrix"]) or not set(row["matrix"]) <= MATRIX[target]):
        found.append(f"matrix instructions {row['matrix']}")
    if (row["waits"] > 0) != (target == "cuda:90:32" and kernel != "embed_kernel"):
        found.append(f"{row['waits']} waits for the kernel before")
    # Groups on the matrix units do spill on the smallest wavefront: what they hold is the units' choice.
    if options.get("QUERIES") == 1 and row["spills"]:
        found.append(f"{row['spills']} registers spilled")
    if row["loads_16"] < least_wide_loads(row, int(target.split(":")[2])):
        found.append(f"{row['loads_16']} loads of 16 bytes")
    return found


def least_wide_loads(row: dict[str, Any], warp_size: int) -> int:
    """A gemv's weights whole, by 16 bytes a thread; some of what the others read, where a tile has 16 bytes for every thread.

    Along n, as a transposed weight lies, a gemv's tile may be thin.
    """
    options = row["options"]
    threads = warp_size * options.get("num_warps", 4)
    match row["kernel"]:
        case "gemv_kernel" if not options["TRANSPOSED"]:
            tile = max(1, options["BLOCK_N"] * options["BLOCK_K"] * 2 // (16 * threads))
            return tile * -(-options["K"] // options["BLOCK_K"]) * (2 if options["GATED"] else 1)
        case "direct_kernel":
            # A load a thread for every eight rows of 32 columns a warp, and all of k is written out.
            tiles = options["K"] // (32 * options["WARPS"])
            return tiles * (options["BLOCK_N"] // 8 + options["BLOCK_M"] // 8)
        case "flat_kernel" if options["BLOCK_N"] * options["BLOCK_K"] * 2 >= 16 * threads:
            return 1
        case "attention_kernel" if options["BLOCK_S"] * options["HEAD_DIM"] * 2 >= 16 * threads:
            return 1
    return 0


@pytest.mark.parametrize("target", SHARED_BYTES)
def test_every_kernel_compiles(target: str, tmp_path: Path) -> None:
    """Within the shared memory there is, on the matrix units where they are meant, with wide loads, and waiting only where one can wait."""
    backend = {"cuda": "nvidia", "hip": "amd"}[target.split(":")[0]]
    if importlib.util.find_spec(f"triton.backends.{backend}") is None:
        pytest.skip(f"this Triton was built without its {backend} backend")
    rows = json.loads(run_program(str(PROGRAM), target, cache=tmp_path))
    assert {row["kernel"] for row in rows} == (KERNELS if backend == "nvidia" else KERNELS - {"direct_kernel"})
    assert {row["dtype"] for row in rows} == {"bf16", "fp16", "fp32"}
    assert [(row["kernel"], row["model"], row["options"], each) for row in rows for each in faults(target, row)] == []


def test_every_table_belongs_to_a_target(tmp_path: Path) -> None:
    """A table whose GPU is not known here, or in which no tile is found, would go untested."""
    code = (
        f"import sys; sys.path.insert(0, {str(PROGRAM.parent)!r}); import compiling as c\n"
        "tables = {path.stem for path in c.TABLES.glob('*.json')}\n"
        "print(sorted(tables - c.TABLE_TARGETS.keys()), sorted(tables - {name for name, _ in c.table_tiles()}))"
    )
    assert run_program("-c", code, cache=tmp_path).split("\n")[0] == "[] []"


def test_a_fault_is_found() -> None:
    """The checks themselves: a kernel as it should be has none, and each thing that goes wrong is named."""
    options = {"TRANSPOSED": False, "GATED": True, "BLOCK_N": 2, "BLOCK_K": 1024, "K": 4096, "num_warps": 4}
    row = {
        "kernel": "gemv_kernel",
        "dtype": "bf16",
        "options": options,
        "shared_bytes": 32,
        "loads_16": 16,
        "matrix": [],
        "waits": 1,
        "spills": 0,
    }
    assert faults("cuda:90:32", row) == []
    attention = {"QUERIES": 1, "BLOCK_S": 8, "HEAD_DIM": 64, "num_warps": 4}
    attending = row | {"kernel": "attention_kernel", "options": attention, "waits": 0, "spills": 7}
    assert faults("hip:gfx1100:32", attending) == ["7 registers spilled"]
    assert faults("cuda:90:32", row | {"loads_16": 15}) == ["15 loads of 16 bytes"]
    assert faults("cuda:80:32", row) == ["1 waits for the kernel before"]
    assert faults("hip:gfx942:64", row | {"waits": 0, "loads_16": 16, "shared_bytes": 65537}) == ["65537 bytes of shared memory"]
    assert faults("cuda:90:32", row | {"matrix": ["mma.sync"]}) == ["matrix instructions ['mma.sync']"]
    assert faults("cuda:90:32", {"error": "refused"}) == ["refused"]
