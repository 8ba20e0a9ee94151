"""What a file is, by its head: true names of many architectures, and files that are none."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fooocus_lite.model_headers import FileFacts, identify
from tests import stand_ins as s

V_MARKS = {"v_pred": (), "ztsnr": ()}
UNET = "model.diffusion_model."


def facts(path: Path) -> FileFacts:
    return identify(str(path))


@pytest.mark.parametrize(
    "shapes, dtype, wanted",
    [
        (s.SDXL, "F16", FileFacts("checkpoint", "sdxl", "", "fp16")),
        (s.SD15, "F32", FileFacts("checkpoint", "sd15", "", "fp32")),
        ({**s.SDXL, **V_MARKS}, "F16", FileFacts("checkpoint", "sdxl", "", "fp16", "v_prediction", has_zero_snr=True)),
        ({**s.SDXL, UNET + "input_blocks.0.0.weight": (320, 9, 3, 3)}, "F16",
         FileFacts("checkpoint", "sdxl", "inpainting", "fp16")),
        (s.SDXL_UNET, "F16", FileFacts("network", "sdxl", "", "fp16")),
        ({"conv_in.weight": (320, 4, 3, 3), "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight":
          (640, 2048)}, "BF16", FileFacts("network", "sdxl", "", "bf16")),
        ({UNET + "input_blocks.0.0.weight": (384, 4, 3, 3), "conditioner.embedders.0.model.ln_final.bias": (1280,),
          UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (768, 1280),
          "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "F16",
         FileFacts("checkpoint", "sdxl-refiner", "", "fp16")),
        ({UNET + "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 1024)}, "F16",
         FileFacts("network", "sd2", "", "fp16")),
        (s.FLUX, "BF16", FileFacts("network", "flux", "schnell", "bf16")),
        ({**s.FLUX, **s.GUIDANCE}, "F8_E4M3", FileFacts("network", "flux", "dev", "fp8")),
        ({**s.prefixed(UNET, s.FLUX), **s.prefixed("vae.", s.VAE), "text_encoders.t5xxl.x": (1,)}, "F8_E5M2",
         FileFacts("checkpoint", "flux", "schnell", "fp8")),
        ({"single_transformer_blocks.0.proj_mlp.weight": (12288, 3072)}, "BF16",
         FileFacts("network", "flux", "schnell", "bf16")),
        ({"single_stream_modulation.lin.weight": (9216, 3072), "double_blocks.0.img_attn.norm.key_norm.scale": (128,)},
         "BF16", FileFacts("network", "flux2-klein", "", "bf16")),
        ({"single_stream_modulation.lin.weight": (18432, 6144)}, "BF16", FileFacts("network", "flux2", "", "bf16")),
        (s.prefixed(UNET, s.Z_IMAGE), "BF16", FileFacts("network", "z-image", "", "bf16")),
        ({"joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,)}, "F16",
         FileFacts("network", "sd3", "", "fp16")),
        ({"cap_embedder.0.weight": (2304,)}, "BF16", FileFacts("network", "lumina2", "", "bf16")),
        (s.VAE, "F32", FileFacts("vae", "", "", "fp32")),
        ({**s.prefixed("first_stage_model.", s.VAE), UNET + "a.kind.of.tomorrow": (8, 8)}, "F32",
         FileFacts("other", "", "", "fp32")),
        ({"decoder.conv_in.weight": (512, 16, 3, 3)}, "BF16", FileFacts("vae", "flux", "", "bf16")),
        ({"decoder.layers.0.weight": (64, 4, 3, 3), "encoder.layers.0.weight": (64, 3, 3, 3)}, "F32",
         FileFacts("preview_decoder", "", "", "fp32")),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (320, 4, 3, 3),
          "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048)}, "F16",
         FileFacts("controlnet", "sdxl", "", "fp16")),
        ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "F16", FileFacts("controlnet", "", "", "fp16")),
        ({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048),
          "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 8)}, "F16",
         FileFacts("lora", "sdxl", "", "fp16")),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (16, 3072),
          "transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight": (3072, 16)}, "BF16",
         FileFacts("lora", "flux", "", "bf16")),
        ({"clip_l": (8, 768), "clip_g": (8, 1280)}, "F32", FileFacts("embedding", "", "", "fp32")),
        ({"emb_params": (4, 768)}, "F32", FileFacts("embedding", "", "", "fp32")),
        ({"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3), "a": (1,), "b": (1,),
          "c": (1,)}, "F32", FileFacts("upscaler", "", "", "fp32")),
        ({"encoder.block.0.layer.0.SelfAttention.k.weight": (4096, 4096), "shared.weight": (32128, 4096),
          "a": (1,)}, "F8_E4M3", FileFacts("text_encoder", "", "", "fp8")),
        ({"something.else": (1, 2, 3)}, "U8", FileFacts("other", "", "", "quantised")),
        ({}, "F16", FileFacts("other")),
    ],
)  # fmt: skip
def test_names_and_shapes_tell(tmp_path: Path, shapes: s.Shapes, dtype: str, wanted: FileFacts) -> None:
    assert facts(s.write_safetensors(tmp_path / "x.safetensors", shapes, dtype)) == wanted


@pytest.mark.parametrize("said, wanted", [("v", "v_prediction"), ("epsilon", ""), ("V_prediction", "v_prediction")])
def test_the_maker_may_say_what_is_predicted(tmp_path: Path, said: str, wanted: str) -> None:
    metadata = {"modelspec.prediction_type": said}
    assert facts(s.write_safetensors(tmp_path / "x.safetensors", s.SDXL, "F16", metadata)).prediction == wanted


@pytest.mark.parametrize(
    "architecture, shapes, dtype, wanted",
    [
        ("flux", s.FLUX, "Q4_K", FileFacts("network", "flux", "schnell", "Q4_K")),
        ("flux", {**s.FLUX, **s.GUIDANCE}, "Q8_0", FileFacts("network", "flux", "dev", "Q8_0")),
        ("lumina2", s.Z_IMAGE, "BF16", FileFacts("network", "z-image", "", "bf16")),
        ("sdxl", s.prefixed(UNET, s.SDXL_UNET), "Q4_0", FileFacts("network", "sdxl", "", "Q4_0")),
        ("t5encoder", {"enc.blk.0.attn_k.weight": (4096, 4096)}, "Q8_0", FileFacts("text_encoder")),
        ("", {}, "F16", FileFacts("other")),
    ],
)
def test_gguf(tmp_path: Path, architecture: str, shapes: s.Shapes, dtype: str, wanted: FileFacts) -> None:
    for version in (2, 3):
        assert facts(s.write_gguf(tmp_path / "x.gguf", architecture, shapes, dtype, version=version)) == wanted


@pytest.mark.parametrize(
    "pipeline, width, wanted",
    [
        ("StableDiffusionXLPipeline", 2048, FileFacts("checkpoint", "sdxl")),
        ("StableDiffusionPipeline", 768, FileFacts("checkpoint", "sd15")),
        ("StableDiffusionPipeline", 1024, FileFacts("checkpoint", "sd2")),
        ("ZImagePipeline", 0, FileFacts("checkpoint", "z-image")),
        ("LTXPipeline", 0, FileFacts("checkpoint", problem="it is for LTXPipeline")),
        (None, 0, FileFacts("checkpoint", problem="it is for None")),
    ],
)
def test_folders_of_diffusers(tmp_path: Path, pipeline: str | None, width: int, wanted: FileFacts) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"cross_attention_dim": width}))
    assert facts(tmp_path) == wanted


def head(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


TWICE = b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}'
BAD = {
    "empty": (b"", "it is empty"),
    "short": (b"\x10\0\0", "it is cut short, or no safetensors file"),
    "garbage": (os.urandom(4096), "it is cut short, or no safetensors file"),
    "page": (b"<!DOCTYPE html><html>Log in</html>", "it is a web page that was saved under this name"),
    "page2": (b"\n <html lang=en>" + bytes(99), "it is a web page that was saved under this name"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab",
        "it is only the placeholder that git keeps",
    ),
    "pickle": (b"PK\x03\x04" + bytes(400), "it is a pickle under another name"),
    "text": (head(b"hello there"), "its header is not that of a safetensors file"),
    "list": (head(b"[1,2,3]"), "its header is not that of a safetensors file"),
    "deep": (head(b"[" * 100_000), "its header is not that of a safetensors file"),
    "rows": (head(b'{"a":5}'), "its header is not that of a safetensors file"),
    "twice": (head(TWICE) + bytes(2), "it names a tensor twice"),
    "cut": (
        head(b'{"a":{"dtype":"F16","shape":[9],"data_offsets":[0,18]}}') + bytes(5),
        "it is cut short: 68 of 81 bytes",
    ),
    "utf": (head(b'{"\xff":1}'), "its header is not that of a safetensors file"),
    "number": (head(b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,' + b"9" * 5000 + b"]}}"), "its header is not"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_model_is_said_in_words(tmp_path: Path, name: str) -> None:
    content, reason = BAD[name]
    (tmp_path / "x.safetensors").write_bytes(content)
    found = facts(tmp_path / "x.safetensors")
    assert found.kind == "other" and found.problem.startswith(reason), found


def test_a_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_000) + b"{")
        file.truncate(200_000_000)
    assert facts(path).problem == "its header of 100 MB is too large"


def test_sides_that_are_none_are_no_model(tmp_path: Path) -> None:
    row = b'{"decoder.conv_in.weight":{"dtype":"F16","shape":[1,-4],"data_offsets":[0,0]},"a":{"dtype":"F16","shape":'
    row += b'[1,1,1],"data_offsets":[0,0]}}'
    (tmp_path / "x.safetensors").write_bytes(head(row))
    assert facts(tmp_path / "x.safetensors").problem == "its header is not that of a safetensors file"


GGUF_BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "it is empty"),
    "other": (lambda _: b"GGML1234", "it is no .gguf file"),
    "cut": (lambda whole: whole[:-3], "it is cut short"),
    "version": (lambda whole: whole[:4] + struct.pack("<I", 9) + whole[8:], "its version of the format is 9"),
    "counts": (lambda whole: whole[:8] + struct.pack("<Q", 2**60) + whole[16:], "it counts more tensors"),
    "keys": (lambda whole: whole[:16] + struct.pack("<Q", 2**60) + whole[24:], "it counts more tensors"),
    "name": (lambda whole: whole[:24] + struct.pack("<Q", 2**60) + whole[32:], "a name in its header is too long"),
    "type": (lambda whole: whole.replace(struct.pack("<II", 4, 2), struct.pack("<II", 77, 2), 1), "of no known type"),
}


@pytest.mark.parametrize("name", GGUF_BAD)
def test_bad_gguf(tmp_path: Path, name: str) -> None:
    spoil, reason = GGUF_BAD[name]
    path = s.write_gguf(tmp_path / "x.gguf", "flux", s.FLUX)
    path.write_bytes(spoil(path.read_bytes()))
    assert facts(path).kind == "other" and reason in facts(path).problem


def test_every_end_of_a_header_is_survived(tmp_path: Path) -> None:
    """Whatever a download stopped at: no exception, and never a model."""
    whole = s.write_gguf(tmp_path / "x.gguf", "flux", s.FLUX).read_bytes()
    for end in range(len(whole)):
        (tmp_path / "y.gguf").write_bytes(whole[:end])
        assert facts(tmp_path / "y.gguf").problem
    small = head(b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}') + bytes(2)
    for end in range(len(small)):
        (tmp_path / "y.safetensors").write_bytes(small[:end])
        assert facts(tmp_path / "y.safetensors").problem


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this person may read everything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    path = s.write_safetensors(tmp_path / "x.safetensors", s.VAE)
    path.chmod(0)
    assert facts(path).problem == "it cannot be read (Permission denied)"
