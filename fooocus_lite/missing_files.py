"""What a picture needs, is not on this disk, and can be had: its model, its refiner, the LoRA of its mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fooocus_lite.fooocus_presets import Need
from fooocus_lite.offers import Offer
from fooocus_lite.prompts import normal_name

if TYPE_CHECKING:
    from fooocus_lite.library import Library
    from fooocus_lite.plan import Plan


def is_offline(library: Library) -> bool:
    """Whether nothing may be fetched at all."""
    return library.settings is not None and library.settings.offline


def offers_of(library: Library) -> tuple[Offer, ...]:
    """What may be fetched now: nothing in offline mode."""
    return () if is_offline(library) else tuple(library.downloadable.values())


def can_come(library: Library, name: str) -> bool:
    """Whether the model called so may be fetched now."""
    return any(offer.name == name for offer in offers_of(library))


def lora_to_come(library: Library, name: str) -> str | None:
    """Where the file of an offered LoRA will lie, by the name of its file; ``None`` if nobody offers it now."""
    wanted = normal_name(name)
    for offer in offers_of(library):
        if offer.kind == "lora" and normal_name(offer.name) == wanted:
            return next((file.path for file in offer.files if file.path.endswith(".safetensors")), None)
    return None


def need_can_come(need: Need, library: Library) -> bool:
    """Whether the file that a preset needs may be fetched now; it may be here already."""
    if need.kind == "lora":
        return lora_to_come(library, need.name) is not None
    entry = library.model_for(need) if need.kind == "model" else None
    return entry is not None and can_come(library, entry.name)


def is_to_come(library: Library, path: str) -> bool:
    """Whether a file is not there but may be fetched now."""
    files = (file for offer in offers_of(library) for file in offer.files)
    return any(file.path == path and not file.is_there() for file in files)


def missing_offers(plan: Plan, library: Library) -> tuple[Offer, ...]:
    """The offers that must be fetched before a plan can be drawn, its model first."""
    return tuple(dict.fromkeys(_missing(plan, library)))


def _missing(plan: Plan, library: Library) -> Iterator[Offer]:
    offers = offers_of(library)
    for ref in (plan.model, *([plan.refiner] if plan.refiner else ())):
        entry = library.models.get(ref.name)
        if entry is not None and not entry.available:
            yield from (offer for offer in offers if offer.name == ref.name and offer.missing)
    loras = {lora.path for lora in plan.loras}
    for offer in offers:
        if offer.kind == "lora" and any(file.path in loras and not file.is_there() for file in offer.files):
            yield offer
