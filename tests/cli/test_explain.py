"""`explain` on everything that names a model, its notes, its documents and its page."""

import json
from importlib.resources import files

import jsonschema
import pytest

import shapewright as sw

SCHEMA = json.loads(files("shapewright.report").joinpath("explain.schema.json").read_text(encoding="utf-8"))
GPT3 = ("explain", "gpt3-2.7b", "--gpu", "a100-40gb")
CONFIG = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1376, "vocab_size": 32000, "max_position_embeddings": 2048, "tie_word_embeddings": False,
}  # fmt: skip
NEOX = """{
  "num_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "seq_length": 1024, "max_position_embeddings": 1024,
  "pos_emb": "rotary", "train_micro_batch_size_per_gpu": 8,
}
"""
MEGATRON = """#!/bin/bash
HIDDEN=512
torchrun pretrain_gpt.py --num-layers 4 --hidden-size $HIDDEN --num-attention-heads 8 \\
    --seq-length 1024 --max-position-embeddings 1024 --micro-batch-size 2 --global-batch-size 8 --vocab-size 50304 --bf16
"""


@pytest.fixture
def model_files(tmp_path) -> dict[str, str]:
    """One small model in every form."""
    contents = {"config.json": json.dumps(CONFIG), "model.yml": NEOX, "local.yml": "zero_optimization:\n  stage: 1\n", "train.sh": MEGATRON}
    for name, content in contents.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return {name: str(tmp_path / name) for name in contents} | {"folder": str(tmp_path)}


@pytest.mark.parametrize("phase", ["train", "forward", "prefill", "decode"])
def test_every_phase_follows_the_schema(cli, phase: str) -> None:
    answer = cli(*GPT3, "--phase", phase, "--json")
    assert answer.code == 0
    document = answer.document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["workload"]["phase"] == phase
    assert (document["layer"]["backward"] is None) == (phase != "train")
    assert sum(row["share"] for row in document["operators"]) == pytest.approx(1)
    for row in document["operators"]:
        assert sum(part["time_s"] for part in row["parts"]) == pytest.approx(row["time_s"])
        assert row["low_s"] <= row["time_s"] <= row["high_s"]


@pytest.mark.parametrize("model", ["mixtral-8x7b", "gemma-2-9b", "deepseek-v2-lite", "bert-base-uncased", "falcon-7b", "gpt-oss-20b"])
def test_every_kind_of_model_follows_the_schema(cli, model: str) -> None:
    document = cli("explain", model, "--gpu", "h200", "--json").document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["layer"] == document["layers"][0]
    assert sum(layer["count"] for layer in document["layers"]) == document["model"]["num_hidden_layers"]


def test_defaults(cli) -> None:
    workload = cli(*GPT3, "--json").document["workload"]
    expected = {"phase": "train", "dtype": "bf16", "attention": "flash", "sequence": 2048, "micro_batch": 4, "runtime": "graph"}
    assert expected.items() <= workload.items()
    assert cli("explain", "gpt3-2.7b", "--gpu", "v100-16gb", "--json").document["workload"]["dtype"] == "fp16"


def test_flags_reach_the_workload(cli) -> None:
    flags = (
        "--phase train --micro-batch 2 --global-batch 16 --sequence 1024 --dtype float16 --attention unfused --runtime eager --recompute "
        "selective --tensor-parallel 2 --pipeline-parallel 2 --data-parallel 4 --sequence-parallel --zero 1 --node dgx-a100"
    )
    workload = cli(*GPT3, *flags.split(), "--json").document["workload"]
    expected = {
        "micro_batch": 2, "global_batch": 16, "sequence": 1024, "dtype": "fp16", "attention": "unfused", "runtime": "eager",
        "recompute": "selective", "tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 4, "sequence_parallel": True, "zero": 1,
        "num_gpus": 16,
    }  # fmt: skip
    assert expected.items() <= workload.items()


@pytest.mark.parametrize("arguments", [(*GPT3, "--recompute"), ("explain", "--recompute", *GPT3[1:])])
def test_bare_recompute_means_full(cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments, "--json").document["workload"]["recompute"] == "full"


def test_page_holds_what_the_document_holds(cli) -> None:
    document = cli(*GPT3, "--json").document
    page = cli(*GPT3)
    assert page.code == 0
    for row in document["operators"]:
        assert f" {row['name']} {row['count']} " in page.flat
        if row["m"] is not None:
            batch = f"{row['batch']} x " if row["batch"] > 1 else ""
            assert f"{batch}{row['m']} x {row['n']} x {row['k']} {row['layout']}" in page.flat
        assert all(" ".join(reason.split()) in page.flat for reason in row["reasons"])
    assert f"{document['model']['num_params']:,}" in page.flat
    assert f"{document['step']['tokens_per_s']:,.0f} tokens/s" in page.flat
    assert f"MFU {100 * document['step']['mfu']:.1f} %" in page.flat
    assert document["provenance"] in page.flat


def test_latency_of_serving(cli) -> None:
    prefill = cli(*GPT3, "--phase", "prefill")
    decode = cli(*GPT3, "--phase", "decode", "--context", "512")
    assert "TTFT" in prefill.out and "TPOT" not in prefill.out
    assert "TPOT" in decode.out and "context 512" in decode.flat


def test_tokens_are_priced(cli) -> None:
    document = cli(*GPT3, "--tokens", "1e12", "--gpu-hour-price", "2.5", "--data-parallel", "2", "--json").document
    cost, step = document["cost"], document["step"]
    assert cost["gpu_hours"] == pytest.approx(2 * 1e12 / step["tokens_per_s"] / 3600)
    assert cost["price"] == pytest.approx(2.5 * cost["gpu_hours"])
    assert "GPU-hours" in cli(*GPT3, "--tokens", "1e12").flat
    assert cli(*GPT3, "--json").document["cost"] is None


def test_a_model_that_does_not_fit_is_a_note(cli) -> None:
    answer = cli("explain", "llama-2-7b", "--gpu", "v100-16gb", "--json")
    assert answer.code == 0
    assert answer.document["memory"]["fits"] is False
    assert any("does not fit" in note or "exceeds" in note for note in answer.notes), answer.err


def test_a_sequence_beyond_the_positions_is_a_note(cli) -> None:
    answer = cli("explain", "gpt2", "--gpu", "h200", "--sequence", "4096", "--json")
    assert answer.code == 0
    assert any("1024" in note and "4096" in note for note in answer.notes), answer.err
    assert set(answer.notes) == set(answer.document["notes"])


def test_overrides_say_what_moved(cli) -> None:
    answer = cli(*GPT3, "--num-attention-heads", "20", "--json")
    assert answer.document["model"]["head_dim"] == 128
    assert answer.document["model"]["num_key_value_heads"] == 20
    assert any(note.startswith("head_dim 80 -> 128") for note in answer.notes), answer.err
    assert any(note.startswith("num_key_value_heads 32 -> 20") for note in answer.notes)


def test_fit_uses_the_largest_micro_batch(cli) -> None:
    fits = cli("explain", "gpt2", "--gpu", "h100", "--fit", "--json").document
    largest = fits["memory"]["largest_micro_batch"]
    assert fits["workload"]["micro_batch"] == largest > 4
    assert fits["memory"]["fits"] is True
    beyond = cli("explain", "gpt2", "--gpu", "h100", "--micro-batch", str(largest + 1), "--json").document
    assert beyond["memory"]["fits"] is False
    assert f"largest micro-batch that fits: {largest}" in cli("explain", "gpt2", "--gpu", "h100", "--fit").flat


def test_fit_divides_the_global_batch(cli) -> None:
    document = cli("explain", "gpt2", "--gpu", "h100", "--fit", "--global-batch", "64", "--json").document
    assert 64 % document["workload"]["micro_batch"] == 0
    assert document["workload"]["micro_batch"] <= document["memory"]["largest_micro_batch"] < 2 * document["workload"]["micro_batch"]


def test_fit_says_that_nothing_fits(cli) -> None:
    answer = cli("explain", "llama-2-7b", "--gpu", "v100-16gb", "--fit")
    assert answer.code == 0
    assert "not even micro-batch 1 fits; shown at micro-batch 4" in answer.flat
    notes = [note for note in answer.notes if note.startswith("not even micro-batch 1 fits: it needs ")]
    assert len(notes) == 1 and all(way in notes[0] for way in ("--recompute full", "--zero 3", "--tensor-parallel", "--sequence"))
    assert "--fit" not in answer.err
    document = cli("explain", "llama-2-7b", "--gpu", "v100-16gb", "--fit", "--json").document
    assert document["memory"]["largest_micro_batch"] == 0 and notes[0] in document["notes"]


def test_what_lowers_memory_is_what_is_not_done_yet(cli) -> None:
    trained = cli("explain", "llama-2-70b", "--gpu", "v100-16gb", "--fit", "--recompute", "--zero", "3", "--data-parallel", "2")
    assert "not even micro-batch 1 fits" in trained.err and "--recompute full" not in trained.err and "--zero" not in trained.err
    decoded = cli("explain", "llama-2-70b", "--gpu", "v100-16gb", "--fit", "--phase", "decode")
    assert "a shorter --context" in decoded.err and "--zero" not in decoded.err and "--recompute" not in decoded.err


@pytest.mark.parametrize(
    ("flags", "notes"),
    [
        ("--phase decode --zero 3", ["--zero 3 does not apply: decode has no optimizer, only train has"]),
        ("--phase prefill --recompute", ["--recompute full does not apply: prefill has no backward pass, only train has"]),
        ("--phase forward --global-batch 7", ["--global-batch 7 does not apply: forward has no optimizer step, only train has"]),
        ("--context 64", ["--context 64 does not apply: train starts without a cache, only decode has one"]),
        ("--phase decode --context 64 --sequence 32", ["--sequence 32 does not apply: decode starts from --context"]),
        ("--sequence-parallel", ["--sequence-parallel does not apply: --tensor-parallel is 1"]),
        ("--zero 1", ["--zero 1 does not apply: there is one replica, --data-parallel is 1"]),
        ("--node dgx-a100", ["--node does not apply: one GPU uses no links"]),
        ("--phase prefill --micro-batch 3 --fit", ["--micro-batch 3 does not apply: --fit found "]),
        ("--recompute selective", ["--recompute selective does not apply: flash attention keeps no scores"]),
        ("--recompute selective --attention unfused", []),
        ("--recompute", []),
        ("--phase decode --sequence 64", []),
        ("--phase decode --context 64", []),
        ("--zero 3 --data-parallel 2 --node dgx-a100 --global-batch 64", []),
        ("--sequence-parallel --tensor-parallel 2", []),
        ("--zero 0 --recompute none --no-sequence-parallel --phase forward", []),
    ],
)  # fmt: skip
def test_flags_that_do_not_apply_are_named(cli, flags: str, notes: list[str]) -> None:
    found = [note for note in cli(*GPT3, *flags.split()).notes if "does not apply" in note]
    assert [note[: len(said)] for note, said in zip(found, notes, strict=True)] == notes


def test_a_global_batch_outside_training_changes_nothing(cli) -> None:
    plain = cli(*GPT3, "--phase", "forward", "--json").document
    given = cli(*GPT3, "--phase", "forward", "--global-batch", "64", "--json").document
    assert given["step"] == plain["step"] and given["workload"]["global_batch"] is None


@pytest.mark.parametrize("width", [40, 80, 100, 140])
@pytest.mark.parametrize(
    "arguments",
    [
        "mixtral-8x22b --gpu h100 --tensor-parallel 8 --pipeline-parallel 4 --data-parallel 2 --global-batch 64",
        "mixtral-8x7b --gpu h200 --data-parallel 8 --expert-parallel 8 --zero 3 --recompute --tokens 1e12 --gpu-hour-price 2",
        "deepseek-v3 --gpu h100 --phase decode --tensor-parallel 8 --runtime eager",
        "gpt3-2.7b --gpu a100-40gb --attention unfused --tensor-parallel 4 --sequence-parallel --fit",
        "gemma-2-9b --gpu mi300x --phase prefill --tensor-parallel 2",
        "bert-base-uncased --gpu v100-16gb --phase forward",
    ],
)
def test_no_line_of_the_page_is_longer_than_the_terminal(cli, monkeypatch, width: int, arguments: str) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    answer = cli("explain", *arguments.split())
    assert answer.code == 0
    assert [line for line in answer.out.splitlines() if len(line) > width] == []


def test_a_step_that_waits_for_the_host_says_so(cli) -> None:
    arguments = ("explain", "llama-3.1-8b", "--gpu", "h200", "--phase", "decode", "--micro-batch", "1")
    eager, graph = (cli(*arguments, "--runtime", runtime) for runtime in ("eager", "graph"))
    step = cli(*arguments, "--runtime", "eager", "--json").document["step"]
    assert step["bound_by"] == "host" and cli(*arguments, "--json").document["step"]["bound_by"] == "gpu"
    each_us = 1e6 * step["host_s"] / step["num_launches"]
    assert f"host-bound: {step['num_launches']:,} launches x {each_us:.1f} us = " in eager.flat
    assert "host" not in graph.flat


def test_a_config_file_and_its_folder(cli, model_files) -> None:
    by_file = cli("explain", model_files["config.json"], "--gpu", "h200", "--json").document
    by_folder = cli("explain", model_files["folder"], "--gpu", "h200", "--json").document
    assert by_file["model"]["num_params"] == by_folder["model"]["num_params"] == sw.load_shape(CONFIG).num_params
    assert by_file["model"]["num_key_value_heads"] == 2


def test_neox_files_are_merged(cli, model_files) -> None:
    answer = cli("explain", model_files["model.yml"], model_files["local.yml"], "--gpu", "h200", "--json")
    assert answer.code == 0
    assert answer.document["model"]["num_hidden_layers"] == 4
    assert answer.document["workload"]["zero"] == 1


def test_a_megatron_script(cli, model_files) -> None:
    document = cli("explain", model_files["train.sh"], "--gpu", "h200", "--json").document
    assert (document["model"]["hidden_size"], document["model"]["vocab_size"]) == (512, 50304)


def test_a_model_of_flags_alone(cli) -> None:
    flags = ["--hidden-size", "2560", "--num-attention-heads", "32", "--num-hidden-layers", "32", "--vocab-size", "50304"]
    model = cli("explain", *flags, "--gpu", "h200", "--json").document["model"]
    h, layers, v, s = 2560, 32, 50304, model["max_position_embeddings"]
    assert model["num_params"] == 12 * h * h * layers + 13 * h * layers + (v + s) * h + 2 * h


def test_a_training_configuration_says_its_workload_and_flags_win(cli, model_files) -> None:
    said = cli("explain", model_files["train.sh"], "--gpu", "h200", "--json")
    assert {"micro_batch": 2, "global_batch": 8, "sequence": 1024}.items() <= said.document["workload"].items()
    assert any(note.startswith("from the model's file: micro_batch 2, global_batch 8, sequence 1024") for note in said.notes), said.err
    flagged = cli("explain", model_files["train.sh"], "--gpu", "h200", "--sequence", "512", "--micro-batch", "4", "--json").document
    assert {"micro_batch": 4, "global_batch": 8, "sequence": 512}.items() <= flagged["workload"].items()


def test_what_contradicts_a_flag_or_the_gpu_is_left_out_with_a_note(cli, model_files) -> None:
    answer = cli("explain", model_files["train.sh"], "--gpu", "v100-16gb", "--micro-batch", "3", "--json")
    assert {"micro_batch": 3, "global_batch": None, "dtype": "fp16"}.items() <= answer.document["workload"].items()
    assert any(note.startswith("global_batch 8 of the model's file is left out") for note in answer.notes)
    assert any(note.startswith("dtype bf16 of the model's file is left out") for note in answer.notes)


def test_serving_ignores_the_training_workload(cli, model_files) -> None:
    workload = cli("explain", model_files["train.sh"], "--gpu", "h200", "--phase", "prefill", "--json").document["workload"]
    assert {"micro_batch": 4, "global_batch": None, "sequence": 2048}.items() <= workload.items()


def test_the_python_face_gives_the_same_numbers(cli) -> None:
    document = cli(*GPT3, "--phase", "prefill", "--json").document
    answer = sw.explain("gpt3-2.7b", "a100-40gb", phase="prefill")
    assert [row["time_s"] for row in document["operators"]] == [row.estimate.time_s for row in answer.operators]
    assert document["step"]["time_s"] == answer.step.time_s


def test_accumulated_passes_stay_when_replicas_are_added(cli, tmp_path) -> None:
    file = tmp_path / "run.yml"
    file.write_text(
        "num_layers: 2\nhidden_size: 256\nnum_attention_heads: 4\nseq_length: 128\npos_emb: rotary\n"
        "train_micro_batch_size_per_gpu: 2\ngradient_accumulation_steps: 8\n"
    )
    for flags, global_batch in (((), 16), (("--data-parallel", "3"), 48), (("--micro-batch", "4"), 32), (("--global-batch", "2"), 2)):
        document = cli("explain", str(file), "--gpu", "h200", "--json", *flags).document
        assert document["workload"]["global_batch"] == global_batch
