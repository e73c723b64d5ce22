"""Networks that are served, tiny and random, in the very layouts their weights come in.

The pipelines of diffusers write them, so their files and keys are the real ones.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_text2img import (
    LatentConsistencyModelPipeline,
)
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_edm_dpmsolver_multistep import EDMDPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import import_protobuf

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
TRAILING = {"timestep_spacing": "trailing", "steps_offset": 1}
GUIDANCE_DIM = 16  # sines of the guidance scale
TOKENS = 77
NORMAL = 1  # of SentencePiece's kinds of pieces
KINDS = {"<pad>": 3, "</s>": 3, "<unk>": 2}  # others of its kinds


def sd15(
    folder: Path,
    *,
    kind: Any = StableDiffusionPipeline,
    scheduler: Any = None,
    text: CLIPTextConfig | None = None,
    **unet: Any,
) -> Path:
    """Write Stable Diffusion 1.5 of 32×32 pixels, or a kin of it, and return its folder."""
    torch.manual_seed(1)
    kind(
        vae=_vae(0.18215),
        text_encoder=CLIPTextModel(text or _text(32)),
        tokenizer=_tokenizer(folder),
        unet=_unet(32, cross=("CrossAttnDownBlock2D", "DownBlock2D"), **unet),
        scheduler=scheduler or PNDMScheduler(**NOISE, **PNDM),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def sd21_base(folder: Path, scheduler: Any = None) -> Path:
    """Write Stable Diffusion 2.1-base: OpenCLIP's 23 layers, heads by block, linear projections."""
    text = _text(32, "gelu")
    text.num_hidden_layers = 23
    return sd15(
        folder,
        scheduler=scheduler,
        text=text,
        attention_head_dim=[2, 4],
        use_linear_projection=True,
        upcast_attention=True,
    )


def sd21(folder: Path) -> Path:
    """Write Stable Diffusion 2.1: it predicts v, and its scheduler is DDIM's."""
    options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return sd21_base(folder, DDIMScheduler(**NOISE, **options, prediction_type="v_prediction"))


def zero_snr(folder: Path) -> Path:
    """Write a model of v whose schedule begins at noise alone."""
    options = {"clip_sample": False, **TRAILING}
    scheduler = DDIMScheduler(
        **NOISE, **options, prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    return sd15(folder, scheduler=scheduler)


def lcm(folder: Path) -> Path:
    """Write a latent consistency model, which takes the guidance scale as an input."""
    return sd15(
        folder,
        kind=LatentConsistencyModelPipeline,
        scheduler=LCMScheduler(**NOISE),
        time_cond_proj_dim=GUIDANCE_DIM,
    )


def sdxl(
    folder: Path,
    *,
    zeros_for_empty_prompt: bool = True,
    scheduler: Any = None,
    **unet: Any,
) -> Path:
    """Write Stable Diffusion XL of 32×32 pixels, or a kin of it, and return its folder."""
    torch.manual_seed(2)
    options = {"transformer_layers_per_block": (1, 2)} | unet
    # One time id is 6 numbers of 8 sines each; the pooled prompt comes beside them.
    network = _unet(
        64,
        cross=("DownBlock2D", "CrossAttnDownBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        use_linear_projection=True,
        **options,
    )
    StableDiffusionXLPipeline(
        vae=_vae(0.13025),
        text_encoder=CLIPTextModel(_text(32)),
        text_encoder_2=CLIPTextModelWithProjection(_text(32, "gelu")),
        tokenizer=_tokenizer(folder),
        tokenizer_2=_tokenizer(folder, pad="!"),
        unet=network,
        scheduler=scheduler
        or EulerDiscreteScheduler(
            **NOISE, timestep_spacing="leading", steps_offset=1, interpolation_type="linear"
        ),
        force_zeros_for_empty_prompt=zeros_for_empty_prompt,
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def turbo(folder: Path) -> Path:
    """Write SDXL-Turbo: its scheduler is Euler's with noise, spaced from the end."""
    return sdxl(folder, scheduler=EulerAncestralDiscreteScheduler(**NOISE, **TRAILING))


def lightning(folder: Path) -> Path:
    """Write SDXL-Lightning: its scheduler is Euler's, spaced from the end."""
    return sdxl(folder, scheduler=EulerDiscreteScheduler(**NOISE, **TRAILING))


def vega(folder: Path) -> Path:
    """Write a distilled SDXL: no middle block, and numbers of layers that differ on the way up."""
    return sdxl(
        folder,
        mid_block_type=None,
        attention_head_dim=[2, 4],
        transformer_layers_per_block=[1, [2]],
        reverse_transformer_layers_per_block=[[1, 2], 1],
    )


def playground(folder: Path) -> Path:
    """Write Playground v2.5: SDXL's network with the preconditioning of Karras et al. 2022."""
    options = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "solver_order": 2}
    sdxl(folder, scheduler=EDMDPMSolverMultistepScheduler(**options))
    vae = folder / "vae" / "config.json"
    latents = {"latents_mean": [-1.6, 1.1, 0.3, -0.2], "latents_std": [8.4, 5.9, 5.4, 5.3]}
    vae.write_text(json.dumps(json.loads(vae.read_text()) | latents))
    return folder


def lcm_xl(folder: Path) -> Path:
    """Write a latent consistency model of SDXL."""
    return sdxl(folder, scheduler=LCMScheduler(**NOISE), time_cond_proj_dim=GUIDANCE_DIM)


def ddpm(
    folder: Path,
    *,
    kind: Any = DDPMPipeline,
    scheduler: Any = None,
    **unet: Any,
) -> Path:
    """Write a model of pixels without prompts, of 16×16 pixels, and return its folder."""
    torch.manual_seed(3)
    options: dict[str, Any] = {"sample_size": 16, "in_channels": 3, "out_channels": 3} | unet
    kind(
        unet=UNet2DModel(
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            **options,
        ),
        scheduler=scheduler or DDPMScheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def ddim(folder: Path) -> Path:
    """Write a model of grey pixels, wider than high, whose scheduler is DDIM's."""
    return ddpm(
        folder,
        kind=DDIMPipeline,
        scheduler=DDIMScheduler(clip_sample=False),
        sample_size=(8, 16),
        in_channels=1,
        out_channels=1,
    )


def pixart(folder: Path, *, alpha: bool = False) -> Path:
    """Write PixArt-Σ of 32×32 pixels, or PixArt-α of 256×256, and return its folder."""
    torch.manual_seed(3)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=6,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        sample_size=128 if alpha else 16,  # α's pipeline gives sizes where it is 128
        caption_channels=32,
        interpolation_scale=2,
        use_additional_conditions=alpha,
    )
    (PixArtAlphaPipeline if alpha else PixArtSigmaPipeline)(
        tokenizer=_t5_tokenizer(),
        text_encoder=_t5(32),
        vae=_vae(0.18215 if alpha else 0.13025),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(beta_schedule="linear"),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def sd3(folder: Path, *, t5: bool = True) -> Path:
    """Write Stable Diffusion 3.5 of 32×32 pixels and return its folder."""
    torch.manual_seed(4)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=72,
        pooled_projection_dim=64,
        pos_embed_max_size=12,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(
            1.5305,
            latent_channels=16,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(_text(32)),
        tokenizer=_tokenizer(folder),
        text_encoder_2=CLIPTextModelWithProjection(_text(32, "gelu")),
        tokenizer_2=_tokenizer(folder, pad="!"),
        text_encoder_3=_t5(72) if t5 else None,
        tokenizer_3=_t5_tokenizer() if t5 else None,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def _unet(width: int, *, cross: tuple[str, str], **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=cross,
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(cross)),
        cross_attention_dim=width,
        norm_num_groups=8,
        **{"attention_head_dim": 4, "layers_per_block": 1, **options},
    )


def _vae(scaling_factor: float, latent_channels: int = 4, **options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=32,
        scaling_factor=scaling_factor,
        **options,
    )


def _text(width: int, activation: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=600,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def _tokenizer(folder: Path, pad: str = "<|endoftext|>") -> CLIPTokenizerFast:
    """Return CLIP's tokenizer with bytes for a vocabulary and one merge."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(c + "</w>" for c in alphabet), "re"]
    files = folder.with_name(f"{folder.name}-tokenizer")
    files.mkdir(exist_ok=True)
    (files / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (files / "merges.txt").write_text("#version: 0.2\nr e\n")
    return CLIPTokenizerFast(
        vocab=str(files / "vocab.json"),
        merges=str(files / "merges.txt"),
        pad_token=pad,
        model_max_length=TOKENS,
    )


def _t5(width: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=256,
            d_model=width,
            d_kv=8,
            d_ff=2 * width,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )


def t5_pieces() -> list[tuple[str, float]]:
    """Return T5's first pieces, single characters and a few words, with their logarithms."""
    characters = [chr(code) for code in range(33, 127)]
    words = ["▁a", "▁red", "▁apple", "ap", "ple", "re"]
    return [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -3.0),
        *((word, -2.0 - len(word)) for word in words),
        *((character, -6.0 - n / 100) for n, character in enumerate(characters)),
    ]


def _t5_tokenizer() -> T5Tokenizer:
    sentinels = [(f"<extra_id_{n}>", 0.0) for n in reversed(range(20))]
    return T5Tokenizer(vocab=t5_pieces() + sentinels, extra_ids=20)


def pieces_instead(folder: Path, pieces: Sequence[tuple[str, float]] = (), kind: int = 1) -> Path:
    """Replace a bundle's tokenizer.json by SentencePiece's file, of a unigram model or another."""
    model = import_protobuf().ModelProto()
    for piece, score in pieces or t5_pieces():
        model.pieces.add(piece=piece, score=score, type=KINDS.get(piece, NORMAL))
    model.trainer_spec.model_type = kind
    model.normalizer_spec.name = "identity"
    (folder / "tokenizer/tokenizer.json").unlink()
    (folder / "tokenizer/spiece.model").write_bytes(model.SerializeToString())
    return folder
