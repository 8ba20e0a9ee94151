"""The shapes of models and downloads that go over HTTP."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fooocus_lite.download_state import Download, DownloadState
from fooocus_lite.download_words import progress_words
from fooocus_lite.web.openai_schemas import OpenAIModel


class DownloadOut(BaseModel):
    """How far the files of an offer have come."""

    name: str = Field(description="As in `/v1/models`.")
    label: str
    state: DownloadState
    done_bytes: int
    total_bytes: int | None = Field(description="Null until the last file's length is known.")
    bytes_per_s: float | None = Field(description="Of the last seconds; null while nothing arrives.")
    seconds_left: float | None = Field(description="At that speed.")
    problem: str = Field(description="Why it failed, or what it is waiting for; else empty.")
    hint: str = Field(description="What to do next; else empty.")
    code: str = Field(description="Stable name of the problem for programs; empty unless it failed.")
    words: str = Field(description="All that in a few words.", examples=["2.1 of 6.9 GB, 4 min left"])


class DownloadList(BaseModel):
    """Every download, in the order in which they were asked for."""

    downloads: list[DownloadOut]
    free_bytes: int | None = Field(description="Left on the disk that models go to.")


class DownloadIn(BaseModel):
    """What to fetch."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=200, description="As in `/v1/models`.")


class ModelOut(BaseModel):
    """A model, or another file that pictures are made with: on this disk, or one that can be downloaded."""

    name: str = Field(description="A model's is the one that a Recipe's `model` takes.")
    label: str
    kind: str = Field(description="`checkpoint`, `lora`, `vae` and so on.")
    family: str = Field(description="Kind of model; empty for what is none.")
    description: str = Field(description="What it is good at.")
    available: bool = Field(description="All of it is on this disk.")
    can_be_fetched: bool = Field(description="`POST /v1/downloads` takes its name; never in offline mode.")
    size_bytes: int | None = Field(description="Of all its files; null where nobody says.")
    memory_bytes: int | None = Field(description="What it takes in memory in 16 bits; null where nobody says.")
    verdict: str = Field(
        description="Whether a picture of its own size fits this computer, for a model that is not here; else empty.",
        examples=["Fits your graphics card: takes 9.0 of 11.2 GB"],
    )
    licence: str
    licence_url: str = Field(description="Where the licence can be read; empty where nobody says.")
    is_gated: bool = Field(description="Its makers want to know who has it: a token of the hub is needed.")
    download: DownloadOut | None = Field(description="Null where nobody asked for it.")


class ModelList(BaseModel):
    """Models first, as the catalogs list them, then what belongs to them."""

    object: Literal["list"] = Field(default="list", description="For OpenAI's clients.")
    data: list[OpenAIModel] = Field(description="For OpenAI's clients: the models that are here.")
    models: list[ModelOut]
    folder: str = Field(description="Where downloads go.")
    free_bytes: int | None = Field(description="Left on the disk of that folder.")
    disk_bytes: int | None = Field(description="The size of that disk.")
    offline: bool = Field(description="Nothing is fetched.")


def download_out(download: Download) -> DownloadOut:
    """A download as programs see it."""
    values: dict[str, Any] = {name: getattr(download, name) for name in DownloadOut.model_fields if name != "words"}
    return DownloadOut(**values, words=progress_words(download))
