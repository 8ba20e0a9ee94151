"""A complete FLUX.1 folder with random weights: the real classes, tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan
from tests.engine.tiny_sdxl import text_config, write_tokenizer

DEV = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "use_dynamic_shifting": True,
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0,
}  # fmt: skip
SCHNELL = DEV | {"use_dynamic_shifting": False, "shift": 1.0}


def write_t5_tokenizer(folder: Path) -> int:
    """A unigram tokenizer of single letters, as T5's; returns the size of its vocabulary."""
    letters = [chr(code) for code in range(32, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    whole = Tokenizer(Unigram(pieces, unk_id=2, byte_fallback=False))
    whole.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    whole.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    whole.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    T5Tokenizer(tokenizer_object=whole, extra_ids=0).save_pretrained(folder)
    return len(pieces)


def make_transformer(*, guided: bool = True) -> Any:
    return FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, pooled_projection_dim=16, axes_dims_rope=(4, 6, 6), guidance_embeds=guided,
    )  # fmt: skip


def make_t5(vocabulary: int) -> Any:
    config = T5Config(
        vocab_size=vocabulary, d_model=24, d_kv=8, d_ff=48, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config)


def write_flux(folder: Path, *, seed: int = 0, guided: bool = True) -> Path:
    """A whole model folder of FLUX.1-dev's kind, or of -schnell's; same seed, same weights."""
    torch.manual_seed(seed)
    clip_words = write_tokenizer(folder / "tokenizer")
    t5_words = write_t5_tokenizer(folder / "tokenizer_2")
    CLIPTextModel(text_config(clip_words, 16)).save_pretrained(folder / "text_encoder")
    make_t5(t5_words).save_pretrained(folder / "text_encoder_2")
    make_transformer(guided=guided).save_pretrained(folder / "transformer")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, scaling_factor=0.3611,
        shift_factor=0.1159, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False,
    ).save_pretrained(folder / "vae")  # fmt: skip
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(DEV if guided else SCHNELL))
    (folder / "preview.json").write_text(
        json.dumps({"matrix": [[0.3, 0.1, 0.0], [0.0, 0.3, 0.1], [0.1, 0.0, 0.3], [0.1, 0.1, 0.1]], "bias": [0, 0, 0]})
    )
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    return folder


def model_ref(folder: Path, **changes: Any) -> ModelRef:
    values: dict[str, Any] = {"name": "tiny-flux", "family": "flux", "path": str(folder), "native_size": 128}
    return ModelRef(**(values | {"max_size": 512, "size_multiple": 16} | changes))


def make_plan(folder: Path, **changes: Any) -> Plan:
    """A plan for a small picture; any field can be changed."""
    values: dict[str, Any] = {
        "texts": ("a red circle",), "negative_texts": (), "seed": 7, "width": 128, "height": 96, "steps": 4,
        "sampler": "euler", "scheduler": "simple", "guidance_scale": 3.5, "image_format": "png", "clip_skip": 1,
    }  # fmt: skip
    return Plan(**(values | {"model": model_ref(folder)} | changes))
