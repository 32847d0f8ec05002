"""Clusters of one program under measurement: nodes that know each other, and what is asked of them."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from server import CLIENT_CORE, Connection, ReplyError, Server, free_port

# How long a cluster may take for anything (seconds).
LIMIT = 60.0


class Node(Server):
    """A node that knows no other and has no slots."""

    def __init__(self, program: Path, *options: str, **where):
        self.bus_port = free_port()
        bus = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port))
        super().__init__(program, *bus, *options, **where)


def own_all(server: Node) -> None:
    """A cluster of one."""
    server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_for("a cluster of one", lambda: is_ok(server))


def is_ok(server: Node) -> bool:
    info = server.command("CLUSTER", "INFO")
    return "cluster_state:ok" in info and "cluster_slots_assigned:16384" in info


def wait_for(what: str, is_so: Callable[[], bool], pause: float = 0.01) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} in {LIMIT:g} s")
        time.sleep(pause)


def join(servers: list[Node], ranges: list[tuple[int, int]]) -> None:
    """Makes a cluster of nodes; the first ones get these slots. Returns when all agree."""
    for at, server in enumerate(servers):
        if at < len(ranges):
            server.command("CLUSTER", "ADDSLOTSRANGE", *ranges[at])
        server.command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        if at:
            first = servers[0]
            server.command("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)

    def all_agree() -> bool:
        nodes = [server.command("CLUSTER", "NODES") for server in servers]
        return all(text.count("\n") == len(servers) and "handshake" not in text for text in nodes)

    wait_for("cluster whose nodes know each other", all_agree)
    wait_for("cluster that serves", lambda: all(is_ok(server) for server in servers))


@contextlib.contextmanager
def shard_and_two(program: Path, timeout_ms: int) -> Iterator[tuple[Node, Node]]:
    """Three primaries, of which the first has a replica that follows it; gives these two."""
    options = ("--cluster-node-timeout", str(timeout_ms), "--repl-diskless-sync-delay", "0")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(Node(program, *options)) for _ in range(4)]
        join(servers, [(0, 5461), (5462, 10922), (10923, 16383)])
        primary, replica = servers[0], servers[3]
        replica.command("CLUSTER", "REPLICATE", primary.command("CLUSTER", "MYID"))
        wait_for("replica", lambda: replica.info("replication", "master_link_status") == "up")
        wait_for("cluster that knows it", lambda: all("slave " in s.command("CLUSTER", "NODES") for s in servers))
        # A few rounds of pings: everybody has heard of everybody.
        time.sleep(2 * timeout_ms / 1000)
        yield primary, replica


def fail_over_seconds(program: Path, timeout_ms: int = 1000) -> float:
    """From the end of a primary, which does not see it coming, to the first write to its replica."""
    with shard_and_two(program, timeout_ms) as (primary, replica):
        primary.command("SET", "b", 1)
        primary.command("WAIT", 1, 1000)
        primary.process.kill()
        start = time.perf_counter()

        def is_written() -> bool:
            with contextlib.suppress(ReplyError):
                return replica.command("SET", "b", 2) == "OK"
            return False

        wait_for("failover", is_written, pause=0.001)
        return time.perf_counter() - start


class Writer:
    """Sets a key each millisecond where it belongs, as a client of a cluster does; knows its longest wait."""

    def __init__(self, port: int, key: str):
        self.connection, self.key = Connection(port), key
        self.worst, self.confirmed, self.ends = 0.0, 0, False
        self.thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writer":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.ends = True
        self.thread.join()
        self.connection.close()

    def _write(self) -> None:
        while not self.ends:
            start = time.perf_counter()
            self._write_one()
            self.worst = max(self.worst, time.perf_counter() - start)
            time.sleep(0.001)

    def _write_one(self) -> None:
        while True:
            try:
                self.connection.command("SET", self.key, self.confirmed + 1)
                self.confirmed += 1
                return
            except ReplyError as error:
                if not str(error).startswith("MOVED "):
                    raise
                self.connection.close()
                self.connection = Connection(int(str(error).rpartition(":")[2]))


def migrate(source: Node, target: Node, slot: int) -> float:
    """Moves a slot as one; returns how many seconds it took."""
    start = time.perf_counter()
    source.command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.command("CLUSTER", "MYID"))

    def is_over() -> bool:
        job = source.command("CLUSTER", "GETSLOTMIGRATIONS")[0]
        state = job[job.index("state") + 1]
        if state in ("failed", "cancelled"):
            raise ReplyError(f"the slot has not moved: {job[job.index('message') + 1]}")
        return state == "success"

    wait_for("slot that has moved", is_over)
    return time.perf_counter() - start


@contextlib.contextmanager
def source_and_target(source: Path, target: Path) -> Iterator[tuple[Node, Node]]:
    """A node that owns all slots, and one that owns none, on cores of their own."""
    with Node(source) as one, Node(target, cores=(CLIENT_CORE,)) as other:
        join([one, other], [(0, 16383)])
        yield one, other
