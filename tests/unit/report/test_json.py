"""The document for programs: valid against the schema that is shipped, and as promised in the issue's own words."""

import json
import math
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest

from shapewright.operators.types import Gemm
from shapewright.report.cost import token_cost
from shapewright.report.json import SCHEMA_VERSION, explain_document, to_json
from shapewright.workload import Workload

OPERATOR_KEYS = (
    "name", "kind", "count", "batch", "m", "n", "k", "dtype", "layout", "flops", "bytes", "time_s", "low_s", "high_s", "share",
    "limit_s", "bound_by", "reasons",
)  # fmt: skip
STEP_KEYS = ("time_s", "low_s", "high_s", "flops", "flops_per_s", "tokens_per_s", "mfu")


def schema() -> dict:
    return json.loads(files("shapewright.report").joinpath("explain.schema.json").read_text(encoding="utf-8"))


def validate(document: dict) -> None:
    jsonschema.Draft202012Validator(schema()).validate(json.loads(to_json(document)))


def test_the_schema_is_itself_valid_and_of_this_version() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert schema()["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


@pytest.mark.parametrize("phase", ["train", "forward", "prefill", "decode"])
def test_documents_follow_the_schema(make_explanation, phase: str) -> None:
    answer = make_explanation(workload=Workload(phase=phase, dtype="bf16"))
    validate(explain_document(answer))
    validate(explain_document(answer, cost=token_cost(answer, 1e9), largest_micro_batch=3, notes=("read as told",)))


def test_the_schema_refuses_a_renamed_or_missing_key(make_explanation) -> None:
    document = explain_document(make_explanation())
    document["operators"][0]["time_ms"] = document["operators"][0].pop("time_s")
    with pytest.raises(jsonschema.ValidationError, match="time_"):
        validate(document)


def test_the_promised_keys_are_there(make_explanation) -> None:
    document = explain_document(make_explanation())
    assert set(document) >= {"schema_version", "model", "workload", "gpu", "operators", "layer", "layers", "step", "memory", "provenance"}
    assert all(key in document["operators"][0] for key in OPERATOR_KEYS)
    assert all(key in document["step"] for key in STEP_KEYS)
    assert document["layer"] == document["layers"][0]
    assert document["layer"]["forward"] == {"time_s": 4e-4, "flops": 2e10, "flops_per_s": pytest.approx(5e13)}
    assert document["model"]["num_params"] > 0
    assert document["gpu"]["name"] == "toy-gpu"


def test_values_are_per_call_and_only_share_counts_all(make_explanation) -> None:
    answer = make_explanation()
    row = explain_document(answer)["operators"][0]
    assert (row["count"], row["time_s"], row["flops"]) == (4, 1e-4, 2 * 8192 * 1536 * 512)
    assert row["share"] == pytest.approx(1 / 6)
    assert sum(part["time_s"] for part in row["parts"]) == pytest.approx(row["time_s"])


def test_what_does_not_apply_is_null(make_explanation) -> None:
    rows = {row["name"]: row for row in explain_document(make_explanation())["operators"]}
    sizes = ("batch", "m", "n", "k", "layout")
    assert [rows["norm"][key] for key in (*sizes, "dtype")] == [None] * 6
    assert [rows["attention"][key] for key in sizes] == [None] * 5
    assert rows["attention"]["dtype"] == "bf16"
    assert [rows["experts"][key] for key in sizes] == [1, 16384, 1536, 512, "NT"]
    assert [rows["scores"][key] for key in sizes] == [32, 2048, 2048, 64, "NN"]


def test_backward_is_null_outside_training(make_explanation) -> None:
    document = explain_document(make_explanation(workload=Workload(phase="forward", dtype="bf16")))
    assert document["layer"]["backward"] is None
    assert explain_document(make_explanation())["layer"]["backward"]["time_s"] == 8e-4


def test_latencies_belong_to_their_phase(make_explanation) -> None:
    for phase, key in (("prefill", "ttft_s"), ("decode", "tpot_s")):
        step = explain_document(make_explanation(workload=Workload(phase=phase, dtype="bf16")))["step"]
        assert {name for name in ("ttft_s", "tpot_s") if step[name] is not None} == {key}
        assert step[key] == step["time_s"]


def test_the_step_says_whether_it_waits_for_the_host(make_explanation) -> None:
    answer = make_explanation()
    assert explain_document(answer)["step"]["bound_by"] == "gpu"
    waiting = explain_document(replace(answer, step=replace(answer.step, time_s=0.05, host_s=0.05)))
    assert waiting["step"]["bound_by"] == "host"
    validate(waiting)


def test_memory_is_bytes_that_add_up(make_explanation) -> None:
    memory = explain_document(make_explanation())["memory"]
    held = sum(value for key, value in memory.items() if key.endswith("_bytes") and key not in ("total_bytes", "gpu_bytes"))
    assert held == memory["total_bytes"] == 10e9
    assert memory["fits"] is True
    assert explain_document(make_explanation(memory_bytes=9e9))["memory"]["fits"] is False


def test_notes_of_reading_come_first(make_explanation) -> None:
    assert explain_document(make_explanation(), notes=("heads moved",))["notes"] == ["heads moved", "the toy has no notes of its own"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_are_refused(make_explanation, bad: float) -> None:
    answer = make_explanation()
    with pytest.raises(ValueError, match="JSON"):
        to_json(explain_document(replace(answer, step=replace(answer.step, mfu=bad))))


def test_work_repeats_its_own_fields(make_explanation) -> None:
    work = explain_document(make_explanation())["operators"][0]["work"]
    assert Gemm(**{key: value for key, value in work.items() if key != "type"}) == Gemm(m=8192, n=1536, k=512)
