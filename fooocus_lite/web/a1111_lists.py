"""What A1111's clients can choose from, under the names that it has there."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Body
from pydantic import BaseModel, Field

from fooocus_lite.errors import FooocusError
from fooocus_lite.library import Library
from fooocus_lite.metadata.a1111 import claims, parse_pairs, read
from fooocus_lite.picture_file import read_picture_file
from fooocus_lite.picture_text import unreadable
from fooocus_lite.registry import AUTO, SAMPLERS, SCHEDULERS
from fooocus_lite.untrusted import Refused
from fooocus_lite.web.shapes import A1111Error, in_shape

Rows = list[dict[str, Any]]
#: Lists of things that are not here; their clients fail without the route, not without a row.
_EMPTY = (
    "sd-vae",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "latent-upscale-modes",
    "script-info",
    "extensions",
)
#: Nothing has to be read anew by hand: the library sees what was dropped in.
_REFRESHES = ("refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings", "reload-checkpoint")


class PngInfoIn(BaseModel):
    """A picture whose settings are wanted."""

    image: str = Field(description="The file as base64, also as a data: address.")


class PngInfoOut(BaseModel):
    """What a picture says of itself. Whoever made it wrote that: show it escaped."""

    info: str = Field(description="The text as A1111 writes it; empty where there is none.")
    items: dict[str, str] = Field(description="The other texts in the file.")
    parameters: dict[str, str] = Field(description="The settings in `info`.")


def add_lists(router: APIRouter, library: Callable[[], Library]) -> None:
    """Add them to the router of ``/sdapi/v1``."""
    lists: dict[str, tuple[str, Callable[[], Any]]] = {
        "sd-models": ("Models that are here", lambda: models(library())),
        "samplers": ("Samplers", samplers),
        "schedulers": ("Schedules", schedulers),
        "loras": ("LoRAs", lambda: loras(library())),
        "embeddings": ("Textual inversions", lambda: embeddings(library())),
        "prompt-styles": ("Styles", lambda: styles(library())),
        "upscalers": ("Upscalers: none yet", upscalers),
        "scripts": ("Scripts: none", scripts),
        "cmd-flags": ("How the server was started", flags),
        "memory": ("Memory", memory),
    }
    lists |= {name: (f"{name.replace('-', ' ').capitalize()}: none", list[Any]) for name in _EMPTY}
    for name, (summary, answer) in lists.items():
        _add_list(router, name, summary, answer)
    for name in _REFRESHES:
        _add_refresh(router, name)


def _add_list(router: APIRouter, name: str, summary: str, answer: Callable[[], Any]) -> None:
    @router.get(
        f"/{name}", summary=summary, description="As A1111 lists them.", responses=in_shape(A1111Error, 403),
        name=f"a1111_{name}",
    )  # fmt: skip
    def rows() -> Any:
        return answer()


def _add_refresh(router: APIRouter, name: str) -> None:
    @router.post(
        f"/{name}", summary="Nothing to do", responses=in_shape(A1111Error, 403), name=f"a1111_{name}",
        description="What is dropped into a folder shows by itself.",
    )  # fmt: skip
    def refresh() -> None:
        return None


def models(library: Library) -> Rows:
    """Those whose weights are on this disk. Their hashes take minutes to read and are left out."""
    there = (entry for entry in library.models.values() if entry.available)
    return [
        {"title": entry.name, "model_name": entry.name, "hash": None, "sha256": None}
        | {"filename": entry.path, "config": None}
        for entry in there
    ]


def samplers() -> Rows:
    """By the labels that they share with A1111."""
    return [{"name": row.label, "aliases": [key, *row.aliases], "options": {}} for key, row in SAMPLERS.items()]


def schedulers() -> Rows:
    """With the one that means: the sampler's usual one."""
    rows = [("automatic", "Automatic", [AUTO])] + [(key, row.label, [*row.aliases]) for key, row in SCHEDULERS.items()]
    return [
        {"name": name, "label": label, "aliases": aliases, "default_rho": -1.0, "need_inner_model": False}
        for name, label, aliases in rows
    ]


def loras(library: Library) -> Rows:
    """By the names that ``<lora:name:1>`` takes."""
    return [
        {"name": Path(path).stem, "alias": name, "path": path, "metadata": {}} for name, path in library.loras.items()
    ]


def embeddings(library: Library) -> dict[str, Any]:
    """By the names that ``embedding:name`` takes."""
    about = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 0, "vectors": 0}
    return {"loaded": dict.fromkeys(library.embeddings, about), "skipped": {}}


def styles(library: Library) -> Rows:
    """Those that are words around the prompt."""
    texts = (style for style in library.styles.values() if style.kind == "text")
    return [{"name": style.name, "prompt": style.prompt, "negative_prompt": style.negative_prompt} for style in texts]


def upscalers() -> Rows:
    """None: the row that A1111 has for that."""
    return [{"name": "None", "model_name": None, "model_path": None, "model_url": None, "scale": 4}]


def scripts() -> dict[str, list[str]]:
    """None of either kind."""
    return {"txt2img": [], "img2img": []}


def flags() -> dict[str, Any]:
    """What clients look for: that there is an interface."""
    return {"api": True, "nowebui": False}


def memory() -> dict[str, Any]:
    """The machine's; what a GPU holds only its worker knows."""
    ram = psutil.virtual_memory()
    return {
        "ram": {"free": ram.available, "used": ram.total - ram.available, "total": ram.total},
        "cuda": {"error": "unavailable"},
    }


def add_png_info(router: APIRouter) -> None:
    """Add the route that reads a picture's settings."""

    @router.post("/png-info", summary="The settings in a picture", responses=in_shape(A1111Error, 400, 403, 413, 422))
    def png_info(asked: Annotated[PngInfoIn, Body()]) -> PngInfoOut:
        """The text that A1111 writes, and reads. `POST /v1/read` also understands other programs' and larger files."""
        try:
            data = base64.b64decode(asked.image.rpartition(",")[2], validate=True)
            picture = read_picture_file(io.BytesIO(data))
        except (binascii.Error, ValueError) as exc:
            raise _no_picture("is not base64" if not isinstance(exc, Refused) else str(exc)) from exc
        if picture is None:
            raise _no_picture("is no PNG, JPEG or WebP")
        texts = dict(picture.texts)
        where = next((name for name in ("parameters", "UserComment") if claims(texts.get(name, ""))), "")
        info = texts.pop(where, "")
        return PngInfoOut(info=info, items=texts, parameters=_parameters(info))


def _parameters(info: str) -> dict[str, str]:
    if not info:
        return {}
    try:
        found = read(info)
        pairs = parse_pairs(info.rpartition("\n")[2])
    except Refused as exc:
        raise _no_picture(str(exc)) from exc
    return {"Prompt": found.prompt, "Negative prompt": found.negative_prompt or ""} | pairs


def _no_picture(what: str) -> FooocusError:
    return unreadable("The picture", what)
