"""Bad input: one line on stderr that says what, where and what now; exit code 2; nothing on stdout, no traceback."""

import pytest

from shapewright.cli import app
from shapewright.errors import InputError, MissingError

EXPLAIN = ("explain", "gpt2", "--gpu", "a100-40gb")
BAD = [
    # names
    (("explain", "gpt3-2.7", "--gpu", "a100-40gb"), "unknown model 'gpt3-2.7'; did you mean gpt3-2.7b"),
    (("explain", "gpt2", "--gpu", "a100-40"), "unknown GPU 'a100-40'; did you mean a100-40gb"),
    ((*EXPLAIN, "--node", "dgx-h10"), "unknown node 'dgx-h10'; did you mean dgx-h100"),
    ((*EXPLAIN, "--library", "cuda99"), "cuda99"),
    (("explane", "gpt2"), "unknown command 'explane'; did you mean explain"),
    (("predict", "gem"), "unknown command 'gem'; did you mean gemm?"),
    (("models", "lama-2-7b"), "unknown model 'lama-2-7b'; did you mean llama-2-7b"),
    (("gpus", "h20"), "unknown GPU or node 'h20'; did you mean h200"),
    # flags
    ((*EXPLAIN, "--mirco-batch", "4"), "unknown flag '--mirco-batch'; did you mean --micro-batch"),
    ((*EXPLAIN, "--hiden-size", "4"), "unknown flag '--hiden-size'; did you mean --hidden-size"),
    ((*EXPLAIN, "-x"), "unknown flag '-x'; see `shapewright explain --help`"),
    (("--bogus",), "unknown flag '--bogus'; see `shapewright --help`"),
    ((*EXPLAIN, "--micro-batch"), "--micro-batch needs a value"),
    ((*EXPLAIN, "--micro-batch", "--json"), "--micro-batch needs a value"),
    (("explain", "gpt2"), "--gpu is missing; see `shapewright explain --help`"),
    ((*EXPLAIN, "--gpu", "h100"), "--gpu is given twice"),
    (("gpus", "h100", "h200"), "unexpected argument 'h200'"),
    # values
    ((*EXPLAIN, "--phase", "trian"), "unknown --phase value 'trian'; did you mean train?"),
    ((*EXPLAIN, "--micro-batch", "4.5"), "--micro-batch is '4.5'; expected a positive integer"),
    ((*EXPLAIN, "--micro-batch", "0"), "--micro-batch is 0; expected at least 1"),
    ((*EXPLAIN, "--micro-batch", "-4"), "--micro-batch is -4; expected at least 1"),
    ((*EXPLAIN, "--sequence", "9" * 40), "--sequence is '99999"),
    ((*EXPLAIN, "--sequence", "1" + "0" * 18), "--sequence is 1000000000000000000; expected at most"),
    ((*EXPLAIN, "--zero", "4"), "--zero is 4; expected at most 3"),
    ((*EXPLAIN, "--dtype", "fp9"), "--dtype: unknown dtype 'fp9'; did you mean fp8"),
    ((*EXPLAIN, "--dtype", "fp8"), "a100-40gb has no fp8 products; it has bf16, fp16, fp32, tf32"),
    ((*EXPLAIN, "--global-batch", "7"), "--global-batch 7 is not a multiple of micro_batch x data_parallel = 4; the nearest multiple is 8"),
    ((*EXPLAIN, "--expert-parallel", "3"), "--expert-parallel 3 does not divide data_parallel 1"),
    ((*EXPLAIN, "--tokens", "-1"), "--tokens is '-1'; expected a number above 0"),
    ((*EXPLAIN, "--tokens", "1e308"), "--tokens is '1e308'; expected a number above 0, at most 1e+30"),
    ((*EXPLAIN, "--tokens", "inf"), "--tokens is 'inf'; expected a number"),
    ((*EXPLAIN, "--gpu-hour-price", "2"), "--gpu-hour-price needs --tokens"),
    # overrides
    ((*EXPLAIN, "--num-attention-heads", "-3"), "--num-attention-heads is -3; expected at least 1"),
    ((*EXPLAIN, "--num-attention-heads", "7"), "--num-attention-heads 7 does not divide hidden_size 768"),
    ((*EXPLAIN, "--norm", "rms"), "--norm: unknown norm 'rms'; did you mean rmsnorm?"),
    ((*EXPLAIN, "--vocab-size", "50257.5"), "--vocab-size is '50257.5'; expected a positive integer"),
    ((*EXPLAIN, "--attention-dropout", "nan"), "--attention-dropout is 'nan'; expected a number"),
    ((*EXPLAIN, "--is-gated=maybe"), "--is-gated is 'maybe'; expected true or false"),
    ((*EXPLAIN, "--is-gated", "maybe"), "'maybe' is no value of --is-gated; known: true, false"),
    ((*EXPLAIN, "--recompute", "bogus"), "'bogus' is no value of --recompute; known: none, selective, full"),
    ((*EXPLAIN, "--recompute=bogus"), "unknown --recompute value 'bogus'; known: full, none, selective"),
    (("explain", "--gpu", "h100"), "no model is named"),
    (("explain", "--gpu", "h100", "--hidden-size", "512"), "give --num-attention-heads"),
    # files
    (("explain", "no/such/config.json", "--gpu", "h100"), "no file 'no/such/config.json'"),
    (("explain", "gpt2", "gpt2-xl", "--gpu", "h100"), "2 models are named and 'gpt2' is no file"),
    (("explain", "gpt2", "--gpu", "no/such.toml"), "no/such.toml"),
    (("predict", "gemm", "no-such.csv", "--gpu", "h100"), "no-such.csv: No such file or directory"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(arguments)[:70] for arguments, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(cli, arguments: tuple[str, ...], message: str) -> None:
    answer = cli(*arguments)
    failures = [line for line in answer.err.splitlines() if not line.startswith("note: ")]
    assert answer.code == 2
    assert answer.out == ""
    assert len(failures) == 1 and failures[0].startswith("error: "), answer.err
    assert message in failures[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x01\x02\xff" * 40, "config.json"),
        (b"{", "config.json:1"),
        (b"[1, 2]", "config.json"),
        (b'{"model_type": "gpt2", "n_embd": -768, "n_head": 12, "n_layer": 12, "vocab_size": 50257}', "-768"),
        (b'{"model_type": "llama",\n"hidden_size": 4096.5,\n"num_attention_heads": 32, "num_hidden_layers": 32,\n'
         b'"intermediate_size": 11008, "vocab_size": 32000}', "config.json:2"),
        (b"[" * 100_000, "config.json"),
    ],
    ids=["empty", "binary", "cut off", "a list", "negative", "fractional", "nested"],
)  # fmt: skip
def test_bad_config_files_are_named(cli, tmp_path, content: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    answer = cli("explain", str(path), "--gpu", "h100")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1
    assert "config.json" in answer.err
    assert message in answer.err


def test_a_folder_without_a_config(cli, tmp_path) -> None:
    answer = cli("explain", str(tmp_path), "--gpu", "h100")
    assert answer.code == 2
    assert "has no config.json" in answer.err


def test_a_newline_in_a_name_stays_one_line(cli) -> None:
    answer = cli("explain", "gpt\n2\nTraceback", "--gpu", "h100")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("failure", "code", "err"),
    [
        (InputError("a is 0", where="f.json:3", hint="expected 1"), 2, "error: f.json:3: a is 0; expected 1\n"),
        (MissingError("no GPU here", hint="install shapewright[gpu]"), 3, "error: no GPU here; install shapewright[gpu]\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device"), 2, "error: the answer: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/x/config.json"), 2, "error: /x/config.json: Permission denied\n"),
    ],
)
def test_failures_have_their_exit_codes(cli, monkeypatch, failure: BaseException, code: int, err: str) -> None:
    def fail(arguments: list[str]) -> int:
        raise failure

    monkeypatch.setattr(app, "run", fail)
    answer = cli("explain")
    assert (answer.code, answer.out, answer.err) == (code, "", err)


def test_a_bug_keeps_its_traceback(cli, monkeypatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(app, "run", fail)
    with pytest.raises(ZeroDivisionError):
        cli("explain")
