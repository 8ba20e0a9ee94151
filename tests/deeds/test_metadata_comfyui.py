"""ComfyUI's graph is followed back from what was saved, also through nodes that nobody here knows."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fooocus_lite.errors import FooocusError
from fooocus_lite.metadata import read_text
from fooocus_lite.recipe import Lora, Recipe
from tests.deeds import foreign as f
from tests.deeds.foreign import LIBRARY, read, said


def comfy(**nodes: Any) -> dict[str, Any]:
    """The plain graph with some nodes changed (``n3`` is node "3"; None takes it away)."""
    graph = copy.deepcopy(f.COMFY) | {key[1:]: value for key, value in nodes.items()}
    return {key: value for key, value in graph.items() if value is not None}


def test_comfyui_graph_is_followed_back() -> None:
    found = read(f.png(prompt=f.as_json(f.COMFY), workflow='{"nodes": [], "links": []}'))
    assert found.scheme == "comfyui"
    assert found.recipe == Recipe(
        prompt="a fox\nin snow", negative_prompt="fog", styles=(), model="sd_xl_base_1.0", width=1152, height=896,
        seed=156680208700286, steps=20, sampler="dpmpp_2m", scheduler="karras", guidance_scale=8.0,
        loras=(Lora(name="ink", weight=0.7), Lora(name="lines", weight=-0.25)),
    )  # fmt: skip


COMFY_FILES = {
    "WebP": f.with_exif(
        "WEBP", {f.MODEL: "prompt:" + f.as_json(f.COMFY), f.MAKE: 'workflow:{"nodes": [], "links": []}'}
    ),
    "JPEG, labels in capitals": f.with_exif("JPEG", {f.MAKE: "Prompt: " + f.as_json(f.COMFY)}),
    "NaN in it": f.png(prompt=f.as_json(comfy(n99=f.node("X") | {"is_changed": [float("nan")]}))),
    "pasted": f.as_json(f.COMFY).encode(),
}


@pytest.mark.parametrize("name", COMFY_FILES)
def test_comfyui_in_every_container(name: str) -> None:
    found = read(COMFY_FILES[name])
    assert (found.scheme, found.recipe.seed, found.recipe.prompt) == ("comfyui", 156680208700286, "a fox\nin snow")


def test_comfyui_words_and_numbers_come_through_unknown_nodes() -> None:
    graph = comfy(
        n20=f.node("Text Multiline", text="a fox"),
        n21=f.node("StringConcat", text_a=["20", 0], text_b="by night"),
        n6=f.node("CLIPTextEncode", text=["21", 0], clip=["10", 1]),
        n22=f.node("SomeControl", positive=["6", 0], negative=["7", 0], control_net=["4", 0], image=["9", 0]),
        n23=f.node("Reroute", x=["22", 0]),
        n30=f.node("SeedMaker", seed=77, mode="fixed"),
        n31=f.node("IntBox", value=17),
        n32=f.node("SizePicker", width=1024, height=1024),
        n5=f.node("EmptyLatentImage", width=["32", 0], height=["32", 1], batch_size=1),
    )
    graph["3"]["inputs"] |= {"positive": ["23", 0], "negative": ["22", 1], "seed": ["30", 0], "steps": ["31", 0]}
    recipe = read_text(f.as_json(graph), LIBRARY).recipe
    assert set(recipe.prompt.split("\n")) == {"a fox", "by night"}
    assert (recipe.negative_prompt, recipe.seed, recipe.steps) == ("fog", 77, 17)
    assert (recipe.width, recipe.height) == (1024, 1024)


def test_comfyui_advanced_sampler_with_a_guider() -> None:
    graph = comfy(
        n3=f.node(
            "SamplerCustomAdvanced", noise=["40", 0], guider=["41", 0], sampler=["42", 0], sigmas=["43", 0],
            latent_image=["5", 0],
        ),
        n40=f.node("RandomNoise", noise_seed=55),
        n41=f.node("CFGGuider", cfg=3.5, model=["11", 0], positive=["6", 0], negative=["7", 0]),
        n42=f.node("KSamplerSelect", sampler_name="uni_pc"),
        n43=f.node("BasicScheduler", scheduler="simple", steps=12, denoise=1.0, model=["11", 0]),
    )  # fmt: skip
    found = read_text(f.as_json(graph), LIBRARY)
    recipe = found.recipe
    assert (recipe.seed, recipe.steps, recipe.guidance_scale, recipe.sampler) == (55, 12, 3.5, "uni_pc")
    assert (recipe.prompt, recipe.negative_prompt, recipe.model) == ("a fox\nin snow", "fog", "sd_xl_base_1.0")
    assert len(found.recipe.loras or ()) == 2


def test_comfyui_the_first_of_two_passes_is_read() -> None:
    second = dict(f.COMFY["3"]["inputs"]) | {"seed": 2, "steps": 9, "denoise": 0.5, "latent_image": ["50", 0]}
    graph = comfy(
        n50=f.node("LatentUpscale", samples=["3", 0], width=2304, height=1792),
        n51=f.node("KSampler", **second),
        n8=f.node("VAEDecode", samples=["51", 0], vae=["4", 2]),
    )
    found = read_text(f.as_json(graph), LIBRARY)
    assert (found.recipe.steps, found.recipe.width) == (20, 1152)
    assert "2 sampling passes" in said(found)


def test_comfyui_rows_of_loras_and_a_text_for_each_encoder() -> None:
    graph = comfy(
        n11=f.node(
            "Power Lora Loader (rgthree)", model=["4", 0], clip=["4", 1],
            lora_1={"on": True, "lora": "ink.safetensors", "strength": 0.5},
            lora_2={"on": False, "lora": "off.safetensors", "strength": 1},
        ),
        n6=f.node("CLIPTextEncodeSDXL", text_g="a fox", text_l="in snow", width=4096, height=4096, clip=["11", 1]),
    )  # fmt: skip
    found = read_text(f.as_json(graph), LIBRARY)
    assert [(lora.name, lora.weight) for lora in found.recipe.loras or ()] == [("ink", 0.5)]
    assert found.recipe.prompt == "a fox\nin snow"
    assert found.recipe.width == 1152, "the size that SDXL is told is not the picture's"


def guided_by(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The plain graph with ``nodes`` one after the other between its LoRAs and its sampler."""
    graph, before = comfy(**more), "11"
    for number, node in enumerate(nodes, start=60):
        graph[str(number)] = node | {"inputs": node["inputs"] | {"model": [before, 0]}}
        before = str(number)
    graph["3"]["inputs"]["model"] = [before, 0]
    return graph


@pytest.mark.parametrize(
    ("node", "wanted"),
    [
        (f.node("PerturbedAttentionGuidance", scale=3.5), {"pag_scale": 3.5}),
        (f.node("PerturbedAttention", scale=2, unet_block="middle", unet_block_id=0, rescale=0.0), {"pag_scale": 2}),
        (f.node("SelfAttentionGuidance", scale=0.5, blur_sigma=1.0), {"sag_scale": 0.5}),
        (f.node("RescaleCFG", multiplier=0.7), {"guidance_rescale": 0.7}),
        (
            f.node("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
            {"freeu_b1": 1.3, "freeu_b2": 1.4, "freeu_s1": 0.9, "freeu_s2": 0.2},
        ),
        (f.node("PerpNeg", neg_scale=1.5, empty_conditioning=["7", 0]), {"perp_neg": 1.5}),
        (
            f.node("APG", eta=0.3, norm_threshold=5.0, momentum=0.25),
            {"apg_eta": 0.3, "apg_threshold": 5.0, "apg_momentum": 0.25, "guidance_scale": 9.0},
        ),
    ],
    ids=lambda value: value.get("class_type", "") if isinstance(value, dict) else "",
)
def test_comfyui_nodes_that_guide_are_ours(node: dict[str, Any], wanted: dict[str, float]) -> None:
    found = read_text(f.as_json(guided_by(node)), LIBRARY)
    plain = read_text(f.as_json(f.COMFY), LIBRARY)
    assert found.recipe == plain.recipe.model_copy(update=wanted)
    assert found.warnings == plain.warnings


def test_comfyui_guidance_from_several_nodes_and_linked_numbers() -> None:
    graph = guided_by(
        f.node("PerturbedAttentionGuidance", scale=9.0),
        f.node("SelfAttentionGuidance", scale=["90", 0], blur_sigma=2.0),
        f.node("FreeU", b1=1.1, b2=1.2, s1=0.9, s2=0.2),
        f.node("SomethingNew", strength=4.0),
        f.node("PerturbedAttentionGuidance", scale=3.0),
        n90=f.node("PrimitiveFloat", value=0.4),
        n91=f.node("RescaleCFG", multiplier=0.5, model=["4", 0]),
    )
    found = read_text(f.as_json(graph), LIBRARY)
    recipe = found.recipe
    assert (recipe.pag_scale, recipe.sag_scale, recipe.freeu_b1) == (3.0, 0.4, 1.1)
    assert recipe.guidance_rescale is None, "another model's"
    assert "There is no setting here for: blur_sigma '2.0'." in said(found)
    assert "FreeU is read as its second version" in said(found)
    assert len(recipe.loras or ()) == 2, "found through them all"
    odd = read_text(f.as_json(guided_by(f.node("APG", eta="x", norm_threshold=9999.0))), LIBRARY)
    assert odd.recipe.apg_eta is None and "apg_threshold 9999.0 is outside" in said(odd)


def test_comfyui_perp_neg_as_a_guider() -> None:
    graph = comfy(
        n3=f.node(
            "SamplerCustomAdvanced", noise=["40", 0], guider=["41", 0], sampler=["42", 0], sigmas=["43", 0],
            latent_image=["5", 0],
        ),
        n40=f.node("RandomNoise", noise_seed=55),
        n41=f.node(
            "PerpNegGuider", cfg=6.0, neg_scale=1.25, model=["11", 0], positive=["6", 0], negative=["7", 0],
            empty_conditioning=["44", 0],
        ),
        n42=f.node("KSamplerSelect", sampler_name="euler"),
        n43=f.node("BasicScheduler", scheduler="normal", steps=12, denoise=1.0, model=["11", 0]),
        n44=f.node("CLIPTextEncode", text="", clip=["10", 1]),
    )  # fmt: skip
    recipe = read_text(f.as_json(graph), LIBRARY).recipe
    assert (recipe.perp_neg, recipe.guidance_scale) == (1.25, 6.0)
    assert (recipe.prompt, recipe.negative_prompt) == ("a fox\nin snow", "fog")


def test_comfyui_loops_end() -> None:
    graph = comfy(n6=f.node("Loop", text=["23", 0]), n23=f.node("Loop", text=["6", 0], string=["23", 0]))
    graph["5"]["inputs"] |= {"width": ["5", 0]}
    assert read_text(f.as_json(graph), LIBRARY).recipe.prompt == ""


def test_comfyui_without_a_sampler_says_so() -> None:
    with pytest.raises(FooocusError, match="without a sampler"):
        read_text(f.as_json(comfy(n3=None)), LIBRARY)
    with pytest.raises(FooocusError, match="workflow without the prompt"):
        read(f.png(workflow='{"nodes": [{"type": "KSampler"}], "links": []}'))
