"""What a user may name, what wins, and what is said where nothing is found."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from shapewright.errors import InputError
from shapewright.read import catalogue
from shapewright.read.resolve import load, load_shape

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 128, "vocab_size": 100, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "hidden_act": "silu",
    "tie_word_embeddings": False,
}  # fmt: skip
NEOX = "num-layers: 2\nhidden-size: 64\nnum-attention-heads: 4\nmax-position-embeddings: 128\n"
MEGATRON = "torchrun pretrain_gpt.py --num-layers 2 --hidden-size 64 --num-attention-heads 4 --seq-length 128\n"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no cache of the machine that runs the tests is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def refusal(source: object, **overrides: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(source, overrides=overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_catalogue_names_and_hub_ids() -> None:
    assert load("gpt3-2.7b").shape == catalogue.load("gpt3-2.7b").shape
    assert load_shape("EleutherAI/pythia-2.8b").name == "pythia-2.8b"
    assert load_shape("Llama-2-7B").hidden_size == 4096


def test_overrides_are_noted_and_forget_the_lines_they_replace(tmp_path: Path) -> None:
    Path("m.yml").write_text(NEOX)
    loaded = load("m.yml", overrides={"num_attention_heads": 8, "vocab_size": None})
    assert (loaded.shape.num_attention_heads, loaded.shape.num_key_value_heads, loaded.shape.head_dim) == (8, 8, 8)
    assert "head_dim 16 -> 8 (hidden_size / num_attention_heads)" in loaded.notes
    assert loaded.lines["hidden_size"] == 2
    assert not {"num_attention_heads", "head_dim", "num_key_value_heads"} & loaded.lines.keys()


@pytest.mark.parametrize(
    ("file", "text", "architecture"),
    [
        ("config.json", json.dumps(LLAMA), "llama"),
        ("anything.txt", json.dumps(LLAMA, indent=2), "llama"),
        ("m.yml", NEOX, "gpt_neox"),
        ("m.conf", NEOX, "gpt_neox"),
        ("m.yaml", '# in braces\n{"num_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "pos_emb": "rotary",}', "gpt_neox"),
        ("m.json", '{"num-layers": 2, "hidden-size": 64, "num-attention-heads": 4, "pos-emb": "rotary"}', "gpt_neox"),
        ("run.sh", MEGATRON, "megatron_gpt"),
        ("run.txt", MEGATRON, "megatron_gpt"),
    ],
)
def test_the_kind_of_a_file_is_told_from_what_it_says(file: str, text: str, architecture: str) -> None:
    Path(file).write_text(text)
    for source in (file, Path(file)):
        loaded = load(source)
        assert (loaded.shape.architecture, loaded.shape.hidden_size, loaded.shape.num_hidden_layers) == (architecture, 64, 2)
        assert loaded.origin == file


def test_folders_lists_and_arguments(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert load(folder).shape.name == "my-model"
    Path("a.yml").write_text(NEOX)
    Path("b.yml").write_text("train_micro_batch_size_per_gpu: 3\n")
    merged = load(["a.yml", Path("b.yml")])
    assert (merged.shape.name, merged.workload["micro_batch"]) == ("a", 3)
    assert load(MEGATRON.split()).shape.architecture == "megatron_gpt"
    assert load(["gpt2"]).shape.name == "gpt2"


def test_mappings_shapes_and_live_configs() -> None:
    shape = load_shape(LLAMA)
    assert (shape.architecture, shape.num_key_value_heads) == ("llama", 2)
    assert load_shape({"num-layers": 2, "hidden-size": 64, "num-attention-heads": 4, "pos-emb": "alibi"}).position_embedding == "alibi"
    assert load(shape).shape is shape
    assert load_shape(shape, vocab_size=128).vocab_size == 128
    assert load(load(shape)).shape is shape

    class Config:
        model_type = "llama"
        name_or_path = "mine"

        def to_dict(self) -> dict[str, Any]:
            return LLAMA

    class Model:
        config = Config()

    assert load_shape(Config()) == load_shape(Model())
    assert load_shape(Model()).name == "mine"


def test_no_source_is_a_model_of_flags() -> None:
    loaded = load(None, overrides={"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100})
    assert (loaded.origin, loaded.shape.intermediate_size) == ("flags", 256)
    assert refusal(None) == "no model is named; give a catalogue name, a file, or --hidden-size and the other sizes"


def test_a_file_wins_over_a_catalogue_name() -> None:
    assert load_shape("gpt2").hidden_size == 768
    Path("gpt2").write_text(NEOX)
    assert load_shape("gpt2").hidden_size == 64


def test_the_users_own_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "cache" / "models--some--thing" / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(LLAMA))
    loaded = load("some/thing")
    assert (loaded.origin, loaded.shape.name, loaded.shape.hidden_size) == ("some/thing", "some/thing", 64)
    assert loaded.lines["hidden_size"] == 1


def test_overrides_stand_in_for_what_a_script_leaves_to_the_shell() -> None:
    Path("run.sh").write_text(MEGATRON.replace("64", "$HIDDEN"))
    assert "--hidden-size is '$HIDDEN', which only the shell knows" in refusal("run.sh")
    assert load_shape("run.sh", hidden_size=128).intermediate_size == 512
    assert not [note for note in load("run.sh", overrides={"hidden_size": 128}).notes if "hidden_size" in note]
    repeated = load("run.sh", overrides={"hidden_size": 128, "num_attention_heads": 4}).notes
    assert "num_attention_heads 4 changes nothing: the model has it already" in repeated


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gpt3-2.7", "unknown model 'gpt3-2.7'; did you mean gpt3-2.7b"),
        (
            "nobody/pythia-2.8",
            "no file, catalogue model or model of the local Hugging Face cache is called 'nobody/pythia-2.8' (did you mean",
        ),
        (
            "nobody/nothing",
            "no file, catalogue model or model of the local Hugging Face cache is called 'nobody/nothing'; `huggingface-cli",
        ),
        ("there/is/no/config.json", "no file 'there/is/no/config.json'; check the path"),
        ("absent.yml", "no file 'absent.yml'; check the path"),
        (Path("absent"), "no file 'absent'; check the path"),
        ("", "'' names no model"),
        ("a\0b", "'a\\x00b' names no model"),
        ("x" * 10_000, "unknown model 'xxx"),
        (".", "the folder '.' has no config.json"),
        ([], "a list names no model"),
        ([1, 2], "a list names no model"),
        (3.5, "float is no model"),
        ({}, "mapping: model_type is absent"),
        (["--hidden-size", "64"], "arguments: --num-layers and --num-attention-heads are absent"),
    ],
)
def test_what_is_not_found_says_what_was_looked_for(source: object, message: str) -> None:
    assert refusal(source).startswith(message)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("m.json", b'{"a": ', "m.json:1: "),
        ("m.yml", b"", "m.yml: the file is empty"),
        ("m.yml", b"\0\1\2", "m.yml: the file is binary"),
        ("m.yml", b"a: \xff\n", "m.yml:1: the file is not UTF-8 text"),
        ("notes.txt", b"some: words\n", "notes.txt: the file describes no model"),
        ("run.sh", b"#!/bin/sh\necho hello\n", "run.sh: the script gives no --hidden-size"),
    ],
)
def test_files_that_are_no_configuration(file: str, content: bytes, message: str) -> None:
    Path(file).write_bytes(content)
    assert refusal(file).startswith(message)


def test_a_loop_of_links_and_a_link_to_nothing() -> None:
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("absent")
    for source in ("loop", Path("loop"), "loop/config.json"):
        assert refusal(source).endswith("cannot be read (too many levels of symbolic links); check the path")
    assert refusal("dangling") == "no file 'dangling'; check the path"


def test_a_folder_and_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denied by hand, since the tests may run as a user who may read everything."""
    Path("locked").mkdir()
    stat = Path.stat

    def denied(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if "locked/" in str(self):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return stat(self, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", denied)
    assert refusal("locked") == "the folder 'locked' cannot be read (permission denied); check its permissions"
    assert refusal("locked/config.json") == "'locked/config.json' cannot be read (permission denied); check the path"


def test_unknown_overrides_are_refused() -> None:
    assert refusal("gpt2", num_layers=3).startswith("unknown model field 'num_layers'; did you mean num_hidden_layers")
