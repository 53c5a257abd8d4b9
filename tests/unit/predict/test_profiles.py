"""Which constants a GPU and a library run on: their own, or those of the nearest relative, marked as such."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from shapewright.errors import InputError, MissingError
from shapewright.hardware import gpu_names, load_gpu
from shapewright.hardware.gpu import ARCHITECTURES
from shapewright.predict.gemm import PLAIN, predict_gemm
from shapewright.predict.gemm_classes import CLASSES
from shapewright.predict.profiles import FOLDER, load_profile

OWN = {
    "a100-40gb": "cuda11.7", "a100-80gb": "cuda13", "h100": "cuda13", "h200": "cuda13", "mi210": "rocm6", "mi250x": "rocm5.6",
    "mi300x": "rocm6", "v100-16gb": "cuda11.3",
}  # fmt: skip


@pytest.mark.parametrize("gpu", gpu_names())
def test_every_gpu_has_a_profile_for_each_of_its_libraries(gpu: str) -> None:
    loaded = load_gpu(gpu)
    assert loaded.libraries
    for library in loaded.libraries:
        profile = load_profile(loaded, library)
        assert (profile.gpu, profile.library) == (gpu, library)
        assert set(profile.menus) - {PLAIN} == set(CLASSES)
        is_own = OWN.get(gpu) == library
        assert (profile.provenance == "calibrated") == is_own == (profile.inherited_from is None)
    assert load_profile(loaded) == load_profile(loaded, loaded.libraries[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_gpu_of_any_known_architecture_inherits(architecture: str) -> None:
    stranger = replace(load_gpu("h200"), name="stranger", architecture=architecture, libraries=())
    profile = load_profile(stranger)
    assert profile.provenance == "datasheet" and profile.inherited_from in {path.stem for path in FOLDER.glob("*.json")}
    assert {menu.num_rows for menu in profile.menus.values()} == {0}
    assert {menu.origin for menu in profile.menus.values()} == {profile.inherited_from}


def test_an_unknown_architecture_cannot_be_predicted() -> None:
    stranger = replace(load_gpu("h200"), name="stranger", architecture="rubin", libraries=())
    with pytest.raises(MissingError, match="no profile is known for architecture rubin of stranger; calibrate on the GPU itself"):
        load_profile(stranger)


def test_relatives_exist_and_name_gpus_that_exist() -> None:
    table = tomllib.loads((FOLDER / "inherit.toml").read_text(encoding="utf-8"))
    shipped = {path.stem for path in FOLDER.glob("*.json")}
    assert set(table["gpu"].values()) | set(table["architecture"].values()) <= shipped
    assert set(table["gpu"]) <= set(gpu_names())
    assert set(table["architecture"]) == set(ARCHITECTURES)
    # The vendor stays the same, or kernels of another library would stand in.
    for gpu, parent in table["gpu"].items():
        assert load_gpu(gpu).architecture == load_gpu(parent.split(".")[0]).architecture
    for architecture, parent in table["architecture"].items():
        assert load_gpu(parent.split(".")[0]).vendor == ("amd" if architecture.startswith("cdna") else "nvidia")


def test_an_unknown_library_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown library for a100-40gb 'cuda12'; did you mean cuda13"):
        load_profile(load_gpu("a100-40gb"), "cuda12")


def test_a_users_gpu_scales_the_constants_by_its_own_datasheet() -> None:
    h100 = load_gpu("h100")
    half = replace(
        h100, name="half", libraries=(), memory_bytes_per_s=h100.memory_bytes_per_s / 2, num_sms=h100.num_sms // 2,
        flops_per_s={name: rate / 2 for name, rate in h100.flops_per_s.items()},
    )  # fmt: skip
    whole, halved = (predict_gemm(gpu, m=[8192, 8], n=[8192, 11008], k=[8192, 4096]) for gpu in (h100, half))
    assert halved.time_s / whole.time_s == pytest.approx(2, rel=0.12)
    assert set(halved.provenance) == {"datasheet"}
