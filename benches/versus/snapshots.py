"""Rows of snapshots under writes: how long one takes, what it costs in memory, and what clients wait for meanwhile.

By fork, and without where a server can. `longest turn` is how long the loop did not come to its clients, by its own
count, so without what client and machine add (only servers that tell)."""

import contextlib
import math
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latency import roomy_server, save
from rows import KEY, NEXT_KEY, VALUE, Fill, Lab, NotSupported, Reading, Row
from server import Server, ServerFailed

READINGS = (
    Reading("time / SAVE", "x", "lower"),
    Reading("fork", "ms", "lower"),
    Reading("longest turn", "ms", "lower"),
    Reading("worst write", "ms", "lower"),
    Reading("p99.9", "ms", "lower"),
    Reading("memory above the data", "%", "lower"),
)
WRITES = 100_000
"""A second."""
CLIENTS = 4
"""So few that a client has several requests to send at a time: one for each would keep its core from whoever saves."""


@dataclass(frozen=True)
class Load:
    """What is saved, and written to meanwhile."""

    fill: Fill
    write: tuple[str, ...]
    """Its numbers are below the count of keys, or of elements."""
    rate: float
    """Of the writes, a second."""
    needs_gb: float
    each: int = 1
    """Elements that one request of the fill brings."""


class PeakMemory:
    """The most memory of its own, in bytes, that a process and its children have together inside the context."""

    def __init__(self, pid: int):
        self.pid, self.peak, self.stop = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self) -> "PeakMemory":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.stop.wait(0.1):
            self.peak = max(self.peak, memory(self.pid))


def memory(pid: int) -> int:
    """Of a process and its children; what they share counts once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if not children:
        return status_kb(Path(f"/proc/{pid}/status"), "RssAnon:") * 1024
    total = 0
    for one in (pid, *children):
        # A child may have gone.
        with contextlib.suppress(OSError):
            total += status_kb(Path(f"/proc/{one}/smaps_rollup"), "Pss_Anon:") * 1024
    return total


def status_kb(file: Path, field: str) -> int:
    found = file.read_text().partition(field)[2].split()
    return int(found[0]) if found else 0


def available_gb() -> float:
    return status_kb(Path("/proc/meminfo"), "MemAvailable:") / 1e6


def under_writes(load: Load, method: str, lab: Lab) -> tuple[float, ...]:
    if available_gb() < load.needs_gb * lab.scale:
        raise NotSupported(f"needs {load.needs_gb:.0f} GB of memory")
    with roomy_server(lab) as server:
        count = load.fill(lab, server) * load.each
        alone = server.timed("SAVE")
        before = server.settled_resident()
        with lab.loader.open_loop(server, *load.write, rate=load.rate, keys=count, clients=CLIENTS) as latency:
            server.command("CONFIG", "RESETSTAT")
            with PeakMemory(server.process.pid) as most:
                start = time.perf_counter()
                save(method, lab, server, count)
                seconds = time.perf_counter() - start
        fork = int(server.info("stats", "latest_fork_usec")) / 1e3 if method == "FORK" else 0.0
        above = (most.peak - before) / before * 100
        return seconds / alone, fork, longest_turn(server), latency.worst / 1e3, latency.p999 / 1e3, above


def longest_turn(server: Server) -> float:
    """In milliseconds; not a number where the server does not tell."""
    try:
        return int(server.info("debug", "eventloop_duration_max")) / 1e3
    except ServerFailed:
        return math.nan


THOUSAND_BYTES = "x" * 1000
TEN = tuple(word for digit in range(10) for word in ("1{seq:7}", f"element:{{same:11}}{digit}"))

LOADS = {
    "keys": Load(Fill(("SET", NEXT_KEY, VALUE), 5_000_000), ("SET", KEY, VALUE), WRITES, needs_gb=3),
    "zset": Load(
        Fill(("ZADD", "zset", *TEN)),
        ("ZADD", "zset", "1{rand:7}", "element:{rand:11}0"),
        WRITES / 4,
        needs_gb=5,
        each=10,
    ),
    "10gb": Load(
        Fill(("SET", NEXT_KEY, THOUSAND_BYTES), 9_000_000), ("SET", KEY, THOUSAND_BYTES), WRITES / 50, needs_gb=14
    ),
}

ROWS = tuple(
    Row(f"snapshot-{name}-{method.lower()}", READINGS, partial(under_writes, load, method), once=True)
    for name, load in LOADS.items()
    for method in ("FORK", "FORKLESS")
)
