"""Between the queue and the downloads: tasks that wait for files, and what lets them go on.

Which files a picture needs follows from its plan alone, and what waits stands in its row, so nothing here has to
survive: after any end the next start looks at the rows, at the disk and at the downloads, and goes on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from fooocus_lite.download_state import Download
from fooocus_lite.download_words import progress_words
from fooocus_lite.downloads import Downloads
from fooocus_lite.errors import FooocusError
from fooocus_lite.events import Downloading, Failed
from fooocus_lite.library import Library
from fooocus_lite.missing_files import missing_offers
from fooocus_lite.offers import Offer
from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.settings import Settings
from fooocus_lite.sheets import Varies
from fooocus_lite.store import Store
from fooocus_lite.taskqueue import Wanted

logger = logging.getLogger(__name__)
#: How often the disk is looked at while tasks wait: a person may put the files there by hand.
LOOK_S = 2.0
#: Tasks that hear of their download's progress one by one; whoever asks for another is told all the same.
TOLD = 100
JOIN_S = 15.0


class Supply:
    """Runs from `start` to `close`; every method may be called from any thread.

    Args:
        store: Queue and log.
        settings: Where things lie.
        library: Gives the newest snapshot.
    """

    def __init__(self, store: Store, settings: Settings, library: Callable[[], Library]) -> None:
        self._queue, self._log = store.queue, store.log
        self._library = library
        self.downloads = Downloads(settings, library, on_change=self.wake)
        #: Every download as it was told last: for those who look often and must not wait for a disk.
        self.newest: tuple[Download, ...] = ()
        self._known: set[str] = set()  # offers that tasks wait for and that had a download
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="supply", daemon=True)

    def start(self) -> None:
        """Go on with what was asked for before, and let tasks go whose files have come."""
        self.downloads.start()
        self._thread.start()
        self.wake()

    def close(self) -> None:
        """Stop; what is half there is kept for the next start."""
        self._closing.set()
        self.wake()
        self.downloads.close()
        self._thread.join(JOIN_S)

    def wake(self) -> None:
        """Something may have changed."""
        self._news.set()

    def fetch_for(self, plan: Plan, library: Library, *, is_asked: bool = False) -> str | None:
        """Ask for everything that a plan lacks; the name of the first offer that it must wait for, ``None`` if none.

        Args:
            is_asked: A person wants it just now, so what was paused goes on.

        Raises:
            MissingModel: its model is neither here nor on offer, or offline mode is on.
            FooocusError: a download that cannot even be asked for.
        """
        offers = missing_offers(plan, library)
        if all(offer.name != plan.model.name for offer in offers):
            library.check_available(plan.model.name)
        for offer in offers:
            known = self.downloads.find(offer.name)
            if is_asked or known is None or known.state != "paused":
                self.downloads.request(offer.name)
        return offers[0].name if offers else None

    def fetch_for_all(self, recipes: Sequence[Recipe], library: Library) -> list[str | None]:
        """Ask for everything that resolved recipes lack; what each must wait for, as `TaskQueue.submit` takes it.

        Raises:
            FooocusError: where `make_plan` refuses one, or as `fetch_for`.
        """
        # Recipes of one model, refiner and mode lack the same.
        found: dict[tuple[object, ...], str | None] = {}
        waits: list[str | None] = []
        for recipe in recipes:
            key = (recipe.model, recipe.refiner, recipe.refiner_switch, recipe.steps, recipe.mode_lora)
            if key not in found:
                found[key] = self.fetch_for(make_plan(recipe, library, 0), library, is_asked=True)
            waits.append(found[key])
        return waits

    def submit(
        self,
        recipes: Sequence[Recipe],
        library: Library,
        *,
        batch_id: str | None = None,
        labels: Sequence[str] | None = None,
        varies: Varies | Sequence[Varies] = "style",
        owner: str = "",
        key: str | None = None,
    ) -> list[str]:
        """Put a batch of resolved recipes in line; what they lack is being fetched when this returns.

        ``batch_id``, ``labels``, ``varies``, ``owner`` and ``key`` are those of `TaskQueue.submit_all`.

        Raises:
            FooocusError: where `make_plan` refuses one, as `fetch_for`, it is more than the user may ask for, or the
                disk is full; nothing was queued.
        """

        def put_in_line() -> list[str]:
            self._queue.refuse_beyond(recipes, owner)  # before anything is fetched for what is refused
            waits = self.fetch_for_all(recipes, library)
            ids = self._queue.submit_all([Wanted(recipes, batch_id, labels, varies, waits)], owner=owner, key=key)
            if any(waits):
                self.wake()
            return ids

        return self._queue.once(key, put_in_line)

    def retry(self, task_id: str, *, owner: str | None = None) -> str:
        """A new task from the same recipe, as `TaskQueue.retry`; what it lacks is being fetched when this returns.

        Raises:
            NotFound: no such task, for that user.
            FooocusError: it is more than its user may ask for.
        """
        old = self._queue.get(task_id, owner=owner)
        recipe = old.recipe
        self._queue.refuse_beyond([recipe], old.owner)
        try:
            (offer,) = self.fetch_for_all([recipe], self._library())
        except FooocusError:  # the new task ends with that sentence
            offer = None
        again = self._queue.retry(task_id, waits_for=offer)
        self.wake()
        return again

    def all(self) -> list[Download]:
        """Every download, in the order in which they were asked for."""
        return self.downloads.all()

    def of_task(self, offer_name: str) -> Download:
        """The download that a task waits for, as it stands."""
        found = self.downloads.find(offer_name)
        offer = self._library().downloadable.get(offer_name)
        return found or Download(offer_name, offer.label if offer else offer_name, "waiting")

    # Its own thread: the only one that releases and fails tasks that wait.

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                is_held = self._look()
            except FooocusError as exc:  # a full disk, say; the queue says so to a person
                logger.warning("%s", exc)
                is_held = True
            except Exception:  # the thread's border: without it nothing that waits would ever go on
                logger.exception("supply: something that should not happen")
                is_held = True
                self._closing.wait(LOOK_S)
            self._news.wait(LOOK_S if is_held else None)
            self._news.clear()

    def _look(self) -> bool:
        """Deal with everything that tasks wait for; whether any still do."""
        waited_for = self._queue.held()
        offers = self._library().downloadable if waited_for else {}  # no look at the disk where nothing waits
        for name in waited_for:
            self._settle(name, offers.get(name))
        self.newest = tuple(self.downloads.all())
        self._log.nudge()
        held = set(self._queue.held())
        self._known &= held
        return bool(held)

    def _settle(self, name: str, offer: Offer | None) -> None:
        if offer is None or not offer.missing:  # of one that is offered no more, the next claim says what is wrong
            self._log_release(name, self._queue.release(name))
            return
        download = self.downloads.find(name)
        if download is None and name in self._known:
            hint = "Press Try again to download it after all, or choose another model."
            problem = f"The download of {offer.label} was cancelled."
            self._fail(name, Failed(code="missing_model", problem=problem, hint=hint))
        elif download is None or download.state == "finished":  # of another run, or its files have gone since
            self._request(name)
        elif download.state == "failed":
            problem = f"{offer.label} could not be downloaded: {download.problem}"
            self._fail(name, Failed(code=download.code, problem=problem, hint=download.hint))
        else:
            self._known.add(name)
            self._tell(name, download)

    def _request(self, name: str) -> None:
        try:
            self.downloads.request(name)
            self._known.add(name)
        except FooocusError as exc:
            self._fail(name, Failed(code=exc.code, problem=exc.problem, hint=exc.hint))

    def _fail(self, name: str, reason: Failed) -> None:
        ids = self._queue.fail_held(name, reason)
        self._known.discard(name)
        logger.info("%d tasks that waited for %s failed: %s", len(ids), name, reason.problem)

    def _tell(self, name: str, download: Download) -> None:
        event = downloading(download)
        for task_id in self._queue.held_by(name, limit=TOLD):
            self._log.append(task_id, event)

    def _log_release(self, name: str, ids: Iterable[str]) -> None:
        for task_id in ids:
            logger.info("task %s has its files: %s", task_id, name)


def downloading(download: Download) -> Downloading:
    """The event that tells a task how far its files are."""
    return Downloading(
        name=download.name,
        label=download.label,
        state=download.state,
        done_bytes=download.done_bytes,
        total_bytes=download.total_bytes,
        seconds_left=download.seconds_left,
        words=progress_words(download),
    )
