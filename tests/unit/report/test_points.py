"""Names of points: what they are, without what every point of the kind has."""

import pytest

from shapewright.measure.points import AttentionPoint, CollectivePoint, GemmPoint, LayerPoint, MemoryPoint, ModelPoint, OptimizerPoint
from shapewright.report.points import point_name, row_name


@pytest.mark.parametrize(
    ("point", "name"),
    [
        (GemmPoint(m=8192, n=10923, k=4096), "8192 x 10923 x 4096 NT bf16"),
        (GemmPoint(m=8, n=9, k=10, batch=32, call="bmm", layout="TN", dtype="fp16"), "32 x 8 x 9 x 10 TN fp16"),
        (GemmPoint(m=8, n=9, k=10, call="linear", split=4, order="sbk"), "8 x 9 x 10 NT bf16 linear in 4 parts sbk"),
        (GemmPoint(m=8, n=9, k=10, runtime="compiled"), "8 x 9 x 10 NT bf16 compiled"),
        (AttentionPoint(batch=4, num_heads=32, num_kv_heads=8, query_len=1, kv_len=99, head_dim=80, is_backward=True, is_causal=False),
         "sdpa 4 x 32/8 heads of 80, 1 x 99 bf16 backward no mask"),
        (MemoryPoint(op="layer_norm", rows=8, width=16, is_backward=True), "layer_norm 8 x 16 bf16 backward"),
        (OptimizerPoint(num_params=10**9), "AdamW fused, 1.00 B in 16 tensors bf16"),
        (CollectivePoint(name="all_reduce", message_bytes=10**8, group_size=4), "all_reduce of 100 MB over 4 GPUs"),
        (LayerPoint(model="gpt2", changes="n_head=8,n_inner=9", phase="train", source="reference"),
         "gpt2 n_head=8 n_inner=9 train b=4 s=2048 reference"),
        (ModelPoint(model="gpt2", phase="decode", num_layers=3, attention="eager"), "gpt2 decode 3 layers b=1 context 2048 unfused"),
    ],
)  # fmt: skip
def test_names(point, name: str) -> None:
    assert point_name(point) == name


def test_a_row_of_an_unknown_kind_is_named_by_it() -> None:
    assert row_name({"kind": "bogus", "status": "ok"}) == "bogus"
