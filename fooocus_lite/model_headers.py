"""What a weights file is, by the names and shapes in its head: architecture, kind, precision, how it was trained.

The names are those that the original code of each architecture, diffusers and trainers write. Nothing but the head
of a file is read.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from fooocus_lite.gguf_header import GgufHeader, read_gguf_header
from fooocus_lite.lora_keys import made_for
from fooocus_lite.weight_header import NotWeights, Shape, WeightsHeader, read_header

Kind = Literal[
    "checkpoint", "network", "lora", "vae", "preview_decoder", "text_encoder", "controlnet", "embedding", "upscaler",
    "other",
]  # fmt: skip
#: In words, by key; also of architectures that nothing here can draw with.
ARCHITECTURES = {
    "sdxl": "Stable Diffusion XL",
    "sdxl-refiner": "the refiner of Stable Diffusion XL",
    "sd15": "Stable Diffusion 1.5",
    "sd2": "Stable Diffusion 2",
    "sd3": "Stable Diffusion 3",
    "flux": "FLUX.1",
    "flux2": "FLUX.2",
    "flux2-klein": "FLUX.2 klein",
    "z-image": "Z-Image",
    "chroma": "Chroma",
    "qwen-image": "Qwen-Image",
    "sana": "Sana",
    "lumina2": "Lumina 2",
    "auraflow": "AuraFlow",
    "hidream": "HiDream",
    "video": "a model of videos",
}
_FLUX2 = ("single_stream_modulation.lin.weight", "single_stream_modulation.linear.weight")
#: Numbers of a token in the small ones of FLUX.2.
_KLEIN_WIDTHS = frozenset((3072, 4096))
#: A tensor that only this architecture has; the first that is there decides.
_TRANSFORMERS = (
    *(("flux2", name) for name in _FLUX2),
    ("chroma", "distilled_guidance_layer.in_proj.bias"),
    ("flux", "double_blocks.0.img_attn.norm.key_norm.scale"),
    ("flux", "single_transformer_blocks.0.proj_mlp.weight"),
    ("sd3", "joint_blocks.0.context_block.adaLN_modulation.1.bias"),
    ("sd3", "transformer_blocks.0.norm1_context.linear.weight"),
    ("z-image", "layers.0.adaLN_modulation.0.weight"),
    ("lumina2", "cap_embedder.0.weight"),
    ("qwen-image", "transformer_blocks.0.img_mod.1.weight"),
    ("sana", "blocks.0.cross_attn.q_linear.weight"),
    ("auraflow", "double_layers.0.attn.w1q.weight"),
    ("hidream", "double_stream_blocks.0.block.adaLN_modulation.1.bias"),
    ("video", "head.modulation"),
    ("video", "patchify_proj.weight"),
    ("video", "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias"),
)
#: Numbers of a text's vector as the cross-attention of a UNet reads them.
_UNETS = {2048: "sdxl", 1280: "sdxl-refiner", 768: "sd15", 1024: "sd2"}
_CROSS_ATTENTION = (
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
)
_FIRST_LAYERS = ("input_blocks.0.0.weight", "conv_in.weight")
_PICTURE_CHANNELS = {4: "", 8: "edit", 9: "inpainting"}
_IN_CHECKPOINTS = "model.diffusion_model."
_LORA = re.compile(r"lora_(up|down|A|B)\b|\.lora\.(up|down)\.|\.hada_w|\.lokr_w|\.oft_(blocks|diag)|\.dora_scale")
#: One of these is in every name that the above finds; looking for it costs nothing.
_LORA_HINTS = ("lora", ".hada_w", ".lokr_w", ".oft_")
_MARKS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("controlnet", ("controlnet_cond_embedding.conv_in.weight", "controlnet_x_embedder.weight")),
    ("controlnet", ("control_model.input_hint_block.0.weight", "input_hint_block.0.weight", "control_type_embedder")),
    ("preview_decoder", ("decoder.layers.0.weight", "taesd_decoder.1.weight")),
    ("vae", ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight")),
    ("upscaler", ("model.1.sub.0.RDB1.conv1.0.weight", "body.0.rdb1.conv1.weight", "RRDB_trunk.0.RDB1.conv1.weight")),
    ("upscaler", ("layers.0.residual_group.blocks.0.norm1.weight",)),
    ("text_encoder", ("text_model.encoder.layers.0.self_attn.k_proj.weight", "transformer.resblocks.0.ln_1.weight")),
    ("text_encoder", ("encoder.block.0.layer.0.SelfAttention.k.weight", "model.layers.0.self_attn.k_proj.weight")),
)
_EMBEDDINGS = {"clip_l", "clip_g", "t5xxl", "emb_params", "string_to_param"}
#: What `fooocus_lite.lora_keys.made_for` says, and its key here.
_LORAS = {
    "SDXL": "sdxl",
    "the SDXL refiner": "sdxl-refiner",
    "Stable Diffusion 1.5": "sd15",
    "Stable Diffusion 2": "sd2",
    "Stable Diffusion 3": "sd3",
    "FLUX": "flux",
}
#: Parts that a checkpoint has besides its network: what reads the prompt, and what makes pixels.
_READERS = ("conditioner.", "cond_stage_model.", "text_encoders.", "text_encoder.")
_DECODERS = ("first_stage_model.", "vae.")
_LATENTS = {16: "flux", 32: "flux2"}
_PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "F64": "fp64"}
_PIPELINES = {
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLInpaintPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl-refiner",
    "StableDiffusionPipeline": "sd15",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "Flux2Pipeline": "flux2",
    "Flux2KleinPipeline": "flux2-klein",
    "ZImagePipeline": "z-image",
    "ChromaPipeline": "chroma",
    "QwenImagePipeline": "qwen-image",
    "SanaPipeline": "sana",
    "Lumina2Pipeline": "lumina2",
    "AuraFlowPipeline": "auraflow",
}


@dataclass(frozen=True)
class FileFacts:
    """What a file or a folder of weights is.

    Attributes:
        kind: A whole ``checkpoint``, or a part: ``network`` is a UNet or transformer alone.
        family: Key of `ARCHITECTURES`; empty where its names do not tell.
        variant: ``schnell``, ``dev``, ``inpainting`` …; empty for the usual one.
        precision: ``fp16``, ``bf16``, ``fp8``, ``Q4_K`` … of most of its bytes.
        prediction: As `fooocus_lite.model_files.ModelRef.prediction`.
        has_zero_snr: As there.
        problem: Why it cannot be used, as the end of a sentence; empty if it can.
    """

    kind: Kind
    family: str = ""
    variant: str = ""
    precision: str = ""
    prediction: str = ""
    has_zero_snr: bool = False
    problem: str = ""


def identify(path: str) -> FileFacts:
    """What the safetensors or GGUF file, or the diffusers folder, at ``path`` is; never raises for what it holds."""
    try:
        if os.path.isdir(path):
            return _of_folder(Path(path))
        if path.lower().endswith(".gguf"):
            return _of_gguf(read_gguf_header(path))
        return _of_safetensors(read_header(path))
    except NotWeights as exc:
        return FileFacts("other", problem=str(exc))
    except OSError as exc:
        return FileFacts("other", problem=f"it cannot be read ({exc.strerror})")


def check_head(path: str | os.PathLike[str], name: str) -> None:
    """Read the head of the file at ``path`` if the ending of ``name`` says that it holds weights.

    Raises:
        NotWeights: it is something else, or damaged.
        OSError: it cannot be read.
    """
    if name.lower().endswith(".gguf"):
        read_gguf_header(path)
    elif name.lower().endswith(".safetensors"):
        read_header(path)


def _of_safetensors(header: WeightsHeader) -> FileFacts:
    names = header.rows
    joined = "\n".join(names)
    if any(hint in joined for hint in _LORA_HINTS) and _LORA.search(joined):
        return FileFacts("lora", _LORAS.get(made_for(dict(header.shapes())).kind, ""), precision=_precision(header))
    facts = _network(names, header.shape) or _other(names, header.shape)
    spoken = str(header.metadata.get("modelspec.prediction_type", "")).lower()
    prediction = "v_prediction" if "v_pred" in names or spoken in ("v", "v_prediction", "v-prediction") else ""
    return FileFacts(
        facts.kind,
        facts.family,
        facts.variant,
        "nf4" if "bitsandbytes__nf4" in joined else _precision(header),
        prediction if facts.family in ("sdxl", "sd15", "sd2") else "",
        "ztsnr" in names,
    )


def _of_gguf(header: GgufHeader) -> FileFacts:
    if not header.tensors:
        return FileFacts("text_encoder" if header.architecture else "other")
    found = _network(header.tensors, lambda name: header.tensors[name][1])
    facts = found or _other(header.tensors, lambda name: header.tensors[name][1])
    types = Counter(kind for kind, _ in header.tensors.values() if kind not in ("F32",)) or Counter(["F32"])
    usual = types.most_common(1)[0][0]
    return FileFacts(facts.kind, facts.family, facts.variant, _PRECISIONS.get(usual, usual))


def _of_folder(folder: Path) -> FileFacts:
    """By ``model_index.json``, as diffusers writes it."""
    try:
        text = (folder / "model_index.json").read_text(encoding="utf-8")[:1_000_000]
        index = cast("dict[str, Any]", json.loads(text))
        pipeline = str(index.get("_class_name", ""))
    except (ValueError, AttributeError, RecursionError) as exc:
        raise NotWeights("its model_index.json is no JSON object") from exc
    family = _PIPELINES.get(pipeline, "")
    if family == "sd15" and _said(folder / "unet", "cross_attention_dim") == 1024:
        family = "sd2"
    variant = ""
    if family == "flux":
        variant = "dev" if _said(folder / "transformer", "guidance_embeds") else "schnell"
    problem = "" if family else f"it is for {pipeline[:60] or 'nothing known'}"
    return FileFacts("checkpoint", family, variant, problem=problem)


def _said(part: Path, name: str) -> object:
    """What the configuration of a part says under that name; ``None`` if nothing."""
    try:
        config: Any = json.loads((part / "config.json").read_text(encoding="utf-8")[:1_000_000])
        return config.get(name)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _network(names: Mapping[str, Any], shape: Callable[[str], Shape]) -> FileFacts | None:
    """What it is if it holds a network that draws; ``None`` if it does not."""

    def find(*wanted: str) -> str | None:
        return next((full for name in wanted for full in (_IN_CHECKPOINTS + name, name) if full in names), None)

    if find(*(name for kind, marks in _MARKS if kind == "controlnet" for name in marks)):
        return None
    family, variant = next((family for family, mark in _TRANSFORMERS if find(mark)), ""), ""
    if family == "flux2" and (mark := find(*_FLUX2)) and _KLEIN_WIDTHS.issuperset(shape(mark)[-1:]):
        family = "flux2-klein"
    elif family == "flux":
        variant = (
            "dev" if find("guidance_in.in_layer.weight", "time_text_embed.guidance_embedder.linear_1.weight") else ""
        )
        variant = variant or "schnell"
    elif not family:
        attention = find(*_CROSS_ATTENTION)
        family = _UNETS.get(shape(attention)[-1], "") if attention and shape(attention) else ""
        first = find(*_FIRST_LAYERS)
        variant = _PICTURE_CHANNELS.get(shape(first)[1], "other") if first and len(shape(first)) > 1 else ""
    if not family:
        return None
    joined = "\n" + "\n".join(names)
    is_whole = all(any("\n" + part in joined for part in parts) for parts in (_READERS, _DECODERS))
    return FileFacts("checkpoint" if is_whole else "network", family, variant)


def _other(names: Mapping[str, Any], shape: Callable[[str], Shape]) -> FileFacts:
    """What it is if it draws nothing by itself."""
    if names and len(names) <= 4 and (set(names) & _EMBEDDINGS or all(len(shape(name)) == 2 for name in names)):
        return FileFacts("embedding")
    for kind, marks in _MARKS:
        mark = next((name for name in marks if name in names), None)
        if mark is None:
            continue
        if kind == "vae" and any(name.startswith(_IN_CHECKPOINTS) for name in names):
            break  # a whole model of a kind that is not known, with its VAE
        sides = shape(mark) if kind == "vae" else ()
        attention = next((name for name in _CROSS_ATTENTION if name in names), None) if kind == "controlnet" else None
        family = _LATENTS.get(sides[1], "") if len(sides) > 1 else ""
        return FileFacts(kind, _UNETS.get(shape(attention)[-1], "") if attention else family)
    return FileFacts("other")


def _precision(header: WeightsHeader) -> str:
    """What most of its bytes are."""
    sizes: Counter[str] = Counter()
    try:
        for dtype, (begin, end) in [(row["dtype"], row["data_offsets"]) for row in header.rows.values()]:
            sizes[dtype] += end - begin
    except (LookupError, TypeError, ValueError) as exc:
        raise NotWeights("its header is not that of a safetensors file") from exc
    usual = sizes.most_common(1)[0][0] if sizes else ""
    return _PRECISIONS.get(usual, "quantised" if usual else "")
