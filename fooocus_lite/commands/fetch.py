"""Fetching in a terminal what pictures lack, before they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from fooocus_lite.commands.models import fetch
from fooocus_lite.errors import MissingModel
from fooocus_lite.foreground import Job, refreshed_job
from fooocus_lite.library import Library
from fooocus_lite.missing_files import missing_offers
from fooocus_lite.settings import Settings
from fooocus_lite.teller import DownloadTeller


def with_files(jobs: Sequence[Job], library: Library, settings: Settings) -> list[Job]:
    """The jobs once everything that they need is here; what can be had is fetched, and said before.

    Raises:
        MissingModel: a model is neither here nor on offer, or its download failed, which was said.
    """
    offers = list(dict.fromkeys(offer for job in jobs for offer in missing_offers(job.plan, library)))
    teller = DownloadTeller(as_json=False)  # stdout is for pictures
    for offer in offers:
        if not fetch(offer, settings, teller):
            problem = f"{offer.label} could not be fetched, so nothing was drawn."
            raise MissingModel(problem, "What has arrived is kept: try again, or choose another model.", field="model")
    now = library.refreshed() if offers else library
    for name in {job.plan.model.name for job in jobs}:
        now.check_available(name)
    return [refreshed_job(job, now) for job in jobs] if offers else list(jobs)
