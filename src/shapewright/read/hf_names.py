"""Which `model_type`s are read, which are told apart only by name, and why the others are refused.

The names are those of transformers 5.17. A test holds every causal and masked language model of it against these tables, so that a new
one is either read or refused with its reason, never taken for something else.
"""

from __future__ import annotations

from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Other names of a family: checkpoints of vision-language models keep the text model's keys at the top, or under the text name.
ALIASES: Mapping[str, str] = {
    "RefinedWeb": "falcon", "RefinedWebModel": "falcon", "code_llama": "llama", "gemma3": "gemma3_text", "gpt-sw3": "gpt2",
    "qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2", "qwen3_vl_text": "qwen3",
}  # fmt: skip

#: Keys under which multimodal configs hold their text model, and the text model's type where it does not say so itself.
TEXT_KEYS = ("text_config", "llm_config", "language_config")
TEXT_TYPES: Mapping[str, str] = {
    "aya_vision": "cohere2", "gemma3": "gemma3_text", "idefics2": "mistral", "idefics3": "llama", "internvl": "qwen2",
    "llava": "llama", "llava_next": "llama", "llava_next_video": "llama", "llava_onevision": "qwen2", "mistral3": "mistral",
    "paligemma": "gemma", "qwen2_5_vl": "qwen2", "qwen2_vl": "qwen2", "qwen3_vl": "qwen3", "shieldgemma2": "gemma3_text",
    "smolvlm": "llama", "video_llava": "llama", "vipllava": "llama",
}  # fmt: skip

ENCODER_DECODERS = _names(
    """
    bart bigbird_pegasus blenderbot blenderbot-small encoder-decoder fsmt led longt5 m2m_100 marian mbart moonshine mt5 mvp nllb-moe nougat
    pegasus pegasus_x pix2struct plbart pop2piano prophetnet seamless_m4t seamless_m4t_v2 speech-encoder-decoder speech_to_text speecht5
    switch_transformers t5 t5gemma t5gemma2 trocr udop umt5 vision-encoder-decoder whisper musicgen musicgen_melody florence2
    """
)

#: Models whose layers, all or some, are recurrent, convolutional or linear attention.
NOT_TRANSFORMERS = _names(
    """
    bamba falcon_h1 falcon_mamba granitemoehybrid griffin jamba kimi_linear lfm2 lfm2_moe lfm2_vl mamba mamba2 minimax minimax_m3_vl_text
    nemotron_h olmo_hybrid plamo2 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_next qwen4_exp qwen4_exp_text recurrent_gemma
    retnet rwkv rwkv6 rwkv7 xlstm zamba zamba2 zaya fnet
    """
)

#: Language models of transformers, and text or other parts of its multimodal ones, for which this reader has no entry.
NOT_COVERED = _names(
    """
    EvollaModel afmoe aimv2_text_model aimv2_vision_model albert apertus aria_text axk1 axk2 bert-generation big_bird biogpt bitnet blt
    blt_global_transformer blt_local_decoder blt_local_encoder blt_patcher chameleon codegen cohere2_moe cohere_compass_text convbert
    cosmos3_edge_text cpmant csm csm_depth_decoder_model ctrl cwm data2vec-text dbrx deberta deberta-v2 deepseek_ocr2_encoder
    deepseek_ocr2_text deepseek_v32 deepseek_v4 diffllama diffusion_gemma_text doge dots1 emu3 emu3_text_model ernie ernie4_5_moe
    ernie4_5_vl_moe_text ernie4_5_vl_moe_vision esm esmc eurobert evolla exaone4 exaone_moe flaubert flex_olmo funnel fuyu gemma3n
    gemma3n_audio gemma3n_text gemma3n_vision gemma4 gemma4_assistant gemma4_audio gemma4_text gemma4_unified gemma4_unified_assistant
    gemma4_unified_audio gemma4_unified_text gemma4_unified_vision gemma4_vision git glm glm4_moe glm4_moe_lite glm4v_moe_text
    glm4v_moe_vision glm4v_text glm4v_vision glm5_next_text glm5_next_vision glm_image_text glm_moe_dsa glm_ocr_text glm_ocr_vision
    got_ocr2 gpt_neox_japanese granite4_vision_text granite_swa granitemoe granitemoe_swa granitemoeshared helium higgs_audio_v2
    hrm_text hunyuan_v1_moe hunyuan_vl_text hunyuan_vl_vision hy_v3 hy_v4 hyperclovax ibert idefics idefics2_perceiver inkling_audio
    inkling_text inkling_vision jais2 jetmoe jina_embeddings_v3 kyutai_speech_to_text laguna layoutlm llama4 llama4_text longcat_flash
    longformer luke megatron-bert mellum mimo_v2_flash minicpm3 minimax_m2 mistral4 mllama mllama_text_model mobilebert modernbert
    modernbert-decoder modernvbert moshi moshi_depth mpnet mra muse_glimmer_assistant muse_glimmer_text nanochat neomme neucodec
    nomic_bert nystromformer openai-gpt openai_privacy_filter paddleocr_vl_text pe_audio_encoder pe_audio_video_encoder pe_video_encoder
    perceiver phi4_multimodal qwen2_5_omni_talker qwen2_5_omni_text qwen3_omni_moe_talker_code_predictor qwen3_omni_moe_talker_text
    qwen3_omni_moe_text qwen3_vl_moe_text reformer rembert roberta-prelayernorm roc_bert roformer sapiens2 solar_open squeezebert
    step3p5 t5_gemma_module t5gemma2_decoder t5gemma2_text tapas timesfm timesfm2_5 vaultgemma vibevoice_acoustic_tokenizer
    vibevoice_acoustic_tokenizer_decoder vibevoice_acoustic_tokenizer_encoder voxtral_realtime_encoder voxtral_realtime_text xcodec2
    xglm xlm xlm-roberta-xl xlnet xmod yoso youtu
    """
)

#: Keys that show a model of unknown type to be something other than a dense Llama-like decoder.
FOREIGN_KEYS = _names(
    """
    attn_layer_indices block_configs conv_L_cache d_state ffn_config hybrid_override_pattern kv_lora_rank layers_block_type linear_attention
    linear_num_value_heads mamba_d_state moe_intermediate_size moe_num_experts num_experts num_local_experts n_routed_experts rwkv ssm_cfg
    ssm_state_size state_size time_step_rank moe num_routed_experts n_experts num_experts_per_tok moe_topk cross_attention_layers
    """
)

#: Endings of `architectures` that name a language model with its head, which is what is described.
LANGUAGE_MODEL_ENDINGS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForConditionalGeneration", "LMHeadCustomModel")
