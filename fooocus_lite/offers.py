"""`Offer`: something that the catalogs know where to fetch, whatever it is: a model, a LoRA, a VAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fooocus_lite.model_files import ModelFile

Kind = Literal[
    "checkpoint", "lora", "vae", "preview_decoder", "text_encoder", "controlnet", "embedding", "upscaler"
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Offer:
    """Files that belong together and can be had.

    Attributes:
        name: One of its kind and of all kinds; a model's is its name in the menu, a LoRA's that of its file.
        label, description: What a person reads.
        files: In the order in which they are fetched.
        licence: Name of its licence, and the page where it can be read.
        is_gated: Its makers want to know who has it: a token of the hub is needed.
        memory_bytes: What the whole takes in memory in 16 bits; ``None`` = unknown.
    """

    name: str
    label: str
    kind: Kind
    description: str
    files: tuple[ModelFile, ...]
    licence: str = ""
    licence_url: str = ""
    is_gated: bool = False
    memory_bytes: int | None = None

    @property
    def size_bytes(self) -> int | None:
        """Of all its files; ``None`` if that of one is unknown."""
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def missing(self) -> tuple[ModelFile, ...]:
        """Those of its files that are not on this disk now; one look at each."""
        return tuple(file for file in self.files if not file.is_there())
