"""What FLUX's layers are called in the files of its makers, which most single files and LoRAs follow.

There queries, keys and values are one matrix, and in the single blocks also what enters the feed-forward network:
the layers here stand in it one under another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_OUTSIDE = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
#: Of this layer the halves, shift and scale, stand the other way round here.
SWAPPED = "final_layer.adaLN_modulation.1"
_DOUBLE: Mapping[str, tuple[str, ...]] = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.norm.query_norm": ("attn.norm_q",),
    "img_attn.norm.key_norm": ("attn.norm_k",),
    "txt_attn.norm.query_norm": ("attn.norm_added_q",),
    "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
_SINGLE: Mapping[str, tuple[str, ...]] = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "norm.query_norm": ("attn.norm_q",),
    "norm.key_norm": ("attn.norm_k",),
}


def makers_names(double: int, single: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(path of a layer in the makers' files, paths of what it holds in a ``FluxTransformer2DModel``, in order).

    Args:
        double: How many blocks it has in which picture and text have weights of their own.
        single: How many in which they share them.
    """
    for theirs, ours in _OUTSIDE.items():
        yield theirs, (ours,)
    for count, block, layers, home in (
        (double, "double_blocks", _DOUBLE, "transformer_blocks"),
        (single, "single_blocks", _SINGLE, "single_transformer_blocks"),
    ):
        for number in range(count):
            for theirs, ours in layers.items():
                yield f"{block}.{number}.{theirs}", tuple(f"{home}.{number}.{path}" for path in ours)


def xlabs_names(single: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Likewise, what XLabs' LoRAs change of ``linear1`` and of which no file has a matrix."""
    for number in range(single):
        home = f"single_transformer_blocks.{number}.attn"
        yield f"single_blocks.{number}.qkv", (f"{home}.to_q", f"{home}.to_k", f"{home}.to_v")
