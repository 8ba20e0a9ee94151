"""Folders of other families with random weights: the real classes of diffusers and transformers, tiny."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from tokenizers import pre_tokenizers
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.clip.modeling_clip import CLIPTextModelWithProjection
from transformers.models.gemma2.configuration_gemma2 import Gemma2Config
from transformers.models.gemma2.modeling_gemma2 import Gemma2Model
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM, Qwen3Model

from fooocus_lite.model_files import ModelRef
from fooocus_lite.plan import Plan
from tests.engine.tiny_flux import make_t5, write_t5_tokenizer
from tests.engine.tiny_sdxl import text_config, write_tokenizer

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
DYNAMIC = FLOW | {"use_dynamic_shifting": True}
CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def write_qwen_tokenizer(folder: Path) -> int:
    """Letters, and the marks of a conversation; returns the size of its vocabulary."""
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate([*letters, *marks])}
    Qwen2Tokenizer(words, [], chat_template=CHAT).save_pretrained(folder)
    return len(words) + 8


def qwen3(words: int, layers: int = 3) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=words, hidden_size=16, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=1024,
    )  # fmt: skip


def kl(channels: int = 4, **more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), latent_channels=channels, norm_num_groups=4, scaling_factor=0.36,
        shift_factor=0.11, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False, **more,
    )  # fmt: skip


def write_z_image(folder: Path) -> None:
    words = write_qwen_tokenizer(folder / "tokenizer")
    Qwen3Model(qwen3(words)).save_pretrained(folder / "text_encoder")
    diffusers.ZImageTransformer2DModel(
        in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 4, 4], axes_lens=[256, 32, 32],
    ).save_pretrained(folder / "transformer")  # fmt: skip
    kl().save_pretrained(folder / "vae")


def write_klein(folder: Path) -> None:
    words = write_qwen_tokenizer(folder / "tokenizer")
    Qwen3ForCausalLM(qwen3(words, layers=28)).save_pretrained(folder / "text_encoder")
    diffusers.Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, norm_num_groups=4, patch_size=(2, 2),
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "vae")  # fmt: skip


def write_sd35(folder: Path) -> None:
    for number in ("", "_2"):
        words = write_tokenizer(folder / f"tokenizer{number}")
        CLIPTextModelWithProjection(text_config(words, 16)).save_pretrained(folder / f"text_encoder{number}")
    words = write_t5_tokenizer(folder / "tokenizer_3")
    t5 = make_t5(words)
    t5.save_pretrained(folder / "text_encoder_3")
    diffusers.SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=24, caption_projection_dim=32, pooled_projection_dim=48, out_channels=4,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    kl().save_pretrained(folder / "vae")


def write_chroma(folder: Path) -> None:
    words = write_t5_tokenizer(folder / "tokenizer")
    make_t5(words).save_pretrained(folder / "text_encoder")
    diffusers.ChromaTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, axes_dims_rope=(4, 6, 6), approximator_num_channels=8, approximator_hidden_dim=16,
        approximator_layers=1,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    kl().save_pretrained(folder / "vae")


def write_qwen_image(folder: Path) -> None:
    words = write_qwen_tokenizer(folder / "tokenizer")
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": words, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 1024,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        },
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder / "text_encoder")
    diffusers.QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(8, 4, 4),
    ).save_pretrained(folder / "transformer")  # fmt: skip
    diffusers.AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    ).save_pretrained(folder / "vae")


def write_sana(folder: Path) -> None:
    words = write_t5_tokenizer(folder / "tokenizer")
    config = Gemma2Config(
        vocab_size=words, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=4, max_position_embeddings=1024,
    )  # fmt: skip
    Gemma2Model(config).save_pretrained(folder / "text_encoder")
    diffusers.SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
        num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=8,
        sample_size=32, qk_norm="rms_norm_across_heads", guidance_embeds=True,
    ).save_pretrained(folder / "transformer")  # fmt: skip
    diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"), decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), downsample_block_type="conv",
        upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu",
    ).save_pretrained(folder / "vae")  # fmt: skip


CLIP = {"text": ["transformers", "CLIPTextModelWithProjection"], "words": ["transformers", "CLIPTokenizer"]}
T5 = {"text": ["transformers", "T5EncoderModel"], "words": ["transformers", "T5Tokenizer"]}
QWEN = ["transformers", "Qwen2Tokenizer"]


def _index(pipeline: str, transformer: str, vae: str = "AutoencoderKL", **others: Any) -> dict[str, Any]:
    return {
        "_class_name": pipeline,
        "transformer": ["diffusers", transformer],
        "vae": ["diffusers", vae],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        **others,
    }


#: Family → (what writes its components, model_index.json, scheduler_config.json).
KINDS: dict[str, tuple[Callable[[Path], None], dict[str, Any], dict[str, Any]]] = {
    "z-image": (
        write_z_image,
        _index(
            "ZImagePipeline", "ZImageTransformer2DModel", text_encoder=["transformers", "Qwen3Model"], tokenizer=QWEN
        ),
        FLOW,
    ),
    "flux2-klein": (
        write_klein,
        _index(
            "Flux2KleinPipeline", "Flux2Transformer2DModel", "AutoencoderKLFlux2",
            text_encoder=["transformers", "Qwen3ForCausalLM"], tokenizer=QWEN, is_distilled=True,
        ),
        DYNAMIC,
    ),
    "sd35": (
        write_sd35,
        _index(
            "StableDiffusion3Pipeline", "SD3Transformer2DModel",
            text_encoder=CLIP["text"], tokenizer=CLIP["words"], text_encoder_2=CLIP["text"], tokenizer_2=CLIP["words"],
            text_encoder_3=T5["text"], tokenizer_3=T5["words"],
        ),
        FLOW,
    ),
    "chroma": (
        write_chroma,
        _index("ChromaPipeline", "ChromaTransformer2DModel", text_encoder=T5["text"], tokenizer=T5["words"]),
        DYNAMIC,
    ),
    "qwen-image": (
        write_qwen_image,
        _index(
            "QwenImagePipeline", "QwenImageTransformer2DModel", "AutoencoderKLQwenImage",
            text_encoder=["transformers", "Qwen2_5_VLForConditionalGeneration"], tokenizer=QWEN,
        ),
        DYNAMIC,
    ),
}  # fmt: skip


SANA = _index(
    "SanaSprintPipeline", "SanaTransformer2DModel", "AutoencoderDC",
    text_encoder=["transformers", "Gemma2Model"], tokenizer=T5["words"],
)  # fmt: skip
KINDS["sana-sprint"] = (
    write_sana,
    SANA | {"scheduler": ["diffusers", "SCMScheduler"]},
    {"_class_name": "SCMScheduler"},
)


def write_pipeline(family: str, folder: Path, *, seed: int = 0) -> Path:
    """A whole model folder; same seed, same weights."""
    write, index, scheduler = KINDS[family]
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    write(folder)
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "preview.json").write_text(
        json.dumps({"matrix": [[0.3, 0.1, 0.0], [0.0, 0.3, 0.1], [0.1, 0.0, 0.3], [0.1, 0.1, 0.1]], "bias": [0, 0, 0]})
    )
    return folder


def model_ref(family: str, folder: Path, **changes: Any) -> ModelRef:
    values: dict[str, Any] = {"name": f"tiny-{family}", "family": family, "path": str(folder), "native_size": 64}
    return ModelRef(**(values | {"max_size": 512, "size_multiple": 16} | changes))


def make_plan(family: str, folder: Path, **changes: Any) -> Plan:
    """A plan for a small picture; any field can be changed."""
    values: dict[str, Any] = {
        "texts": ("a red circle",), "negative_texts": (), "seed": 7, "width": 64, "height": 32, "steps": 3,
        "sampler": "euler", "scheduler": "simple", "guidance_scale": 1.0, "image_format": "png", "clip_skip": 1,
    }  # fmt: skip
    return Plan(**(values | {"model": model_ref(family, folder)} | changes))
