"""Every key of a bundle's configurations but its scheduler's, and what we do with it."""

from collections.abc import Sequence

from diffusion.config import FLAG, HARMLESS, WORD, Key, Table, each, either, number, only, whole

CHANNELS = whole(1, 16384)
LAYERS = whole(1, 64)
HEADS = whole(1, 256)
DEPTH = whole(0, 64)  # distilled networks leave some out
DEPTHS = each(either(DEPTH, each(DEPTH)))
BLOCKS = each(WORD)
OFF = only(False, None)
NONE = only(None)

UNET: Table = {
    "_class_name": only("UNet2DConditionModel").needed,
    "sample_size": whole(1, 1024).needed,
    "in_channels": CHANNELS.needed,
    "out_channels": CHANNELS,
    "center_input_sample": FLAG,
    "flip_sin_to_cos": FLAG,
    "freq_shift": number(-1000, 1000),
    "down_block_types": BLOCKS,
    "mid_block_type": WORD.nullable,
    "up_block_types": BLOCKS,
    "only_cross_attention": either(FLAG, each(FLAG)),
    "block_out_channels": each(CHANNELS).needed,
    "layers_per_block": either(LAYERS, each(LAYERS)),
    "downsample_padding": whole(0, 16),
    "mid_block_scale_factor": number(-1e6, 1e6),
    "dropout": HARMLESS,  # of training
    "act_fn": WORD,
    "norm_num_groups": whole(1, 16384).nullable,
    "norm_eps": number(0, 1),
    "cross_attention_dim": CHANNELS.needed,
    "transformer_layers_per_block": either(DEPTH, DEPTHS),
    "reverse_transformer_layers_per_block": DEPTHS.nullable,
    "attention_head_dim": either(HEADS, each(HEADS)),
    "num_attention_heads": either(HEADS, each(HEADS)).nullable,
    "dual_cross_attention": OFF,  # diffusers' own blocks cannot run it
    "use_linear_projection": FLAG,
    "addition_embed_type": only(None, "text", "text_time"),
    "addition_embed_type_num_heads": HEADS,
    "addition_time_embed_dim": CHANNELS.nullable,
    "projection_class_embeddings_input_dim": whole(1, 65536).nullable,
    "upcast_attention": FLAG.nullable,
    "resnet_time_scale_shift": WORD,
    "resnet_skip_time_act": FLAG,
    "resnet_out_scale_factor": number(1e-6, 1e6),
    "time_embedding_type": WORD,
    "time_embedding_dim": CHANNELS.nullable,
    "time_embedding_act_fn": WORD.nullable,
    "timestep_post_act": WORD.nullable,
    "conv_in_kernel": whole(1, 31),
    "conv_out_kernel": whole(1, 31),
    "mid_block_only_cross_attention": FLAG.nullable,
    "cross_attention_norm": WORD.nullable,
    # Inputs beside a prompt, a size and a timestep.
    "class_embed_type": NONE,
    "class_embeddings_concat": OFF,
    "num_class_embeds": NONE,
    "encoder_hid_dim": NONE,
    "encoder_hid_dim_type": NONE,
    "time_cond_proj_dim": whole(4, 16384).nullable,
    "attention_type": only("default"),
    # Of a moving average of the weights that was saved as a network.
    **dict.fromkeys(
        (
            "decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step",
            "use_ema_warmup",
        ),
        HARMLESS,
    ),
}  # fmt: skip

PIXEL_UNET: Table = {
    "_class_name": only("UNet2DModel").needed,
    "sample_size": either(whole(1, 4096), each(whole(1, 4096), 2)).needed,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "center_input_sample": FLAG,
    "time_embedding_type": only("positional"),
    "time_embedding_dim": CHANNELS.nullable,
    "freq_shift": number(-1000, 1000),
    "flip_sin_to_cos": FLAG,
    "down_block_types": BLOCKS,
    "mid_block_type": WORD.nullable,
    "up_block_types": BLOCKS,
    "block_out_channels": each(CHANNELS).needed,
    "layers_per_block": LAYERS,
    "mid_block_scale_factor": number(-1e6, 1e6),
    "downsample_padding": whole(0, 16),
    "downsample_type": only("conv", "resnet"),
    "upsample_type": only("conv", "resnet"),
    "dropout": HARMLESS,  # of training
    "act_fn": WORD,
    "attention_head_dim": CHANNELS.nullable,
    "norm_num_groups": CHANNELS,
    "attn_norm_num_groups": CHANNELS.nullable,
    "norm_eps": number(0, 1),
    "resnet_time_scale_shift": WORD,
    "add_attention": FLAG,
    "class_embed_type": only(None, "timestep"),
    "num_class_embeds": whole(1, 2**20).nullable,
    "num_train_timesteps": HARMLESS,  # of a time embedding that is not served
}

VAE: Table = {
    "_class_name": only("AutoencoderKL").needed,
    "in_channels": only(3),
    "out_channels": only(3),
    "down_block_types": BLOCKS,
    "up_block_types": BLOCKS,
    "block_out_channels": each(CHANNELS).needed,
    "layers_per_block": LAYERS,
    "act_fn": WORD,
    "latent_channels": CHANNELS,
    "norm_num_groups": whole(1, 16384),
    "sample_size": HARMLESS,  # of tiles
    "scaling_factor": number(1e-6, 1e6),
    "shift_factor": number(-1e6, 1e6).nullable,
    "force_upcast": FLAG.nullable,
    "use_quant_conv": FLAG,
    "use_post_quant_conv": FLAG,
    "mid_block_add_attention": FLAG,
    # Of SDXL's pipelines alone (diffusion/parts/open.py).
    "latents_mean": each(number(-1e6, 1e6), 256).nullable,
    "latents_std": each(number(1e-6, 1e6), 256).nullable,
}

TINY_VAE: Table = {
    "_class_name": only("AutoencoderTiny").needed,
    "in_channels": only(3),
    "out_channels": only(3),
    "encoder_block_out_channels": each(CHANNELS),
    "decoder_block_out_channels": each(CHANNELS),
    "act_fn": WORD,
    "upsample_fn": WORD,
    "latent_channels": CHANNELS,
    "upsampling_scaling_factor": whole(1, 8),
    "num_encoder_blocks": each(whole(1, 64)),
    "num_decoder_blocks": each(whole(1, 64)),
    "block_out_channels": each(CHANNELS),
    # Of an image as bytes, and of what the decoder does by itself.
    **dict.fromkeys(("latent_magnitude", "latent_shift", "force_upcast"), HARMLESS),
    "scaling_factor": only(1, 1.0),
    "shift_factor": only(0, 0.0),
}

CODEC: Table = {
    "_class_name": only("PatchPCACodec").needed,
    "patch_size": whole(1, 64).needed,
    "latent_channels": CHANNELS.needed,
}

TRANSFORMERS = dict.fromkeys(
    (
        "bad_words_ids", "begin_suppress_tokens", "chunk_size_feed_forward",
        "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample",
        "dropout", "dtype", "early_stopping", "encoder_no_repeat_ngram_size",
        "exponential_decay_length_penalty", "finetuning_task", "forced_bos_token_id",
        "forced_eos_token_id", "gradient_checkpointing", "id2label", "initializer_factor",
        "initializer_range", "is_encoder_decoder", "label2id", "length_penalty", "max_length",
        "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
        "num_return_sequences", "output_attentions", "output_hidden_states", "output_scores",
        "prefix", "problem_type", "remove_invalid_values", "repetition_penalty", "return_dict",
        "return_dict_in_generate", "sep_token_id", "suppress_tokens", "task_specific_params",
        "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings",
        "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers_version",
        "typical_p", "use_bfloat16", "use_cache",
    ),
    HARMLESS,
)  # fmt: skip
"""What any transformers configuration may carry, or once did; a text encoder reads none of it."""
TOKEN: Key = whole(0, 2**20).nullable

TEXT_ENCODER: Table = {
    **TRANSFORMERS,
    "architectures": Key(
        lambda v: v in (["CLIPTextModel"], ["CLIPTextModelWithProjection"]),
        "CLIPTextModel and CLIPTextModelWithProjection",
        required=True,
    ),
    "model_type": only("clip_text_model", "clip"),
    "attention_dropout": HARMLESS,  # of training
    "hidden_size": CHANNELS.needed,
    "intermediate_size": whole(1, 65536),
    "projection_dim": CHANNELS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": whole(2, 4096).needed,
    "vocab_size": whole(1, 2**20).needed,
    "hidden_act": WORD,
    "layer_norm_eps": number(0, 1),
    "bos_token_id": TOKEN,
    "eos_token_id": TOKEN,
    "pad_token_id": TOKEN,
    "is_decoder": OFF,
    "add_cross_attention": OFF,
    "pruned_heads": only({}, None),
    "quantization_config": NONE,
}

_PART = Key(
    lambda v: isinstance(v, list) and len(v) == 2 and all(isinstance(each, str) for each in v),
    "a pair of library and class",
)
_ABSENT = Key(lambda v: v in (None, [None, None]), "null")


def index_keys(*parts: str, optional: Sequence[str] = ()) -> Table:
    """Return the keys of a model_index.json with these parts beside the pipeline's name.

    Parts that look at finished images, or at images that a request brings, change none.
    """
    looking = (
        "add_watermarker", "feature_extractor", "image_encoder", "requires_safety_checker",
        "safety_checker",
    )  # fmt: skip
    named = {part: _PART for part in ("scheduler", *parts)}
    return (
        {"_class_name": WORD}
        | dict.fromkeys(OTHER_PARTS, _ABSENT)
        | dict.fromkeys(optional, either(_PART, _ABSENT))
        | named
        | dict.fromkeys(looking, HARMLESS)
    )


OTHER_PARTS = (
    "controlnet", "prior", "text_encoder_2", "text_encoder_3", "tokenizer_2", "tokenizer_3",
    "transformer", "unet", "unet_2", "vae",
)  # fmt: skip
"""Parts that some pipelines have; where they are not of a layout they have to be null."""

UNET_INDEX: Table = {
    **index_keys(
        "unet", "vae", "text_encoder", "tokenizer", optional=("text_encoder_2", "tokenizer_2")
    ),
    "force_zeros_for_empty_prompt": FLAG.nullable,
    "requires_aesthetics_score": OFF,
}

PIXEL_INDEX: Table = {
    **index_keys("unet"),
    "id2label": Key(
        lambda v: isinstance(v, dict) and all(k.isdecimal() and WORD.fits(w) for k, w in v.items()),
        "a word by class number",
    ),
}
