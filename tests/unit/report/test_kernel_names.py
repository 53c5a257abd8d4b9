"""Kernels in a table: own names, one line each, whatever templates they come from."""

from __future__ import annotations

import pytest

from shapewright.report.kernel_names import MAX_NAME, kernels_text


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ("", ""),
        ("nvjet_sm90_tst_320x128_64x3_1x2_h_bz_coopB_TNT", "nvjet_sm90_tst_320x128_64x3_1x2_h_bz_coopB_TNT"),
        ("cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256_64x3_nt_align2>",
         "cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256_64x3_nt_align2"),
        ("cublasLt::splitKreduce_kernel<32, 16, int, float, __half, fal + 2 x cudnn::fusion::convert_dq_to_16bits<true>",
         "splitKreduce_kernel + 2 x convert_dq_to_16bits"),
        ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, float>(int, float, c10::BFl",
         "vectorized_layer_norm_kernel"),
        ("a + b + c + d + e + f", "a + b + c + d and 2 more"),
        ("<unnamed>", "<unnamed>"),
    ],
)  # fmt: skip
def test_names(kept: str, text: str) -> None:
    assert kernels_text(kept) == text


def test_a_long_name_is_cut() -> None:
    assert len(kernels_text("x" * 400)) == MAX_NAME and kernels_text("x" * 400).endswith("...")
