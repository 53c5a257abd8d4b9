"""A user's own GPU and node files: the forms that are accepted, and one line for everything that is not."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.hardware import Gpu, default_node, gpu_names, load_gpu, load_node
from shapewright.hardware.factfile import MAX_FILE_BYTES
from shapewright.hardware.load import GPU_FOLDER, NODE_FOLDER
from unit.hardware.user_gpu import GPU

NODE = """\
gpu = "my-gpu"
gpus_per_node = 4
link = "NVLink 4"
link_bytes_per_s = 450e9
link_latency_s = 1e-6
network = "Ethernet"
network_bytes_per_s = 3.1e9
network_latency_s = 5e-6
"""
DOCS = Path(__file__).parents[3] / "docs" / "hardware.md"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes text to my.toml of the current folder and returns its relative path."""
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        Path("my.toml").write_text(text, encoding="utf-8")
        return Path("my.toml")

    return to_file


def message(source: object, load: Callable[..., object] = load_gpu) -> str:
    with pytest.raises(InputError) as caught:
        load(source)
    text = str(caught.value)
    assert "\n" not in text and text.isprintable()
    return text


def test_plain_numbers_come_from_the_users_file(write: Write) -> None:
    gpu = load_gpu(write(GPU))
    assert (gpu.name, gpu.full_name, gpu.num_sms, gpu.memory_bytes) == ("my-gpu", "my-gpu", 78, 96 * 10**9)
    assert gpu.flops_per_s == {"bf16": 148e12, "fp32": 44e12}
    assert gpu.sources["num_sms"] == gpu.sources["flops_per_s.bf16"] == "user file my.toml"
    assert (gpu.alignment_bytes, gpu.libraries, gpu.notes) == (16, (), ())
    assert default_node(gpu) is None


def test_a_path_is_known_by_its_suffix_or_separator(write: Write) -> None:
    path = write(GPU)
    assert load_gpu("my.toml") == load_gpu(path) == load_gpu("./my.toml")
    path.rename("my-gpu")
    assert load_gpu("./my-gpu").num_sms == load_gpu(Path("my-gpu")).num_sms == 78


def test_the_name_defaults_to_the_files(write: Write) -> None:
    assert load_gpu(write(GPU.replace('name = "my-gpu"\n', ""))).name == "my"


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ('num_sms = { value = 78, source = "sheet: page 2" }', "Datasheet of my GPU: page 2"),
        ('num_sms = { value = 78, source = "sheet" }', "Datasheet of my GPU"),
        ('num_sms = { value = 78, source = "https://example.org/sheet" }', "https://example.org/sheet"),
        ("num_sms = { value = 78 }", "my notes"),
        ("num_sms = 78", "my notes"),
    ],
)
def test_sources(write: Write, line: str, source: str) -> None:
    text = 'source = "my notes"\n' + GPU.replace("num_sms = 78", line) + '[sources]\nsheet = "Datasheet of my GPU"\n'
    assert load_gpu(write(text)).sources["num_sms"] == source


def test_default_node_of_a_users_gpu(write: Write) -> None:
    node = default_node(load_gpu(write('default_node = "PCIe4"\n' + GPU)))
    assert node is not None and (node.name, node.gpu) == ("pcie4", "my-gpu")


def test_default_node_may_be_a_file(write: Write) -> None:
    Path(write(NODE)).rename("node.toml")
    node = default_node(load_gpu(write('default_node = "node.toml"\n' + GPU)))
    assert node is not None and (node.name, node.gpus_per_node, node.cpu) == ("node", 4, "")


def test_the_documented_files_load(write: Write) -> None:
    """The examples of docs/hardware.md, as printed; the second shows only how a source is written."""
    gpu, source, node = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert load_gpu(write(gpu)) == load_gpu(write(GPU))
    fact, _, table = source.partition("[sources]")
    gpu_with_source = load_gpu(write(GPU.replace("num_sms = 78", fact.strip()) + "[sources]" + table))
    assert gpu_with_source.sources["num_sms"].startswith("My GPU datasheet, revision 3")
    assert (load_node(write(node)).gpu, load_node(write(node)).gpus_per_node) == ("my-gpu", 4)


def test_every_shipped_file_is_a_valid_user_file(tmp_path: Path) -> None:
    for name in gpu_names():
        copy = tmp_path / "copy.toml"
        copy.write_bytes((GPU_FOLDER / f"{name}.toml").read_bytes())
        assert load_gpu(copy) == load_gpu(name)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("num_sms = 78", "num_sms = 0", "my.toml:4: num_sms is 0; expected 1 to 65536 streaming multiprocessors"),
        ("num_sms = 78", "num_sms = -78", "my.toml:4: num_sms is -78; expected 1 to 65536 streaming multiprocessors"),
        ("num_sms = 78", "num_sms = 78.5", "my.toml:4: num_sms is 78.5; expected 1 to 65536 streaming multiprocessors, a whole number"),
        ("num_sms = 78", "num_sms = nan", "my.toml:4: num_sms is nan; expected 1 to 65536 streaming multiprocessors"),
        ("num_sms = 78", 'num_sms = "78"', "my.toml:4: num_sms is '78'; expected 1 to 65536 streaming multiprocessors"),
        ("num_sms = 78", "num_sms = true", "my.toml:4: num_sms is True; expected 1 to 65536 streaming multiprocessors"),
        ("num_sms = 78", "num_sms = 0x" + "f" * 5000, "my.toml:4: num_sms is too large; expected 1 to 65536 streaming multiprocessors"),
        ("num_sms = 78", "num_sms = {}", 'my.toml:4: num_sms has no value; expected num_sms = { value = ..., source = "..." }'),
        ("num_sms = 78", "num_sms = { value = 1, sauce = 2 }", "my.toml:4: unknown key of num_sms 'sauce'"),
        ("num_sms = 78", "num_smss = 78", "my.toml:4: unknown key 'num_smss'; did you mean num_sms"),
        ("num_sms = 78\n", "", "my.toml: missing num_sms; every file gives these numbers (docs/hardware.md)"),
        ("clock_hz = 1.98e9", "clock_hz = 1980", "my.toml:5: clock_hz is 1980; expected 1e+08 to 1e+11 Hz"),
        ("memory_bytes = 96e9", "memory_bytes = 96", "my.toml:6: memory_bytes is 96; expected 1e+08 to 1e+15 bytes"),
        ("memory_bytes_per_s = 4.0e12", "memory_bytes_per_s = inf", "my.toml:7: memory_bytes_per_s is inf; expected 1e+09 to"),
        ("bf16 = 148e12", "bf16 = 148", "my.toml:14: bf16 is 148; expected 1e+10 to 1e+19 FLOP/s"),
        ("bf16 = 148e12", "bf61 = 148e12", "my.toml:14: unknown dtype 'bf61'; did you mean bf16"),
        ('"nvidia"', '"nvidea"', "my.toml:2: unknown vendor 'nvidea'; did you mean nvidia?"),
        ('"hopper"', '"hoper"', "my.toml:3: unknown architecture 'hoper'; did you mean hopper"),
        ('name = "my-gpu"', 'name = "\\u001b[2J"', "my.toml:1: name is '\\x1b[2J'; expected one short line of text in quotes"),
        ('name = "my-gpu"', "notes = 3", 'my.toml:1: notes is 3; expected a list of texts such as ["first", "second"]'),
        ('name = "my-gpu"', 'default_node = "dgx-h1000"', "my.toml:1: unknown node 'dgx-h1000'; did you mean dgx-h"),
        ("num_sms = 78", "num_sms 78", "my.toml:4: not valid TOML: Expected '=' after a key in a key/value pair"),
    ],
)  # fmt: skip
def test_faults(write: Write, old: str, new: str, expected: str) -> None:
    assert old in GPU
    assert message(write(GPU.replace(old, new, 1))).startswith(expected)


def test_all_missing_numbers_are_named_at_once(write: Write) -> None:
    text = message(write('name = "empty"'))
    assert text.startswith("my.toml: missing num_sms, clock_hz, memory_bytes, memory_bytes_per_s, l2_bytes, shared_memory_bytes, tdp_w")


def test_no_product_rates(write: Write) -> None:
    assert message(write(GPU.partition("[flops_per_s]")[0])).startswith("my.toml: missing flops_per_s; expected a table [flops_per_s]")


def test_node_faults(write: Write) -> None:
    assert (
        message(write(NODE.replace("= 4", "= 4.5")), load_node)
        == "my.toml:2: gpus_per_node is 4.5; expected 1 to 4096 GPUs, a whole number"
    )
    assert message(write(NODE + "num_sms = 4\n"), load_node).startswith("my.toml:9: unknown key 'num_sms'")
    assert message(write(NODE.replace("1e-6", "1")), load_node) == "my.toml:5: link_latency_s is 1; expected 1e-09 to 0.01 s"


def test_files_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "huge.toml").write_text("# padding\n" * (MAX_FILE_BYTES // 10 + 1))
    (tmp_path / "nested.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    (tmp_path / "empty.toml").write_text("")
    assert message(tmp_path / "binary.toml").endswith("not a text file; expected TOML in UTF-8")
    assert "larger than 262144 bytes" in message(tmp_path / "huge.toml")
    assert "nested too deeply" in message(tmp_path / "nested.toml")
    assert "missing num_sms" in message(tmp_path / "empty.toml")
    assert "not a regular file" in message(tmp_path)
    assert "not a regular file" in message("/dev/zero")
    assert "no such file" in message(tmp_path / "absent.toml")
    assert "no such file" in message("a\0b.toml")
    assert "cannot be read" in message(tmp_path / ("x" * 5000 + ".toml"))


def mutate(text: str, seed: int) -> bytes:
    """`text` after one to four random edits of bytes, lines and values."""
    draw = random.Random(seed)
    data = text.encode()
    values = [
        b"-1",
        b"nan",
        b"inf",
        b"1e400",
        b"0",
        b"true",
        b'""',
        b"[]",
        b"{}",
        b"1979-05-27",
        b"0x" + b"f" * 5000,
        b'"\\u0000"',
        b"9" * 5000,
    ]
    for _ in range(draw.randint(1, 4)):
        lines = data.split(b"\n")
        at, place = draw.randrange(len(lines)), draw.randrange(len(data) + 1)
        edit = draw.randrange(5)
        if edit == 0:
            data = data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]
        elif edit == 1:
            data = data[:place]
        elif edit == 2:
            data = b"\n".join(lines[:at] + lines[at + 1 :])
        elif edit == 3:
            data = b"\n".join([*lines[:at], lines[draw.randrange(len(lines))], *lines[at:]])
        else:
            key = lines[at].partition(b"=")[0]
            data = b"\n".join([*lines[:at], key + b"= " + draw.choice(values), *lines[at + 1 :]])
    return data


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), name=st.sampled_from([*gpu_names(), "user"]))
def test_mutated_gpu_files_load_or_are_refused_in_one_line(tmp_path: Path, seed: int, name: str) -> None:
    text = GPU if name == "user" else (GPU_FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    path = tmp_path / "mutant.toml"
    path.write_bytes(mutate(text, seed))
    try:
        gpu = load_gpu(path)
    except InputError as error:
        assert "mutant.toml" in str(error) and str(error).isprintable()
        return
    assert isinstance(gpu, Gpu)
    rates = [gpu.clock_hz, gpu.memory_bytes_per_s, gpu.vector_flops_per_s, *gpu.flops_per_s.values()]
    assert gpu.num_sms >= 1 and all(1e8 <= rate <= 1e19 for rate in rates)
    assert set(gpu.sources) >= {"num_sms", *(f"flops_per_s.{dtype}" for dtype in gpu.flops_per_s)}


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["summit", "frontier", "pcie4"]))
def test_mutated_node_files_load_or_are_refused_in_one_line(tmp_path: Path, seed: int, name: str) -> None:
    path = tmp_path / "mutant.toml"
    path.write_bytes(mutate((NODE_FOLDER / f"{name}.toml").read_text(encoding="utf-8"), seed))
    try:
        node = load_node(path)
    except InputError as error:
        assert "mutant.toml" in str(error) and str(error).isprintable()
        return
    assert node.gpus_per_node >= 1 and 0 < node.link_latency_s < 1 and node.link_bytes_per_s >= 1e7
