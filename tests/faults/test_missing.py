"""What is missing is named, with exit code 3; and a bare machine needs numpy and torch alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from faults.sweeps import environment

PLAN = '[[points]]\nkind = "gemm"\nm = [8, 16]\nn = 8\nk = 8\ndtype = "fp32"\n'


def blocked(folder: Path, *names: str) -> str:
    """A folder for PYTHONPATH in which these packages fail to import."""
    for name in names:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n")
    return str(folder)


def measured(folder: Path, *flags: str, path: str = "", plan: str = PLAN, **changes: str) -> subprocess.CompletedProcess[str]:
    (folder / "plan.toml").write_text(plan)
    env = environment(SHAPEWRIGHT_RUNS=str(folder / "runs"), **changes)
    env["PYTHONPATH"] = ":".join(filter(None, [path, env["PYTHONPATH"]]))
    command = [sys.executable, "-m", "shapewright.measure", str(folder / "plan.toml"), *flags]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)


def test_no_gpu_is_exit_code_3_and_names_the_driver(tmp_path: Path) -> None:
    ended = measured(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert ended.returncode == 3 and ended.stdout == "" and "Traceback" not in ended.stderr
    assert "torch finds no GPU" in ended.stderr and "--device cpu" in ended.stderr


def test_no_torch_is_exit_code_3_and_names_the_extra(tmp_path: Path) -> None:
    ended = measured(tmp_path, "--device", "cpu", path=blocked(tmp_path, "torch"))
    assert ended.returncode == 3 and ended.stderr.strip().endswith("pip install 'shapewright[gpu]', or a torch build for your GPU")


@pytest.mark.parametrize(("flags", "plan", "said"), [
    (["--device", "tpu"], PLAN, "device is 'tpu'; known: cuda, cuda:N, cpu"),
    ([], PLAN.replace("n = 8", "n = -8"), "plan.toml: block 1: n is -8; expected"),
    (["--time-limit", "-1"], PLAN, "--time-limit is -1"),
    (["--out", "/dev/full"], PLAN, "/dev/full: is no regular file"),
])  # fmt: skip
def test_bad_input_is_exit_code_2_in_one_line(tmp_path: Path, flags: list[str], plan: str, said: str) -> None:
    ended = measured(tmp_path, *flags, plan=plan)
    assert ended.returncode == 2 and said in ended.stderr and len(ended.stderr.strip().splitlines()) == 1


def test_a_bare_machine_measures(tmp_path: Path) -> None:
    bare = blocked(tmp_path, "yaml", "cyclopts", "rich", "scipy", "pyarrow", "duckdb", "pynvml", "transformers")
    ended = measured(tmp_path, "--device", "cpu", path=bare)
    assert ended.returncode == 0, ended.stderr
    assert "ok            2" in ended.stdout and "points        2" in ended.stdout and "2/2 points" not in ended.stdout
    again = measured(tmp_path, "--device", "cpu", "--json", path=bare)
    summary = json.loads(again.stdout)
    assert (summary["num_skipped"], summary["num_measured"], summary["schema_version"]) == (2, 0, 1)
    assert summary["file"] == str(tmp_path / "runs/plan.jsonl") and summary["environment"]["gpu"] == "cpu"


def test_what_a_library_prints_does_not_reach_the_pipe(tmp_path: Path) -> None:
    """A torch that greets on stdout, from Python and from below it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'shapewright.measure.worker' in ' '.join(sys.orig_argv):\n"
        "    import atexit, os, threading\n"
        "    def chatter():\n"
        "        import time\n"
        "        for _ in range(200):\n"
        "            print('{\"row\": 1}', flush=True); os.write(1, b'hello'); time.sleep(0.005)\n"
        "    import shapewright.measure.worker as worker\n"
        "    before = worker.opened_worker\n"
        "    def opened(*given):\n"
        "        threading.Thread(target=chatter, daemon=True).start()\n"
        "        return before(*given)\n"
        "    worker.opened_worker = opened\n"
    )
    ended = measured(tmp_path, "--device", "cpu", "--json", path=str(tmp_path))
    assert ended.returncode == 0 and json.loads(ended.stdout)["counts"] == {"ok": 2}
