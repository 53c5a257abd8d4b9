"""`gpus` and `models` list what is known, each with its sources, for people and programs."""

import pytest

from shapewright.hardware.load import GPU_FOLDER, gpu_names, node_names
from shapewright.read import catalogue


def test_gpus_lists_every_gpu_and_node(cli) -> None:
    answer = cli("gpus")
    first_words = {line.split()[0] for line in answer.out.splitlines() if line}
    assert answer.code == 0 and answer.err == ""
    assert {*gpu_names(), *node_names()} <= first_words
    assert max(map(len, answer.out.splitlines())) <= 80


def test_one_gpu_shows_the_source_of_its_numbers(cli) -> None:
    answer = cli("gpus", "a100-40gb")
    assert "num_sms 108 [" in answer.flat
    assert "flops_per_s.bf16 3.12e+14 [" in answer.flat
    assert "whitepaper" in answer.flat


def test_one_node(cli) -> None:
    assert "gpus_per_node 6 [" in cli("gpus", "summit").flat


def test_gpus_as_json(cli) -> None:
    document = cli("gpus", "--json").document
    assert [gpu["name"] for gpu in document["gpus"]] == list(gpu_names())
    assert [node["name"] for node in document["nodes"]] == list(node_names())
    assert all(gpu["memory_bytes_per_s"] > 0 and gpu["sources"]["memory_bytes_per_s"] for gpu in document["gpus"])
    one = cli("gpus", "h200", "--json").document
    assert [gpu["num_sms"] for gpu in one["gpus"]] == [132]
    assert one["nodes"] == []


def test_a_gpu_of_the_users_own(cli, tmp_path) -> None:
    own = (GPU_FOLDER / "l4.toml").read_text(encoding="utf-8").replace('name = "l4"', 'name = "mine"').replace("value = 58,", "value = 29,")
    path = tmp_path / "mine.toml"
    path.write_text(own, encoding="utf-8")
    assert "num_sms 29 [" in cli("gpus", str(path)).flat
    document = cli("explain", "gpt2", "--gpu", str(path), "--json").document
    assert (document["gpu"]["name"], document["gpu"]["num_sms"]) == ("mine", 29)


def test_a_gpu_file_that_lacks_numbers_is_refused(cli, tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n')
    answer = cli("gpus", str(path))
    assert (answer.code, answer.out) == (2, "")
    assert "mine.toml" in answer.err and len(answer.err.splitlines()) == 1


def test_models_lists_the_catalogue(cli) -> None:
    answer = cli("models")
    first_words = {line.split()[0] for line in answer.out.splitlines() if line}
    assert answer.code == 0 and answer.err == ""
    assert set(catalogue.names()) <= first_words
    assert max(map(len, answer.out.splitlines())) <= 80


def test_one_model_shows_its_counts_and_source(cli) -> None:
    answer = cli("models", "mixtral-8x7b")
    assert "num_params 46,702,792,704 (46.7 B)" in answer.flat
    assert "num_active_params 12,879,925,248 (12.9 B)" in answer.flat
    assert "num_experts_per_tok 2" in answer.flat
    assert "source https://huggingface.co/mistralai/Mixtral-8x7B-v0.1" in answer.flat


def test_models_as_json(cli) -> None:
    document = cli("models", "--json").document
    rows = {row["name"]: row for row in document["models"]}
    assert list(rows) == list(catalogue.names())
    assert rows["gpt2"]["num_params"] == 124_439_808
    assert all(row["source"] for row in rows.values())


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(cli, arguments: tuple[str, ...]) -> None:
    answer = cli(*arguments)
    assert answer.code == 0 and answer.err == ""
    assert all(f" {command} " in answer.out for command in ("explain", "gpus", "models", "predict"))


def test_help_of_explain_names_every_shared_flag(cli) -> None:
    answer = cli("explain", "--help")
    flags = (
        "--gpu --phase --micro-batch --global-batch --sequence --context --dtype --attention --runtime --recompute --tensor-parallel "
        "--pipeline-parallel --data-parallel --expert-parallel --sequence-parallel --zero --node --library --fit --tokens "
        "--gpu-hour-price --json --hidden-size --num-attention-heads --num-experts --kv-lora-rank"
    )
    assert answer.code == 0
    assert [flag for flag in flags.split() if f"{flag} " not in answer.out] == []
    symbols = {"--hidden-size INT": "(h)", "--num-hidden-layers INT": "(L)", "--num-attention-heads INT": "(a)", "--sequence INT": "(s)",
               "--micro-batch INT": "(b)", "--tensor-parallel INT": "(t)", "--vocab-size INT": "(v)"}  # fmt: skip
    lines = answer.out.splitlines()
    assert [flag for flag, symbol in symbols.items() if not any(flag in line and symbol in line for line in lines)] == []
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("arguments", [("gpus",), ("models",), ("gpus", "mi300x"), ("models", "deepseek-v3"), ("gpus", "dgx-h100")])
def test_lists_keep_to_the_page(cli, monkeypatch, width: int, arguments: tuple[str, ...]) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    wide = [line for line in cli(*arguments).out.splitlines() if len(line) > width]
    # An address may be longer than the page: it stays whole, alone on its line.
    assert [line for line in wide if len(line.split()) > 1 or "://" not in line] == []
