"""FLUX.1 and Z-Image, tiny and random, in the very layouts their weights come in.

The pipelines of diffusers write them. Their base resolution, which no configuration names, is
lowered to 32×32 pixels in sfumato.json.
"""

import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from tokenizers import pre_tokenizers
from transformers import CLIPTextModel, Qwen2Tokenizer, Qwen3Config, Qwen3Model

from tests.layouts.parts import clip_text, clip_tokenizer, t5_encoder, t5_tokenizer, vae

WIDTH = 32  # of every text encoder's states
CHAT = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content"
    " + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
"""What Qwen3's template does with one message."""


def flux(folder: Path, *, dev: bool = True) -> Path:
    """Write FLUX.1 dev or schnell and return its folder."""
    torch.manual_seed(5)
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=dev,
        axes_dims_rope=(4, 6, 6),
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if dev else 1.0,
            use_dynamic_shifting=dev,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=16,  # 256 and 4096 of images of 1024×1024
            max_image_seq_len=128,
        ),
        vae=_flow_vae(),
        text_encoder=CLIPTextModel(clip_text(WIDTH)),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=t5_encoder(WIDTH),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)
    return _small(folder)


def z_image(folder: Path) -> Path:
    """Write Z-Image-Turbo and return its folder."""
    torch.manual_seed(6)
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=WIDTH,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[600, 96, 96],
    )
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token)  # zeros would hide where it is
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_flow_vae(),
        text_encoder=Qwen3Model(_qwen3()),
        tokenizer=_qwen_tokenizer(),
        transformer=transformer,
    ).save_pretrained(folder, safe_serialization=True)
    return _small(folder)


def _small(folder: Path) -> Path:
    (folder / "sfumato.json").write_text(json.dumps({"width": 32, "height": 32}))
    return folder


def _flow_vae() -> AutoencoderKL:
    return vae(
        0.3611,
        latent_channels=16,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _qwen3() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=300,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        pad_token_id=0,
    )


def _qwen_tokenizer() -> Qwen2Tokenizer:
    """Return Qwen's tokenizer with bytes for a vocabulary and one merge."""
    words = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "re"]
    return Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate(words)},
        merges=[("r", "e")],
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=CHAT,
        model_max_length=1024,
    )
