"""Routes for models and what is fetched: what is here, what can be downloaded, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body

from fooocus_lite.disk import disk_bytes
from fooocus_lite.dispatcher import Dispatcher
from fooocus_lite.download_state import Download
from fooocus_lite.errors import FooocusError, NotFound
from fooocus_lite.library import CatalogEntry, Library
from fooocus_lite.missing_files import is_offline
from fooocus_lite.offers import Offer
from fooocus_lite.plan import expand, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.supply import Supply
from fooocus_lite.web.model_schemas import DownloadIn, DownloadList, DownloadOut, ModelList, ModelOut, download_out
from fooocus_lite.web.openai_schemas import openai_models
from fooocus_lite.web.schemas import problems
from fooocus_lite.web.who import ADMINS_ONLY


def add_model_routes(
    router: APIRouter, library: Callable[[], Library], supply: Supply, dispatcher: Dispatcher, folder: Path
) -> None:
    """Add them to the router of ``/v1``.

    Args:
        folder: Takes what is fetched.
    """

    @router.get("/models", tags=["models"], summary="Models: here, and to download")
    def models() -> ModelList:
        """With licence, size and memory. A model that is not here is fetched when a picture needs it, or when asked."""
        return _model_list(library(), supply, dispatcher, folder)

    @router.get("/downloads", tags=["models"], summary="Downloads")
    def all_downloads() -> DownloadList:
        """Also those that have ended, until somebody takes them out of the list."""
        return DownloadList(downloads=download_rows(supply), free_bytes=disk_bytes(folder)[0])

    @router.post(
        "/downloads",
        tags=["models"],
        status_code=202,
        summary="Fetch a model",
        responses=problems(400, 403, 409, 422),
        dependencies=ADMINS_ONLY,
    )
    def request(wanted: Annotated[DownloadIn, Body()]) -> DownloadOut:
        """Its files come one after the other behind what is being fetched already, and over every restart. Asked for
        again, one that failed is tried again, and one that is here is checked against its hashes."""
        return download_out(supply.downloads.request(wanted.name))

    _add_changes(router, supply, all_downloads)


def _add_changes(router: APIRouter, supply: Supply, all_downloads: Callable[[], DownloadList]) -> None:
    """Pause, resume and cancel."""
    downloads = supply.downloads

    @router.post(
        "/downloads/{name:path}/pause",
        tags=["models"],
        summary="Pause a download",
        responses=problems(403, 404, 422),
        dependencies=ADMINS_ONLY,
    )
    def pause(name: str) -> DownloadOut:
        """What has come is kept, also over a restart; the next in line follows."""
        downloads.pause(name)
        return _found(supply, name)

    @router.post(
        "/downloads/{name:path}/resume",
        tags=["models"],
        summary="Go on",
        responses=problems(403, 404, 409, 422),
        dependencies=ADMINS_ONLY,
    )
    def resume(name: str) -> DownloadOut:
        """Goes on where it was paused."""
        downloads.resume(name)
        return _found(supply, name)

    @router.post(
        "/downloads/{name:path}/cancel",
        tags=["models"],
        summary="Cancel a download",
        responses=problems(403, 404, 422),
        dependencies=ADMINS_ONLY,
    )
    def cancel(name: str) -> DownloadList:
        """What has come of a file that is not whole is deleted, and tasks that wait for it fail. Answers what is left.
        One that has ended is taken out of the list; its files stay."""
        downloads.cancel(name)
        supply.wake()
        return all_downloads()


def _model_list(library: Library, supply: Supply, dispatcher: Dispatcher, folder: Path) -> ModelList:
    free, total = disk_bytes(folder)
    return ModelList(
        data=openai_models(library),
        models=list(model_rows(library, supply, dispatcher)),
        folder=str(folder),
        free_bytes=free,
        disk_bytes=total,
        offline=is_offline(library),
    )


def model_rows(
    library: Library, supply: Supply, dispatcher: Dispatcher, names: set[str] | None = None
) -> Iterator[ModelOut]:
    """Everything, or what is called one of ``names``."""
    found = {download.name: download for download in supply.all()}
    for name in dict.fromkeys((*library.models, *library.downloadable)):
        if names is None or name in names:
            entry, offer = library.models.get(name), library.downloadable.get(name)
            row = _row(name, entry, offer, found.get(name), may_fetch=not is_offline(library))
            row.verdict = "" if row.available or entry is None else _verdict(name, library, dispatcher)
            yield row


def _verdict(name: str, library: Library, dispatcher: Dispatcher) -> str:
    """Whether a picture of the model's own size fits; empty where nobody can tell, or it draws none by itself."""
    try:
        (recipe,) = expand(Recipe(model=name), library, 0)
        outlook = dispatcher.outlook(make_plan(recipe, library, 0), recipe)
    except FooocusError:
        return ""
    return outlook.verdict if outlook else ""


def _row(
    name: str, entry: CatalogEntry | None, offer: Offer | None, download: Download | None, *, may_fetch: bool
) -> ModelOut:
    said = offer or entry
    assert said is not None
    return ModelOut(
        name=name,
        label=said.label,
        kind=offer.kind if offer else "checkpoint",
        family=entry.family if entry else "",
        description=said.description,
        available=entry.available if entry else offer is not None and not offer.missing,
        can_be_fetched=offer is not None and may_fetch,
        size_bytes=offer.size_bytes if offer else None,
        memory_bytes=said.memory_bytes,
        verdict="",
        licence=said.licence,
        licence_url=said.licence_url,
        is_gated=said.is_gated,
        download=download_out(download) if download else None,
    )


def download_rows(supply: Supply) -> list[DownloadOut]:
    """Every download as programs see it."""
    return [download_out(download) for download in supply.all()]


def _found(supply: Supply, name: str) -> DownloadOut:
    download = supply.downloads.find(name)
    if download is None:
        raise NotFound(f"There is no download of {name[:60]!r}.", "`GET /v1/downloads` lists them.")
    return download_out(download)
