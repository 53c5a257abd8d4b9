"""A model that the kernels would get wrong is refused, with the reason; one that only looks unusual is not."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import GemmaConfig, GemmaForCausalLM, LlamaForCausalLM
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama

from shapewright.decode.families import read_any_dtype, read_decoder
from shapewright.decode.layers import Unsupported
from unit.decode.families.agreement import assert_agrees
from unit.decode.tiny import TINY, prompt, tiny_gpt2, tiny_llama, tiny_neox, tiny_opt


def reason(model: object) -> str:
    with pytest.raises(Unsupported) as refused:
        read_decoder(model)
    return str(refused.value)


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_family_is_read_in_every_dtype_of_the_kernels(family: str, dtype: torch.dtype) -> None:
    decoder = read_decoder(TINY[family]().to(dtype))
    assert (decoder.family, decoder.dtype, len(decoder.layers)) == (family, dtype, 2)


def test_not_a_model() -> None:
    assert reason("llama-2-7b") == "it is not a Hugging Face model (its class is str)"
    assert reason(nn.Linear(2, 2)) == "it is not a Hugging Face model (its class is Linear)"


def test_an_unknown_family() -> None:
    sizes = {"vocab_size": 11, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    model = GemmaForCausalLM(GemmaConfig(**sizes, num_key_value_heads=1))
    assert reason(model) == "its family, gemma, is not among the known ones: llama, mistral, qwen2, qwen3, opt, gpt_neox, gpt2"


def test_a_model_without_a_head() -> None:
    assert reason(tiny_llama().model) == "it has LlamaModel where a plain LlamaForCausalLM is expected"


class WithOtherForward(LlamaForCausalLM):
    """What a user's subclass may be."""


def test_a_subclass_of_a_model() -> None:
    model = tiny_llama()
    model.__class__ = WithOtherForward
    assert reason(model) == "it has WithOtherForward where a plain LlamaForCausalLM is expected"


INNER = {
    "model": tiny_llama,
    "model.layers.1": tiny_llama,
    "model.layers.1.self_attn": tiny_llama,
    "model.layers.1.self_attn.q_proj": tiny_llama,
    "model.layers.1.self_attn.o_proj": tiny_llama,
    "model.layers.1.mlp": tiny_llama,
    "model.layers.1.mlp.gate_proj": tiny_llama,
    "model.layers.1.mlp.act_fn": tiny_llama,
    "model.layers.1.input_layernorm": tiny_llama,
    "model.layers.1.post_attention_layernorm": tiny_llama,
    "model.norm": tiny_llama,
    "model.rotary_emb": tiny_llama,
    "model.embed_tokens": tiny_llama,
    "lm_head": tiny_llama,
    "model.decoder": tiny_opt,
    "model.decoder.embed_positions": tiny_opt,
    "model.decoder.layers.0.self_attn": tiny_opt,
    "model.decoder.layers.0.fc2": tiny_opt,
    "model.decoder.layers.0.final_layer_norm": tiny_opt,
    "gpt_neox": tiny_neox,
    "gpt_neox.layers.0": tiny_neox,
    "gpt_neox.layers.0.attention": tiny_neox,
    "gpt_neox.layers.0.mlp": tiny_neox,
    "gpt_neox.rotary_emb": tiny_neox,
    "transformer": tiny_gpt2,
    "transformer.h.0": tiny_gpt2,
    "transformer.h.0.attn": tiny_gpt2,
    "transformer.h.0.attn.c_attn": tiny_gpt2,
    "transformer.h.0.mlp": tiny_gpt2,
    "transformer.h.0.mlp.c_proj": tiny_gpt2,
}


@pytest.mark.parametrize("name", INNER)
def test_a_module_of_another_class(name: str) -> None:
    model = INNER[name]()
    module = model.get_submodule(name)
    module.__class__ = type("Special", (type(module),), {})
    assert "Special" in reason(model)


@pytest.mark.parametrize("name", INNER)
def test_a_module_with_another_forward(name: str) -> None:
    model = INNER[name]()
    module = model.get_submodule(name)
    module.forward = module.forward
    assert reason(model) == f"the forward of its {name} was replaced"


def test_a_class_with_another_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_llama.LlamaAttention, "forward", lambda self, x, **_: (x, None))
    assert reason(tiny_llama()) == f"the forward of its LlamaAttention was replaced by one of {__name__}"


def test_an_activation_with_another_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiLUActivation, "forward", lambda self, x: x)
    assert reason(tiny_llama()) == f"the forward of its SiLUActivation was replaced by one of {__name__}"


def test_a_class_put_in_the_place_of_transformers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_llama, "LlamaRMSNorm", type("Fast", (modeling_llama.LlamaRMSNorm,), {"__module__": "fast.norms"}))
    assert reason(tiny_llama()) == "its Fast was replaced by one of fast.norms"


def test_a_parametrised_weight() -> None:
    model = tiny_llama()
    parametrize.register_parametrization(model.model.layers[0].mlp.up_proj, "weight", nn.Tanh())
    assert reason(model) == "it has ParametrizedLinear where a plain Linear is expected"


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_hook_on_a_module_inside(kind: str) -> None:
    model = tiny_llama()
    handle = getattr(model.model.layers[1].mlp, kind)(lambda *_: None)
    assert reason(model) == "its model.layers.1.mlp has a forward hook, which would not run"
    handle.remove()
    assert_agrees(model)


def test_hooks_that_transformers_leaves_behind_do_not_count() -> None:
    model = tiny_llama()
    model(prompt(model), output_hidden_states=True, output_attentions=False)
    assert model.model.layers[0]._forward_hooks
    model.enable_input_require_grads()
    assert model.model.embed_tokens._forward_hooks
    assert_agrees(model)


def test_a_hook_on_the_model_itself_still_runs() -> None:
    model = tiny_llama()
    model.register_forward_hook(lambda *_: None)
    model.forward = model.forward
    assert read_decoder(model).family == "llama"


class Adapter(nn.Linear):
    """Stands for a layer of PEFT, which keeps the linear that it adapts."""

    def __init__(self, base_layer: nn.Linear) -> None:
        super().__init__(2, 2)
        self.base_layer = base_layer


Adapter.__module__ = "peft.tuners.lora.layer"


def test_unmerged_adapters() -> None:
    model = tiny_llama()
    layer = model.model.layers[0].self_attn
    plain, layer.q_proj = layer.q_proj, Adapter(layer.q_proj)
    assert reason(model) == "it has unmerged adapters: merge them with merge_and_unload()"
    assert reason(nn.Sequential(model)) == "it has unmerged adapters: merge them with merge_and_unload()"
    layer.q_proj = plain
    assert_agrees(model)


def test_a_wrapper_of_peft() -> None:
    wrapper = nn.Sequential(tiny_llama())
    wrapper.__class__ = type("PeftModelForCausalLM", (nn.Sequential,), {"__module__": "peft.peft_model"})
    assert reason(wrapper) == "it is wrapped by PEFT (PeftModelForCausalLM)"


@pytest.mark.parametrize(("name", "value"), [("is_quantized", True), ("hf_quantizer", object())])
def test_a_quantised_model(name: str, value: object) -> None:
    model = tiny_llama()
    setattr(model, name, value)
    assert reason(model) == "it is quantised"


def test_a_quantised_configuration() -> None:
    model = tiny_llama()
    model.config.quantization_config = {"quant_method": "gptq"}
    assert reason(model) == "it is quantised"


def test_linears_of_a_quantiser() -> None:
    model = tiny_llama()
    model.lm_head.__class__ = type("Linear8bitLt", (nn.Linear,), {})
    assert reason(model) == "it has Linear8bitLt where a plain Linear is expected"


class Packed(torch.Tensor):
    """Stands for the tensors that torchao and DTensor put into a plain linear."""


def test_linears_of_torch_s_own_quantiser() -> None:
    model = tiny_llama()
    model.lm_head.__class__ = type("Linear", (nn.Linear,), {"__module__": "torch.ao.nn.quantized.dynamic"})
    assert reason(model) == "it has torch.ao.nn.quantized.dynamic.Linear where a plain Linear is expected"


def test_weights_that_are_no_plain_tensors() -> None:
    model = tiny_llama()
    linear = model.model.layers[0].mlp.down_proj
    linear.weight = nn.Parameter(linear.weight.detach().as_subclass(Packed))
    assert reason(model) == "its weights are not plain tensors (model.layers.0.mlp.down_proj.weight is a Packed)"


def test_weights_that_are_not_contiguous() -> None:
    model = tiny_llama()
    linear = model.model.layers[0].mlp.down_proj
    linear.weight = nn.Parameter(linear.weight.detach().T.contiguous().T)
    assert reason(model) == "its weights are not contiguous (model.layers.0.mlp.down_proj.weight)"


def test_a_model_split_over_gpus() -> None:
    model = tiny_llama()
    model._tp_size = 1
    assert read_decoder(model).family == "llama"
    model._tp_size = 2
    assert reason(model) == "it is split over several GPUs (tensor parallel)"


def test_weights_that_are_not_loaded() -> None:
    model = tiny_llama()
    model.lm_head.to("meta")
    assert reason(model) == "some of its weights are not loaded (they are on the meta device)"


def test_weights_on_several_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    class There(nn.Parameter):
        device = torch.device("cuda", 1)

    model = tiny_llama()
    weights = [*model.parameters(), There(torch.zeros(2))]
    monkeypatch.setattr(model, "parameters", lambda: iter(weights))
    assert reason(model) == "its weights lie on several devices (cpu, cuda:1)"


def test_dtypes_that_the_kernels_do_not_take() -> None:
    model = tiny_opt().double()
    assert reason(model) == "its weights are float64, not one of bfloat16, float16, float32"
    assert read_any_dtype(model).dtype == torch.float64


def test_weights_of_two_dtypes() -> None:
    model = tiny_llama().bfloat16()
    model.lm_head.float()
    assert reason(model) == "its weights mix dtypes (bfloat16, float32)"


@pytest.mark.parametrize(("head_dim", "is_known"), [(6, False), (8, True), (256, True), (258, False)])
def test_head_sizes(head_dim: int, is_known: bool) -> None:
    model = tiny_llama(head_dim=head_dim)
    if is_known:
        assert_agrees(model)
    else:
        assert reason(model) == f"its head_dim is {head_dim}, and the kernels take 8 to 256"


def test_layers_with_different_heads() -> None:
    model = tiny_llama()
    model.model.layers[1].self_attn = copy.deepcopy(tiny_llama(num_key_value_heads=3).model.layers[1].self_attn)
    assert reason(model) == "its layers do not have the same heads"


def test_layers_of_different_widths() -> None:
    """A pruned model: steps share one buffer for all layers, and a wider one would be written past its end."""
    model = tiny_llama()
    size = model.config.intermediate_size
    model.model.layers[1].mlp = copy.deepcopy(tiny_llama(intermediate_size=size + 16).model.layers[1].mlp)
    assert reason(model) == "its layers do not have the same intermediate_size"


def test_biases_of_some_parts_alone() -> None:
    """One launch makes queries, keys and values."""
    model = tiny_llama(attention_bias=True)
    assert_agrees(model)
    model.model.layers[1].self_attn.k_proj.bias = None
    assert reason(model) == "some of its query, key and value (or gate and up) products have a bias and some have none"


@pytest.mark.parametrize(("name", "sizes"), [("v_proj", (60, 30)), ("o_proj", (50, 60)), ("q_proj", (60, 50))])
def test_weights_that_do_not_fit_their_heads(name: str, sizes: tuple[int, int]) -> None:
    model = tiny_llama()
    setattr(model.model.layers[1].self_attn, name, nn.Linear(*sizes, bias=False))
    assert reason(model) == "its attention weights do not fit its heads"


def test_query_heads_that_are_no_multiple_of_key_heads() -> None:
    model = tiny_llama()
    for layer in model.model.layers:
        layer.self_attn.q_proj, layer.self_attn.o_proj = nn.Linear(60, 50, bias=False), nn.Linear(50, 60, bias=False)
    assert reason(model) == "its attention weights do not fit its heads"


def test_a_rotary_embedding_wider_than_a_head() -> None:
    model = tiny_neox()
    model.gpt_neox.rotary_emb.inv_freq = torch.ones(13)
    assert reason(model) == "its attention weights do not fit its heads"


def test_a_model_without_layers() -> None:
    assert reason(tiny_gpt2(n_layer=0)) == "it has no layers"


@pytest.mark.parametrize(("family", "blocks"), [("llama", "model.layers"), ("gpt2", "transformer.h"), ("gpt_neox", "gpt_neox.layers")])
def test_layers_taken_out_before_others(family: str, blocks: str) -> None:
    model = TINY[family]()
    del model.get_submodule(blocks)[0]
    model.config.num_hidden_layers = 1
    assert reason(model) == "its layers are not numbered from 0 on (layer 0 calls itself 1)"


@pytest.mark.parametrize(
    ("make", "field"),
    [(tiny_llama, "hidden_act"), (tiny_opt, "activation_function"), (tiny_neox, "hidden_act"), (tiny_gpt2, "activation_function")],
)
def test_an_unknown_activation(make, field: str) -> None:
    assert reason(make(**{field: "quick_gelu"})) == "its activation is QuickGELUActivation, not one of silu, relu, gelu, gelu_tanh"


def test_an_attention_that_someone_registered() -> None:
    model = tiny_llama()
    model.config._attn_implementation = "with_sinks"
    assert reason(model) == 'its attention runs through "with_sinks", which may compute something else'
    for known in ("eager", "sdpa", "flash_attention_2", "kernels-community/flash-attn3"):
        model.config._attn_implementation = known
        assert read_decoder(model).family == "llama"
