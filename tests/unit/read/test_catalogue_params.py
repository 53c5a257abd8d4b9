"""The proof of the catalogue: every config builds, on the meta device, a transformers model of exactly our number of parameters."""

from __future__ import annotations

import pytest
import torch
import transformers

from shapewright.read import catalogue

CONFIGS = [entry for entry in map(catalogue.describe, catalogue.names()) if entry.config]
MASKED = ("bert", "roberta")

#: Parameters of the released models, as their pages on the Hub count them.
PUBLISHED = {
    "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
    "pythia-2.8b": 2_775_208_960, "pythia-6.9b": 6_857_302_016, "opt-6.7b": 6_658_473_984, "gpt-neox-20b": 20_554_567_680,
    "llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192, "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496, "llama-3.1-405b": 405_853_388_800, "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824,
    "mistral-7b": 7_241_732_096, "mistral-7b-v0.3": 7_248_023_552, "mixtral-8x7b": 46_702_792_704, "mixtral-8x22b": 140_630_071_296,
    "qwen2.5-7b": 7_615_616_512, "qwen3-0.6b": 596_049_920, "qwen3-30b-a3b": 30_532_122_624, "gemma-7b": 8_537_680_896,
    "gemma-2-9b": 9_241_705_984, "gemma-3-1b": 999_885_952, "phi-2": 2_779_683_840, "phi-4": 14_659_507_200,
    "olmo-2-1b": 1_484_916_736, "starcoder2-3b": 3_030_371_328, "tinyllama-1.1b": 1_100_048_384, "smollm3-3b": 3_075_098_624,
    "bloom-560m": 559_214_592, "mpt-7b": 6_649_286_656,
}  # fmt: skip

#: Billions as the papers and model cards round them: total, active.
ROUNDED = {
    "gpt3-175b": (175, 175), "mt-nlg-530b": (530, 530), "palm-540b": (540, 540), "deepseek-v3": (671, 38), "deepseek-v2": (236, 21),
    "mixtral-8x7b": (47, 13), "mixtral-8x22b": (141, 39), "qwen3-30b-a3b": (31, 3), "qwen3-235b-a22b": (235, 22),
    "qwen2-57b-a14b": (57, 14), "gpt-oss-120b": (117, 6), "gpt-oss-20b": (21, 4), "olmoe-1b-7b": (7, 1),
}  # fmt: skip


def built_parameters(entry: catalogue.CatalogueEntry) -> int:
    """Parameters of the model that transformers builds for the entry's config, each tied tensor once."""
    config = transformers.AutoConfig.for_model(**entry.config)
    kind = transformers.AutoModelForMaskedLM if entry.config["model_type"] in MASKED else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config)
    model.tie_weights()
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("entry", CONFIGS, ids=lambda entry: entry.name)
def test_parameters_equal_those_of_the_built_model(entry: catalogue.CatalogueEntry) -> None:
    assert catalogue.load(entry.name).shape.num_params == built_parameters(entry)


def test_enough_models_and_architectures_are_compared() -> None:
    assert len(CONFIGS) >= 100
    assert len({entry.config["model_type"] for entry in CONFIGS}) >= 30


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_published_counts(name: str, published: int) -> None:
    assert catalogue.load(name).shape.num_params == published


def test_deepseek_v3_leaves_out_what_is_no_weight_of_a_product() -> None:
    """The released checkpoint holds 256 load corrections for each of 58 routers, which transformers keeps as a buffer."""
    shape = catalogue.load("deepseek-v3").shape
    assert shape.num_params + 58 * 256 == 671_026_419_200
    assert shape.num_active_params == 37_552_282_624


@pytest.mark.parametrize(("name", "billions"), ROUNDED.items())
def test_rounded_totals_and_active_parameters(name: str, billions: tuple[int, int]) -> None:
    shape = catalogue.load(name).shape
    assert (round(shape.num_params / 1e9), round(shape.num_active_params / 1e9)) == billions
