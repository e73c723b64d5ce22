"""The networks of a small latent text-to-image model: a UNet and a CLIP text encoder."""

from dataclasses import dataclass
from typing import Any

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from diffusion.codec import LATENT_CHANNELS
from model_export.training.tokenizer import END, PAD, START

NETWORKS = ("unet", "text_encoder")  # parts of ``Networks``, folders of a bundle


@dataclass(frozen=True)
class NetworkSettings:
    """The sizes of both networks; the defaults are those of the shipped model."""

    sample_size: int = 8  # the latents' height and width
    latent_channels: int = LATENT_CHANNELS
    channels: tuple[int, ...] = (
        96,
        128,
    )  # one block each; attention in the first and in the middle
    heads: int = 4
    norm_groups: int = 32
    text_width: int = 128
    text_layers: int = 2
    vocab_size: int = 6000
    tokens: int = 24


class Networks(nn.Module):
    """The trained networks, ``unet`` and ``text_encoder``, as one module."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self.unet: Any = _unet(settings)
        self.text_encoder: Any = _text_encoder(settings)


def _unet(settings: NetworkSettings) -> Any:
    deeper = len(settings.channels) - 1
    return UNet2DConditionModel(
        sample_size=settings.sample_size,
        in_channels=settings.latent_channels,
        out_channels=settings.latent_channels,
        block_out_channels=settings.channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", *["DownBlock2D"] * deeper),
        up_block_types=(*["UpBlock2D"] * deeper, "CrossAttnUpBlock2D"),
        cross_attention_dim=settings.text_width,
        attention_head_dim=settings.heads,  # diffusers' name for the number of heads
        norm_num_groups=settings.norm_groups,
        # The pooled prompt joins the timestep and scales every block: colour words need it.
        addition_embed_type="text",
        addition_embed_type_num_heads=settings.heads,
        resnet_time_scale_shift="scale_shift",
    )


def _text_encoder(settings: NetworkSettings) -> Any:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=settings.vocab_size,
            hidden_size=settings.text_width,
            intermediate_size=4 * settings.text_width,
            num_hidden_layers=settings.text_layers,
            num_attention_heads=settings.heads,
            max_position_embeddings=settings.tokens,
            projection_dim=settings.text_width,
            bos_token_id=START,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    )
