"""Files opened safely and JSON with the line of every key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shapewright.errors import InputError
from shapewright.read.located import MAX_DEPTH, MAX_FILE_BYTES, load_json, place, read_text

CONFIG = """{
  "model_type": "llama",
  "text_config": {
    "hidden_size": 64, "layers": [
      {"kind": "full"}
    ]
  },
  "vocab_size":
    211
}"""


def test_every_key_keeps_its_line():
    located = load_json(CONFIG, where="config.json")
    assert located.values == json.loads(CONFIG)
    assert dict(located.lines) == {
        ("model_type",): 2,
        ("text_config",): 3,
        ("text_config", "hidden_size"): 4,
        ("text_config", "layers"): 4,
        ("text_config", "layers", 0, "kind"): 5,
        ("vocab_size",): 8,
    }
    assert place("config.json", located.lines[("vocab_size",)]) == "config.json:8"
    assert place("config.json", located.lines.get(("absent",))) == "config.json"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
JSON_OBJECTS = st.dictionaries(st.text(max_size=6), JSON_VALUES, max_size=5)


def num_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(num_keys(inner) for inner in value.values())
    return sum(num_keys(inner) for inner in value) if isinstance(value, list) else 0


@settings(max_examples=300, deadline=None)
@given(JSON_OBJECTS, st.sampled_from([None, 0, 1, 3]), st.booleans())
def test_values_are_those_of_the_standard_parser(values: dict[str, Any], indent: int | None, ascii_only: bool):
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_only)
    located = load_json(text, where="x")
    assert located.values == json.loads(text)
    assert len(located.lines) == num_keys(values)


@settings(max_examples=200, deadline=None)
@given(JSON_OBJECTS)
def test_lines_point_at_the_keys(values: dict[str, Any]):
    text = json.dumps(values, indent=1)
    rows = text.split("\n")
    for path, line in load_json(text, where="x").lines.items():
        assert rows[line - 1].strip().startswith(json.dumps(path[-1]) + ":")


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet='{}[]",:0123456789.eE+-truefalsn \n\\uNaI', max_size=40))
def test_accepts_and_refuses_what_the_standard_parser_does(text: str):
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) != len(items):
            raise ValueError("twice")
        return dict(items)

    try:
        expected = json.loads(text, object_pairs_hook=pairs)
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert repr(load_json(text, where="x").values) == repr(expected)
    else:
        with pytest.raises(InputError, match=r"^x:\d+: "):
            load_json(text, where="x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.json:1: the text ends before the JSON value does; is the file cut off?"),
        ("[1]", "c.json:1: expected a JSON object of keys and values, found a list; check that this is a config.json"),
        ("null", "c.json:1: expected a JSON object of keys and values, found null; check that this is a config.json"),
        ("true", "c.json:1: expected a JSON object of keys and values, found true; check that this is a config.json"),
        ('{"a": 1,\n}', "c.json:2: expected a key in double quotes; check the JSON syntax"),
        ('{"a": 1\n\n"b": 2}', "c.json:3: expected a comma or a closing }; check the JSON syntax"),
        ('{"a": 1,\n "a": 2}', "c.json:2: 'a' is given twice (first in line 1); keep one of them"),
        ('{"a": "x', "c.json:1: a string does not end in its line; check the JSON syntax"),
        ('{"a": 007}', "c.json:1: expected a comma or a closing }; check the JSON syntax"),
        ('{"a": 1} {}', "c.json:1: text after the end of the JSON value; remove it"),
        ('{"a": ' + "9" * 5000 + "}", "c.json:1: a number has more than 400 characters; expected a plausible number"),
        ('{"a":' + "[" * 100_000, f"c.json:1: values are nested more than {MAX_DEPTH} deep; expected a configuration"),
    ],
)
def test_messages(text: str, message: str):
    with pytest.raises(InputError) as error:
        load_json(text, where="c.json")
    assert str(error.value) == message


def test_deepest_nesting_is_read():
    text = '{"a":' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert load_json(text, where="x").values == json.loads(text)


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert load_json(read_text(path), where="x").values == {}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n ", "the file is empty"),
        (b"{}\0", "the file is binary"),
        (b"{\n\xff}", ":2: the file is not UTF-8 text"),
        (b" " * MAX_FILE_BYTES + b"{}", "the file is"),
    ],
)
def test_unusable_files(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        read_text(path)
    assert message in str(error.value)
    assert str(error.value).endswith("expected a configuration file in UTF-8 text")


def test_too_big(tmp_path: Path):
    path = tmp_path / "big"
    path.write_bytes(b"x" * 11)
    assert read_text(path, max_bytes=11) == "x" * 11
    with pytest.raises(InputError, match="larger than 10 bytes"):
        read_text(path, max_bytes=10)


def test_paths_that_are_no_files(tmp_path: Path):
    with pytest.raises(InputError, match="is a directory"):
        read_text(tmp_path)
    with pytest.raises(InputError, match="no file"):
        read_text(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no file|cannot be read"):
        read_text("a\0b")
    with pytest.raises(InputError, match="cannot be read"):
        read_text("x" * 5000)
    with pytest.raises(InputError, match="is not a file"):
        read_text(os.devnull)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "config.json"
    path.write_text("{}")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="cannot be read; check its permissions"):
        read_text(path)
