"""Fetching in a terminal what pictures lack, before they are drawn."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from fooocus_lite.download_offer import fetch_offer
from fooocus_lite.download_state import size_text
from fooocus_lite.foreground import Job, refreshed_job
from fooocus_lite.http_streams import Halt
from fooocus_lite.library import Library
from fooocus_lite.missing_files import missing_offers
from fooocus_lite.offers import Offer
from fooocus_lite.settings import Settings
from fooocus_lite.teller import Teller


def with_files(jobs: Sequence[Job], library: Library, settings: Settings, teller: Teller) -> list[Job]:
    """The jobs once everything that they need is here; what can be had is fetched, and said before.

    Raises:
        MissingModel: a model is neither here nor on offer.
        FooocusError: a download failed; what has come is kept for the next try.
    """
    offers = list(dict.fromkeys(offer for job in jobs for offer in missing_offers(job.plan, library)))
    for offer in offers:
        teller.note(announcement(offer, settings))
        fetch_offer(offer, settings, Halt(), teller.fetching)
        teller.note(f"{offer.label} is here.")
    now = library.refreshed() if offers else library
    for name in {job.plan.model.name for job in jobs}:
        now.check_available(name)
    return [refreshed_job(job, now) for job in jobs] if offers else list(jobs)


def announcement(offer: Offer, settings: Settings) -> str:
    """What is fetched, how much, under which licence, and how much room there is."""
    said = [f"Fetching {offer.label}"]
    if offer.size_bytes is not None:
        said.append(f", {size_text(offer.size_bytes)}")
    said.append(f", into {settings.models_dir}")
    place = next((folder for folder in (settings.models_dir, *settings.models_dir.parents) if folder.exists()), None)
    if place is not None:
        said.append(f" ({size_text(shutil.disk_usage(place).free)} free)")
    if offer.licence:
        said.append(f". Licence: {offer.licence}{f', {offer.licence_url}' if offer.licence_url else ''}")
    return f"{''.join(said)}. Ctrl+C is safe: the next try goes on from there."
