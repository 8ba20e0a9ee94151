"""The untrained parts of the starter model, SDXL-shaped, and how text goes through them."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from training.config import Config

TIME_ID_WIDTH = 32
TOKENS = 77


def make_unet(config: Config) -> UNet2DConditionModel:
    """SDXL's U-Net in small: cross-attention in the two lower levels, text-time added condition."""
    return UNet2DConditionModel(
        sample_size=config.size // 8,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        block_out_channels=config.channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=config.layers_per_block,
        transformer_layers_per_block=1,
        attention_head_dim=tuple(width // config.head_size for width in config.channels),
        cross_attention_dim=sum(config.text_widths),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=config.text_widths[1] + 6 * TIME_ID_WIDTH,
    )


def make_text_encoders(config: Config, vocabulary: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Two CLIP text models of 3 layers; the last two ids of the vocabulary are start and end.

    SDXL reads the penultimate hidden states, here after 2 of the 3 layers, and the pooled text of
    the second model, which all its 3 layers make.
    """
    models = []
    for width, kind in zip(config.text_widths, (CLIPTextModel, CLIPTextModelWithProjection), strict=True):
        text_config = CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=4 * width, projection_dim=width,
            num_hidden_layers=3, num_attention_heads=config.text_heads, max_position_embeddings=TOKENS,
            hidden_act="gelu", bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
        )  # fmt: skip
        models.append(kind(text_config))
    return models[0], models[1]


def encode_text(encoders: tuple[CLIPTextModel, CLIPTextModelWithProjection], ids: Tensor) -> tuple[Tensor, Tensor]:
    """Prompt embeddings (n, 77, sum of widths) and pooled (n, width 2) of token ids (n, 77), as SDXL."""
    first = encoders[0](ids, output_hidden_states=True)
    second = encoders[1](ids, output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def time_ids(count: int, width: int, height: int, device: torch.device) -> Tensor:
    """SDXL's size conditions (n, 6): original size, crop corner, target size, as height, width."""
    return torch.tensor([[height, width, 0, 0, height, width]] * count, dtype=torch.float32, device=device)
