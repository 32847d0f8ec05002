"""Rows of latency under a fixed rate of writes, while something large happens: what one client in a thousand, and the
unluckiest one, waits for.

The rate is half of what the better peer can do with the same connections, one request at a time on each. A request that
is late makes no other one wait, and counts from when it was due (see `open` in loader.rs)."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from client import Latency
from rows import KEY, NEXT_KEY, VALUE, Lab, NotSupported, Reading, Row
from server import CLIENT_CORE, CORES, HELPER_CORE, SERVER_CORE, ReplyError, Server, ServerFailed

# Where files are memory: a virtual machine may stop for milliseconds to write to its disk, which no server can help.
MEMORY = Path("/dev/shm")

# Seconds that nothing happens for, and that something may take.
QUIET = 5.0
LIMIT = 300.0

READINGS = tuple(Reading(name, "µs", "lower") for name in ("p50", "p99", "p99.9", "worst"))


@contextlib.contextmanager
def writes(lab: Lab, server: Server, keys: int, key: str = KEY):
    """Overwrites keys at the rate of the comparison inside the context."""
    with lab.loader.open_loop(server, "SET", key, VALUE, rate=lab.rate, keys=keys) as latency:
        yield latency


def latency_row(
    name: str, happening: Callable[[Lab, Server, int], None], keys: int = 1_000_000, options: tuple[str, ...] = ()
) -> Row:
    """Writes to `keys` keys (scaled) while `happening` does; that gets their number."""

    def measure(lab: Lab) -> tuple[float, ...]:
        count = lab.size(keys)
        with roomy_server(lab, *options) as server:
            lab.fill_keys(server, count)
            with writes(lab, server, count) as latency:
                happening(lab, server, count)
            return figures(latency)

    return Row(f"latency-{name}", READINGS, measure, once=True, needs_rate=True)


# The loop on the server's core, and what saves, frees or syncs on another: on the loop's, it would be all that is
# measured.
CORE_OF = {"server": SERVER_CORE, "bio": HELPER_CORE, "bgsave": HELPER_CORE, "aof_rewrite": HELPER_CORE}
PLACES = tuple(word for name, core in CORE_OF.items() for word in (f"--{name}_cpulist", str(core)))


def roomy_server(lab: Lab, *options: str) -> Server:
    return lab.server(*PLACES, *options, cores=tuple(CORES), under=MEMORY if MEMORY.is_dir() else None)


def figures(latency: Latency) -> tuple[float, ...]:
    return latency.p50, latency.p99, latency.p999, latency.worst


def wait_info(server: Server, section: str, field: str, is_wanted: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_wanted(server.info(section, field)):
        if time.monotonic() > deadline:
            raise ServerFailed(f"{field} is {server.info(section, field)}")
        time.sleep(0.02)


def nothing(_lab: Lab, _server: Server, _keys: int) -> None:
    time.sleep(QUIET)


def save(method: str, _lab: Lab, server: Server, _keys: int) -> None:
    """A snapshot by `method`, which only some servers can choose: others fork."""
    try:
        server.command("BGSAVE", method)
    except ReplyError as error:
        if method != "FORK":
            raise NotSupported(str(error)) from error
        server.command("BGSAVE")
    wait_info(server, "persistence", "rdb_bgsave_in_progress", "0".__eq__)


def full_sync(lab: Lab, server: Server, _keys: int) -> None:
    with lab.server(cores=(CLIENT_CORE,)) as replica:
        replica.command("REPLICAOF", "127.0.0.1", server.port)
        wait_info(replica, "replication", "master_link_status", "up".__eq__)
        # What follows the snapshot is a part of it.
        time.sleep(1)


def rewrite(_lab: Lab, server: Server, _keys: int) -> None:
    server.command("BGREWRITEAOF")
    wait_info(server, "persistence", "aof_rewrite_in_progress", "0".__eq__)
    wait_info(server, "persistence", "aof_rewrite_scheduled", "0".__eq__)


def growth(lab: Lab, server: Server, keys: int) -> None:
    """More keys come, few at a time: a request should wait for the table, not for the queue before it."""
    more = 10 * keys
    lab.loader.load(server, "SET", "more:{seq:12}", VALUE, requests=more, keys=more, clients=4, pipeline=16)


def expiry(lab: Lab) -> tuple[float, ...]:
    """A million keys (scaled) whose time comes within one second."""
    count = lab.size(1_000_000)
    with roomy_server(lab) as server:
        lab.fill_keys(server, count)
        second = int(time.time()) + 5 + count // 100_000
        volatile = ("SET", "volatile:{seq:12}", VALUE, "PXAT", f"{second}{{same:3}}")
        lab.loader.fill(server, *volatile, count=count)
        time.sleep(max(0.0, second - 1 - time.time()))
        with writes(lab, server, count) as latency:
            wait_info(server, "stats", "expired_keys", lambda expired: int(expired) >= count)
        return figures(latency)


def eviction(lab: Lab) -> tuple[float, ...]:
    """Each write is a new key, and another one has to go for it."""
    count = lab.size(1_000_000)
    with roomy_server(lab, "--maxmemory-policy", "allkeys-lru") as server:
        lab.fill_keys(server, count)
        server.command("CONFIG", "SET", "maxmemory", server.info("memory", "used_memory"))
        with writes(lab, server, 10**9, key="new:{seq:12}") as latency:
            time.sleep(QUIET)
        if server.info("stats", "evicted_keys") == "0":
            raise ServerFailed("nothing was evicted")
        return figures(latency)


def unlink(lab: Lab) -> tuple[float, ...]:
    """A set of ten million members (scaled)."""
    count = lab.size(1_000_000)
    with roomy_server(lab) as server:
        lab.fill_keys(server, count)
        ten = ["element:{seq:11}0", *(f"element:{{same:11}}{digit}" for digit in range(1, 10))]
        lab.loader.fill(server, "SADD", "big", *ten, count=count)
        with writes(lab, server, count) as latency:
            server.command("UNLINK", "big")
            time.sleep(QUIET)
        return figures(latency)


def flush(lab: Lab) -> tuple[float, ...]:
    """Ten million keys (scaled)."""
    count = lab.size(10_000_000)
    with roomy_server(lab) as server:
        lab.loader.fill(server, "SET", NEXT_KEY, VALUE, count=count)
        with writes(lab, server, count) as latency:
            server.command("FLUSHALL")
            time.sleep(QUIET)
        return figures(latency)


def row(name: str, measure: Callable[[Lab], tuple[float, ...]]) -> Row:
    return Row(f"latency-{name}", READINGS, measure, once=True, needs_rate=True)


AOF = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")

ROWS = (
    latency_row("idle", nothing),
    latency_row("bgsave", partial(save, "FORK"), keys=3_000_000),
    latency_row("bgsave-forkless", partial(save, "FORKLESS"), keys=3_000_000),
    latency_row("full-sync", full_sync, keys=2_000_000, options=("--repl-diskless-sync-delay", "0")),
    latency_row("aof-rewrite", rewrite, keys=2_000_000, options=AOF),
    row("expiry", expiry),
    latency_row("growth", growth),
    row("eviction", eviction),
    row("unlink", unlink),
    row("flushall", flush),
)
