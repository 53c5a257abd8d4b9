"""What `explain` says beside the numbers: notes, provenance, and one line for what cannot run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import shapewright as sw
from shapewright.predict.profiles import FOLDER
from unit.hardware.user_gpu import GPU

LONE_GPU = GPU.replace('"my-gpu"', '"lone"').replace("fp32 = 44e12", "fp16 = 148e12")


@pytest.fixture
def lone(tmp_path: Path) -> Path:
    """A user's GPU that names no library and no node."""
    path = tmp_path / "lone.toml"
    path.write_text(LONE_GPU, encoding="utf-8")
    return path


def notes(model: str, gpu: str, **changes: object) -> str:
    return "; ".join(sw.explain(model, gpu, **changes).notes)


def test_nothing_to_note() -> None:
    assert sw.explain("gpt3-2.7b", "h200").notes == ()


def test_a_model_that_does_not_fit_is_a_note() -> None:
    answer = sw.explain("llama-2-7b", "a100-40gb")
    need = answer.memory.total / 1e9
    assert need > 40
    assert answer.notes == (f"does not fit: needs {need:.1f} GB a GPU, a100-40gb has 40 GB (--fit finds the largest micro-batch)",)
    assert "does not fit" not in notes("llama-2-7b", "a100-40gb", phase="decode", micro_batch=1)


def test_what_fits_to_the_byte_fits() -> None:
    total = math.ceil(sw.explain("gpt2", "h200", sequence=1024).memory.total)
    fitting, too_small = (replace(sw.load_gpu("h200"), memory_bytes=size) for size in (total, total - 1))
    assert sw.explain("gpt2", fitting, sequence=1024).notes == ()
    assert sw.explain("gpt2", too_small, sequence=1024).notes[0].startswith("does not fit")


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"sequence": 1024}, None),
        ({"sequence": 1025}, 1025),
        ({"phase": "decode", "context": 1023}, None),
        ({"phase": "decode", "context": 1024}, 1025),
    ],
)
def test_a_sequence_beyond_the_positions_is_a_note(changes: dict[str, object], tokens: int | None) -> None:
    """GPT-2 has 1024 positions; in decode the new token needs one too."""
    expected = f"{tokens} tokens exceed the model's 1024 positions"
    assert (expected in notes("gpt2", "h200", **changes)) == (tokens is not None)
    assert ("exceed" in notes("gpt2", "h200", **changes)) == (tokens is not None)


def test_a_gpu_without_measurements_is_a_note_and_a_datasheet_estimate() -> None:
    answer = sw.explain("llama-2-7b", "l40s", phase="forward")
    assert answer.provenance == "datasheet"
    assert "no measurement of l40s: constants of a100-80gb.generic scaled by the datasheet, wide intervals" in answer.notes
    measured = sw.explain("llama-2-7b", "h200", phase="forward")
    assert measured.provenance == "calibrated" and measured.notes == ()
    assert answer.step.high_s / answer.step.low_s > 1.15 * measured.step.high_s / measured.step.low_s


def test_several_gpus_name_their_links() -> None:
    assert "links of NVIDIA DGX H200 are assumed" in notes("gpt3-2.7b", "h200", data_parallel=2)
    asked = sw.explain("gpt3-2.7b", "h200", data_parallel=2, node="pcie4")
    assert asked.step.time_s > sw.explain("gpt3-2.7b", "h200", data_parallel=2).step.time_s
    assert "links" not in notes("gpt3-2.7b", "h200")


def test_attention_that_no_fused_kernel_takes_is_a_note() -> None:
    """Falcon-7B's one key head; a fused kernel would make the layer several times quicker."""
    plain, fused = (sw.explain(sw.load_shape("falcon-7b", **changes), "h200", phase="forward") for changes in ({}, {"has_fused_gqa": True}))
    assert plain.notes == (
        "one key head for 71 query heads reaches SDPA without enable_gqa: no fused kernel takes it, torch's math kernels run in fp32; "
        "repeat the key heads to avoid it (--has-fused-gqa shows what that saves)",
    )
    assert fused.notes == ()
    assert plain.layer.forward.time_s > 4 * fused.layer.forward.time_s


def test_heads_that_do_not_divide_are_a_note() -> None:
    assert "12 heads do not divide by tensor_parallel 5" in notes("gpt2", "h200", tensor_parallel=5)
    assert "divide" not in notes("gpt2", "h200", tensor_parallel=4)


def test_the_dtype_is_the_gpus_own_unless_asked() -> None:
    assert sw.explain("gpt2", "h200").workload.dtype == "bf16"
    assert sw.explain("gpt2", "v100").workload.dtype == "fp16"
    assert sw.explain("gpt2", "h200", dtype="float16").workload.dtype == "fp16"
    assert sw.explain("gpt2", "h200", dtype="fp8").step.time_s < sw.explain("gpt2", "h200").step.time_s


def test_the_library_changes_the_numbers() -> None:
    paper = {"phase": "forward", "attention": "unfused", "dtype": "fp16"}
    shape = sw.override(sw.load_shape("gpt3-2.7b"), vocab_size=50304)[0]  # no misaligned product that wide was measured on an A100
    old, new = (sw.explain(shape, "a100-40gb", library=library, **paper) for library in ("cuda11.7", "cuda13"))
    assert old.step.time_s == sw.explain(shape, "a100-40gb", **paper).step.time_s != new.step.time_s
    assert (old.provenance, new.provenance) == ("calibrated", "datasheet")


@pytest.mark.parametrize(
    ("model", "gpu", "changes", "message"),
    [
        ("gpt2", "v100", {"dtype": "bf16"}, "v100-16gb has no bf16 products; it has fp16, fp32"),
        ("gpt2", "a100-40gb", {"dtype": "fp8"}, "a100-40gb has no fp8 products"),
        ("gpt2", "h200", {"library": "cuda14"}, "unknown library for h200 'cuda14'; did you mean cuda13"),
        ("gpt2", "h200", {"node": "dgx-h20"}, "unknown node 'dgx-h20'; did you mean dgx-h200"),
        ("gpt2", "h200", {"tensor_parallel": 13}, "tensor_parallel 13 exceeds the model's 12 attention heads; use at most 12"),
        ("gpt2", "h200", {"pipeline_parallel": 13}, "pipeline_parallel 13 exceeds the model's 12 layers"),
        ("gpt2", "h200", {"expert_parallel": 2, "data_parallel": 2}, "expert_parallel 2 exceeds the model's 1 MLP (it has no experts)"),
        ("bert-base-uncased", "h200", {"phase": "decode"}, "is an encoder: it has no decode phase; use --phase forward or prefill"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(model: str, gpu: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(sw.InputError) as error:
        sw.explain(model, gpu, **changes)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_users_gpu_runs_on_the_profile_of_its_architecture(lone: Path) -> None:
    answer = sw.explain("gpt3-2.7b", str(lone))
    assert answer.provenance == "datasheet"
    assert answer.notes == ("no measurement of lone: constants of h100.generic scaled by the datasheet, wide intervals",)
    # 148 against 989.4 TFLOP/s and 4.0 against 3.35 TB/s.
    faster = sw.explain("gpt3-2.7b", "h100")
    assert 2 < answer.step.time_s / faster.step.time_s < 989.4 / 148


def test_a_users_gpu_without_a_node_stays_alone(lone: Path) -> None:
    with pytest.raises(sw.InputError, match="several GPUs need a node; name one with --node"):
        sw.explain("gpt2", str(lone), tensor_parallel=2)
    assert sw.explain("gpt2", str(lone), tensor_parallel=2, node="dgx-h100").step.time_s > 0
    with pytest.raises(sw.InputError, match="unknown library for lone"):
        sw.explain("gpt2", str(lone), library="cuda13")


@pytest.mark.parametrize("name", ["g" * 1500, "../profiles/h200", "h200.cuda13"])
def test_odd_names_of_a_users_gpu_find_the_architectures_profile(tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(LONE_GPU.replace('"lone"', f'"{name}"') + "", encoding="utf-8")
    assert sw.explain("gpt2", str(path)).provenance == "datasheet"


def test_every_profile_has_a_gpu() -> None:
    for path in FOLDER.glob("*.json"):
        gpu, library = path.stem.split(".", 1)
        assert library in (*sw.load_gpu(gpu).libraries, "generic")
