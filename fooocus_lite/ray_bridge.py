"""The process that speaks to Ray for the server: ``python -m fooocus_lite.ray_bridge``.

Ray ends the process it is in when its cluster goes away, so it is not in the server's. This one finds the machines,
puts a `fooocus_lite.ray_seat.RaySeat` on each, and passes bytes on. It ends when the server does, and with it, as
Ray ends the actors of a program that is gone, every seat.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from fooocus_lite.ray_seat import RaySeat
from fooocus_lite.ray_wire import Channel, Kind, Seat
from fooocus_lite.worker import take_over_pipes

LOOK_S = 1.0
RETRY_S = 5.0
AGAIN_S = 60.0  # before a machine is tried again that could not even start
FAREWELL_S = 5.0
STORE_BYTES = 256 * 1024 * 1024  # of a cluster that we start: pictures on their way
#: What a person says to Ray of a machine without a GPU: so many workers share its processor.
WORKERS = "fooocus_workers"


@dataclass(frozen=True)
class Site:
    """Where an actor goes: one GPU of a node, or a share of its processor."""

    node_id: str
    slot: int
    machine: str
    address: str
    gpus: int
    threads: int

    @property
    def key(self) -> str:
        """As in `Seat`."""
        return f"{self.node_id}:{self.slot}"


def find_sites(nodes: list[dict[str, Any]], *, use_gpu: bool) -> dict[str, Site]:
    """Every site of the nodes that ``ray.nodes()`` tells of, by key.

    A GPU is one; a machine without has as many as its resource `WORKERS` says, else one if it gives Ray a processor.
    """
    sites: list[Site] = []
    for node in nodes:
        has: dict[str, float] = node.get("Resources") or {}
        if not node.get("Alive"):
            continue
        gpus, cores = int(has.get("GPU", 0)) if use_gpu else 0, int(has.get("CPU", 0))
        count = gpus or int(has.get(WORKERS, 1 if cores else 0))
        names = str(node["NodeID"]), str(node["NodeManagerHostname"]), str(node["NodeManagerAddress"])
        for slot in range(count):
            sites.append(Site(names[0], slot, *names[1:], gpus=1 if gpus else 0, threads=max(1, cores // count)))
    return {site.key: site for site in sites}


class Bridge:
    """Between the server's pipes and a cluster.

    Args:
        order: ``address`` of the cluster, empty for one of our own; ``use_gpu``; ``seat``, what every seat is told.
    """

    def __init__(self, channel: Channel, order: dict[str, Any]) -> None:
        self._channel, self._order = channel, order
        self._ray: Any = None
        self._lock = threading.Lock()
        self._seats: dict[str, _Sitting] = {}
        self._of_process: dict[int, _Sitting] = {}
        self._offers = b"[]"
        self._told: list[dict[str, Any]] | None = None
        self._is_well = True

    def serve(self) -> None:
        """Look after the cluster until the server is gone."""
        threading.Thread(target=self._listen, name="orders", daemon=True).start()
        while True:
            try:
                if self._ray is None:
                    self._connect()
                self._look()
                self._set_trouble({})
            except Exception as exc:  # noqa: BLE001 - the process border: Ray raises what it likes
                self._set_trouble(self._trouble(exc))
                time.sleep(RETRY_S)
            time.sleep(LOOK_S)

    def _connect(self) -> None:
        ray = importlib.import_module("ray")
        known: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "error"}
        if self._order["address"]:
            known |= {"address": self._order["address"]}
        else:
            # Without "local" it would join whichever cluster it finds on this machine.
            known |= {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
            }
        ray.init(namespace="fooocus-lite", **known)
        self._ray = ray

    def _trouble(self, exc: Exception) -> dict[str, str]:
        address = self._order["address"]
        last = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
        if not address:
            return {"problem": f"Ray does not start on this machine: {last}", "hint": "Start without --engine ray."}
        hint = "On the first machine: ray start --head. This one must be in the cluster, too: docs/machines.md."
        return {"problem": f"The Ray cluster {address} does not answer: {last}", "hint": hint}

    def _set_trouble(self, trouble: dict[str, str]) -> None:
        if trouble or not self._is_well:
            self._channel.send_json(Kind.TROUBLE, 0, trouble)
        self._is_well = not trouble

    def _look(self) -> None:
        """Seats for new sites, none for those that are gone, and the server is told."""
        sites = find_sites(self._ray.nodes(), use_gpu=self._order["use_gpu"])
        for key, sitting in list(self._seats.items()):
            if key not in sites:
                self._lose(sitting)
            elif sitting.is_over and time.monotonic() - sitting.since > (AGAIN_S if sitting.seat.problem else RETRY_S):
                del self._seats[key]
        for key, site in sites.items():
            if key not in self._seats:
                self._seats[key] = _Sitting(self, site)
        self.tell_seats()

    def tell_seats(self) -> None:
        """Tell the server who is there, if that changed."""
        with self._lock:
            seats = [asdict(one.seat) for one in list(self._seats.values()) if one.is_worth_telling]
            if seats != self._told:
                self._told = seats
                self._channel.send_json(Kind.SEATS, 0, seats)

    def _lose(self, sitting: _Sitting) -> None:
        sitting.end(f"The machine {sitting.site.machine} is gone from the cluster.")
        self._seats.pop(sitting.site.key, None)

    # What the server says.

    def _listen(self) -> None:
        try:
            while (message := self._channel.read()) is not None:
                self._obey(*message)
        finally:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """The server is gone. Ray ends our actors when we are, and here its own cluster, if we started that."""
        if self._ray is not None and not self._order["address"]:
            ending = threading.Thread(target=self._ray.shutdown, daemon=True)
            ending.start()
            ending.join(FAREWELL_S)
        os._exit(0)

    def _obey(self, kind: Kind, number: int, data: bytes) -> None:
        if kind == Kind.OFFERS:
            self._offers = data
            for sitting in list(self._seats.values()):
                sitting.tell(kind, number, data)
            return
        if kind == Kind.OPEN:
            sitting = self._seats.get(json.loads(data)["seat"])
            if sitting is None or not sitting.open(number):
                self.lost(number, "The machine that was to draw is gone from the cluster.", is_away=True)
                return
            self._of_process[number] = sitting
        sitting = self._of_process.get(number)
        if sitting is not None:
            sitting.tell(kind, number, data)

    # What a seat says.

    def heard(self, kind: Kind, number: int, data: bytes) -> None:
        """Pass it on."""
        self._channel.send(kind, number, data)
        if kind == Kind.ENDED:
            self._of_process.pop(number, None)

    def lost(self, number: int, problem: str, *, is_away: bool = False) -> None:
        """A process ended, and nobody will ever say how; ``is_away``: it never began."""
        self._of_process.pop(number, None)
        hint = "It is drawn on another machine, or there once it is back."
        self._channel.send_json(Kind.ENDED, number, {"problem": problem, "hint": hint, "is_away": is_away})

    def new_actor(self, site: Site) -> Any:
        """An actor there, as soon as Ray can put it there."""
        ray = self._ray
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        actor = ray.remote(num_cpus=0, num_gpus=site.gpus, concurrency_groups={"orders": 1, "answers": 1})(RaySeat)
        there = strategies.NodeAffinitySchedulingStrategy(node_id=site.node_id, soft=False)
        return actor.options(scheduling_strategy=there).remote(self._order["seat"] | {"threads": site.threads})

    def stream(self, actor: Any) -> Any:
        """What an actor says, one after the other."""
        for ref in actor.answers.options(concurrency_group="answers").remote():
            yield from self._ray.get(ref)

    def end_actor(self, actor: Any) -> None:
        """It may be gone already."""
        self._ray.kill(actor)

    @property
    def offers(self) -> bytes:
        """As the server told them last."""
        return self._offers


class _Sitting:
    """One actor's life, and the processes that it keeps."""

    def __init__(self, bridge: Bridge, site: Site) -> None:
        self._bridge, self.site = bridge, site
        self.seat = Seat(site.key, site.machine, site.address)
        self.since = time.monotonic()
        self._is_ready = self.is_over = False
        self._lock = threading.Lock()
        self._open: set[int] = set()
        self._actor = bridge.new_actor(site)
        self.tell(Kind.OFFERS, 0, bridge.offers)
        threading.Thread(target=self._follow, name=f"seat {site.key}", daemon=True).start()

    @property
    def is_worth_telling(self) -> bool:
        """Somebody can draw here, or it is known why not."""
        return bool(self.seat.problem) or (self._is_ready and not self.is_over)

    def tell(self, kind: Kind, number: int, data: bytes) -> None:
        """Pass a message on to the actor, in order."""
        self._actor.orders.options(concurrency_group="orders").remote(int(kind), number, data)

    def open(self, number: int) -> bool:
        """Whether a process may be opened here."""
        with self._lock:
            if not self.is_over:
                self._open.add(number)
            return not self.is_over

    def end(self, problem: str) -> None:
        """The actor is gone, or nobody needs it."""
        with self._lock:
            if self.is_over:
                return
            self.is_over, self.since = True, time.monotonic()
            lost = list(self._open)
        self._bridge.tell_seats()  # first: what is drawn again must not come here again
        for number in lost:
            self._bridge.lost(number, problem)
        self._bridge.end_actor(self._actor)

    def _follow(self) -> None:
        try:
            for kind, number, data in self._bridge.stream(self._actor):
                if kind == Kind.HELLO:
                    self.seat, self._is_ready = replace(self.seat, **json.loads(data)), True
                    continue
                if kind == Kind.ENDED:
                    with self._lock:
                        self._open.discard(number)
                self._bridge.heard(Kind(kind), number, data)
        except Exception as exc:  # noqa: BLE001 - Ray's errors, and whatever the actor's start raised
            if not self._is_ready:
                self._explain(exc)
        self.end(f"The machine {self.site.machine} stopped drawing in the middle of it.")

    def _explain(self, exc: Exception) -> None:
        """An actor that never said anything could not even start."""
        last = (str(exc).strip().splitlines() or [type(exc).__name__])[-1][:200]
        problem = f"The machine {self.site.machine} cannot draw: {last}"
        hint = "Install the same version of Fooocus Lite there, in the environment that Ray was started from."
        self.seat = replace(self.seat, problem=problem, hint=hint)


def main() -> None:
    """Entry of ``python -m fooocus_lite.ray_bridge ORDER``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes our pipe
    Bridge(Channel(*take_over_pipes()), json.loads(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
