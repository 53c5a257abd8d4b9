"""The linter's document for programs: valid against the schema that is shipped, and as promised in the issue's own words."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest

from shapewright.report.json import SCHEMA_VERSION, to_json
from shapewright.report.lint_json import lint_document

PROMISED = ("code", "name", "file", "line", "field", "value", "message", "cost_s", "share", "low", "high", "gpu", "fixes")


def schema() -> dict:
    return json.loads(files("shapewright.report").joinpath("lint.schema.json").read_text(encoding="utf-8"))


def document(run) -> dict:
    """The document as a program reads it, checked."""
    read = json.loads(to_json(lint_document(run)))
    jsonschema.Draft202012Validator(schema()).validate(read)
    return read


def test_the_schema_is_itself_valid_and_of_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_a_finding_has_the_promised_keys_with_the_dearest_price(make_run) -> None:
    found = document(make_run())["findings"][0]
    assert set(found) >= set(PROMISED)
    assert [found[name] for name in ("code", "file", "line", "field", "value", "gpu")] == [
        "SW101", "gpt/config.json", 3, "vocab_size", 50257, "h200",
    ]  # fmt: skip
    assert (found["cost_s"], found["share"], found["low"], found["high"]) == (0.0405, pytest.approx(0.0405 / 0.357), 0.102, 0.126)
    assert found["fixes"][0] | {"value": 50304, "params_change": 4.5e-5, "time_s": 0.316} == found["fixes"][0]
    assert found["is_failing"]


def test_no_nan_and_no_infinity_where_no_fix_can_be_made(make_run) -> None:
    found = document(make_run())["findings"][0]
    assert found["prices"][3] == {
        "gpu": "mi250x", "cost_s": 0.0, "share": 0.0, "low": 0.0, "high": 0.0, "step_s": 0.9, "is_raised": False, "fix": None,
    }  # fmt: skip
    assert [time["time_s"] for time in found["fixes"][0]["times"]] == [0.316, 0.807, 1.196, None]
    assert [time["gpu"] for time in found["fixes"][0]["times"]] == [price["gpu"] for price in found["prices"]]


def test_models_failures_and_rules_are_listed(make_run, make_linted, make_finding) -> None:
    run = replace(make_run(make_linted(make_finding()), make_linted(origin="catalogue")), failures=(("nope", "unknown model"),))
    run = run.noted(run.linted[0], ["read as told"])
    read = document(run)
    assert [(model["file"], model["num_findings"], model["notes"]) for model in read["models"]] == [
        ("gpt/config.json", 1, ["read as told"]), (None, 0, []),
    ]  # fmt: skip
    assert read["models"][0]["steps"][0] == {"gpu": "h200", "time_s": 0.357}
    assert read["errors"] == [{"argument": "nope", "message": "unknown model"}]
    assert read["rules"] == [rule.code for rule in run.rules] and "SW101" in read["rules"]


@pytest.mark.parametrize("threshold, is_failing", [(0.11, True), (0.0405 / 0.357, True), (0.12, False)])
def test_the_threshold_decides_what_fails(make_run, threshold: float, is_failing: bool) -> None:
    read = document(make_run(fail_over=threshold))
    assert (read["findings"][0]["is_failing"], read["fail_over"]) == (is_failing, threshold)


def test_the_schema_refuses_a_renamed_key_and_nothing_stands_undocumented(make_run) -> None:
    read = document(make_run())
    read["findings"][0]["cost_ms"] = read["findings"][0].pop("cost_s")
    with pytest.raises(jsonschema.ValidationError, match="cost_"):
        jsonschema.Draft202012Validator(schema()).validate(read)
