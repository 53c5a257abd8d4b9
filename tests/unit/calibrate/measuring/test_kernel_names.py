"""Families of kernels, by names that an H200 ran (benchmarks/h200/gemm/random.jsonl.gz)."""

from __future__ import annotations

import pytest

from shapewright.calibrate.measuring.kernel_names import families, family, is_triton, kernels_of, main_kernel


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvjet_sm90_tst_160x256_64x3_2x1_v_bz_coopA_NTN", "nvjet sm90"),
        ("nvjet_sm90_tst_16x64_64x16_4x1_v_bz_splitK_TNN + cublasLt::splitKreduce_kernel", "nvjet sm90"),
        ("cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256_64x3_nn_align2", "cutlass sm80 align2"),
        ("void cutlass::Kernel2<cutlass_75_tensorop_f16_s1688gemm_f16_256x128_nn_align1>", "cutlass sm75 align1"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_aligna4_alignc4_execute", "xmma sm90 align4"),
        ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x3_nn", "gemm sm80"),
        ("std::enable_if<!", "gemv"),
        ("gemv2T_kernel_val", "gemv"),
        ("gemmSN_TN_kernel", "gemmsn"),
        ("triton_poi_fused_constant_pad_nd_0 + 2 x nvjet_sm90_tst_128x64", "nvjet sm90"),
        ("dot_kernel + reduce_1Block_kernel", "dot_kernel"),
        ("", ""),
    ],
)
def test_a_family_is_library_generation_and_alignment(name: str, expected: str) -> None:
    assert family(name) == expected
    assert family(expected) == expected


def test_counted_kernels_are_taken_apart() -> None:
    assert kernels_of("3 x triton_a + b") == ["triton_a", "b"]
    assert is_triton("triton_a") and not is_triton("nvjet")
    assert main_kernel("triton_poi_fused_mm_0 + cublasLt::splitKreduce_kernel + nvjet_sm90") == "nvjet_sm90"


def test_families_are_counted() -> None:
    names = ["nvjet_sm90_a"] * 3 + ["cutlass_80_tensorop_align8", ""]
    assert families(names) == "nvjet sm90 75 %, cutlass sm80 align8 25 %"
    assert families([*names, "gemv"]) == "nvjet sm90 60 %, cutlass sm80 align8 20 % and others"
    assert families(["nvjet_sm90_a", "nvjet_sm90_b"]) == "nvjet sm90"
    assert families(["", ""]) == ""
