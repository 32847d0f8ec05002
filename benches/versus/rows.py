"""What is compared: each Row measures one server program once and gives one figure for each of its Readings."""

import contextlib
import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cluster
from client import Load, Loader, redis_benchmark
from server import CLIENT_CORE, Connection, ReplyError, Server
from slow import slow_link, steady_writer

VALUE = "x" * 64
KEY = "key:{rand:12}"
NEXT_KEY = "key:{seq:12}"


@dataclass(frozen=True)
class Reading:
    """One line of the table."""

    name: str
    unit: str
    better: str
    """"higher" or "lower"."""
    target: float | None = None
    """Of the ratio ours / best peer, or of our figure itself if `absolute`; None: for information."""
    absolute: bool = False


@dataclass(frozen=True)
class Row:
    name: str
    readings: tuple[Reading, ...]
    measure: Callable[["Lab"], tuple[float, ...]]
    once: bool = False
    """Measured once however often the others are: it is long, or hardly varies."""
    times: int = 1
    """How often it is measured where the others are measured once: its figures vary more than theirs."""
    needs_rate: bool = False
    """It wants `Lab.rate`."""


class NotSupported(Exception):
    """The server lacks what the row is about."""


@dataclass(frozen=True)
class Lab:
    """What a measurement gets: a program to start and the sizes to use."""

    program: Path
    loader: Loader
    requests: int
    """Requests of one throughput measurement."""
    scale: float
    """Of all sizes: 1, or less to be quick."""
    rate: float = 0.0
    """Requests per second of an open loop: half of what the better peer can do, where a row needs it."""

    def server(self, *options: str, **where) -> Server:
        return Server(self.program, *options, **where)

    def size(self, full: int) -> int:
        return int(full * self.scale)

    def saturated_rate(self) -> float:
        """How many SETs a second the server answers, one at a time on each of 50 connections."""
        with self.server() as server:
            keys = self.size(1_000_000)
            self.fill_keys(server, keys)
            requests = self.requests // 8
            return self.loader.load(server, "SET", KEY, VALUE, requests=requests, keys=keys, pipeline=1).throughput

    def fill_keys(self, server: Server, count: int) -> None:
        self.loader.fill(server, "SET", NEXT_KEY, VALUE, count=count)


@dataclass(frozen=True)
class Fill:
    """A request with `{seq:…}` that is sent `count` times (scaled) to fill a server before, or as, a measurement."""

    request: tuple[str, ...]
    count: int = 1_000_000
    lines: int = 1
    """Of each reply."""
    clients: int = 50
    """One keeps the order."""

    def __call__(self, lab: "Lab", server: Server) -> int:
        """Gives the count as scaled."""
        count = lab.size(self.count)
        lab.loader.fill(server, *self.request, count=count, lines=self.lines, clients=self.clients)
        return count


# SET and GET


def set_get(lab: Lab, command: str, pipeline: int, requests: int, options: tuple[str, ...] = ()) -> Load:
    keys = lab.size(1_000_000)
    with lab.server(*options) as server:
        if command == "GET":
            lab.fill_keys(server, keys)
        return drive(lab, server, command, keys, pipeline, requests)


def drive(lab: Lab, server: Server, command: str, keys: int, pipeline: int, requests: int) -> Load:
    # Unpipelined, the kernel does most of the work on either side, and redis-benchmark is what everyone knows.
    if pipeline == 1:
        return redis_benchmark(server, command.lower(), requests=requests, keys=keys, pipeline=pipeline)
    request, lines = (("GET", KEY), 2) if command == "GET" else (("SET", KEY, VALUE), 1)
    return lab.loader.load(server, *request, requests=requests, keys=keys, pipeline=pipeline, lines=lines)


def set_get_row(command: str, pipeline: int, throughput: float, cpu: float | None) -> Row:
    def measure(lab: Lab) -> tuple[float, ...]:
        requests = lab.requests if pipeline > 1 else lab.requests // 8
        load = set_get(lab, command, pipeline, requests)
        return load.throughput, load.cpu_per_request, load.busy

    readings = (
        Reading("throughput", "req/s", "higher", throughput),
        Reading("CPU per request", "µs", "lower", cpu),
        Reading("server busy", "%", "higher"),
    )
    # Unpipelined, who wakes whom decides, and that changes from run to run.
    return Row(f"{command.lower()}-p{pipeline}", readings, measure, times=1 if pipeline > 1 else 3)


def waiting_row(command: str, clients: int, target: float) -> Row:
    """Unpipelined, where a server that can is told to wait for a moment before it sleeps."""

    def measure(lab: Lab) -> tuple[float, ...]:
        keys = lab.size(1_000_000)
        with lab.server() as server:
            if server.command("CONFIG", "GET", "busy-wait-us"):
                server.command("CONFIG", "SET", "busy-wait-us", 50)
            if command == "GET":
                lab.fill_keys(server, keys)
            requests = lab.requests // (8 if clients > 1 else 32)
            load = redis_benchmark(
                server, command.lower(), requests=requests, keys=keys, pipeline=1, clients=clients
            )
        return load.throughput, load.cpu_per_request

    readings = Reading("throughput", "req/s", "higher", target), Reading("CPU per request", "µs", "lower")
    return Row(f"waiting-{command.lower()}-c{clients}", readings, measure, times=3)


# In a cluster, beside the same server alone


def cluster_row(command: str, pipeline: int) -> Row:
    """A cluster of one node, and before it the same server outside of any."""

    def measure(lab: Lab) -> tuple[float, ...]:
        requests = lab.requests if pipeline > 1 else lab.requests // 8
        keys = lab.size(1_000_000)
        alone = set_get(lab, command, pipeline, requests)
        with cluster.Node(lab.program) as server:
            cluster.own_all(server)
            if command == "GET":
                lab.fill_keys(server, keys)
            load = drive(lab, server, command, keys, pipeline, requests)
        return load.throughput, load.throughput / alone.throughput, load.cpu_per_request / alone.cpu_per_request

    readings = (
        Reading("throughput", "req/s", "higher"),
        Reading("throughput / alone", "x", "higher", 0.95, absolute=True),
        Reading("CPU per request / alone", "x", "lower"),
    )
    return Row(f"cluster-{command.lower()}-p{pipeline}", readings, measure, times=1 if pipeline > 1 else 3)


def cluster_bytes(lab: Lab) -> tuple[float, ...]:
    with lab.server() as server:
        alone = bytes_each(lab, server, KEYS)
    with cluster.Node(lab.program) as server:
        cluster.own_all(server)
        in_cluster = bytes_each(lab, server, KEYS)
    return in_cluster, in_cluster - alone


def fail_over(lab: Lab) -> tuple[float, ...]:
    return (cluster.fail_over_seconds(lab.program) * 1e3,)


# Memory


def bytes_each(lab: Lab, server: Server, fill: "Fill") -> float:
    """Growth of RssAnon, divided by the requests that `fill` sends."""
    # The loader's connections and buffers are not what is measured.
    lab.loader.load(server, "PING", requests=10_000)
    before = server.settled_resident()
    count = fill(lab, server)
    return (server.settled_resident() - before) / count


def bytes_row(name: str, unit: str, target: float, fill: Fill) -> Row:
    def measure(lab: Lab) -> tuple[float, ...]:
        with lab.server() as server:
            return (bytes_each(lab, server, fill),)

    return Row(f"bytes-{name}", (Reading("memory", unit, "lower", target),), measure, once=True)


def idle_connections(lab: Lab) -> tuple[float, ...]:
    count = lab.size(10_000)
    with lab.server("--maxclients", str(count + 1000)) as server:
        before = server.settled_resident()
        idle = []
        try:
            for _ in range(count):
                idle.append(Connection(server.port))
                # A client that has never been served would be cheaper than those that exist.
                idle[-1].command("PING")
            return ((server.settled_resident() - before) / count,)
        finally:
            for connection in idle:
                connection.close()


# Latency while something large happens


def growth(lab: Lab) -> tuple[float, ...]:
    with lab.server() as server:
        count = lab.size(10_000_000)
        with lab.loader.pinger(server) as latency:
            # Few requests in flight: a PING should wait for the table, not for the queue before it.
            lab.loader.load(server, "SET", NEXT_KEY, VALUE, requests=count, keys=count, clients=4, pipeline=16)
        return latency.p999, latency.worst


def delete_row(command: str) -> Row:
    def measure(lab: Lab) -> tuple[float, ...]:
        with lab.server() as server:
            ten = ["element:{seq:11}0", *(f"element:{{same:11}}{digit}" for digit in range(1, 10))]
            lab.loader.fill(server, "SADD", "big", *ten, count=lab.size(1_000_000))
            with lab.loader.pinger(server) as latency:
                seconds = server.timed(command, "big")
            return seconds * 1e3, latency.worst

    readings = (Reading("time", "ms", "lower"), Reading("worst PING", "µs", "lower", 1.0))
    return Row(f"{command.lower()}-big-set", readings, measure, once=True)


# Persistence and replication


def snapshot(lab: Lab) -> tuple[float, ...]:
    count = lab.size(2_000_000)
    with lab.server("--repl-diskless-sync-delay", "0") as server:
        lab.fill_keys(server, count)
        save = server.timed("SAVE")
        server.kill()
        start = time.perf_counter()
        server.start()
        server.wait_ready()
        load = time.perf_counter() - start
        expect_keys(server, count)
        return save, load, full_sync(lab, server, count)


def full_sync(lab: Lab, primary: Server, count: int, limit: float = 120.0) -> float:
    with lab.server(cores=(CLIENT_CORE,)) as replica:
        start = time.perf_counter()
        replica.command("REPLICAOF", "127.0.0.1", primary.port)
        while "master_link_status:up" not in replica.command("INFO", "replication"):
            if time.perf_counter() - start > limit:
                raise TimeoutError("no full sync in time")
            time.sleep(0.005)
        seconds = time.perf_counter() - start
        expect_keys(replica, count)
        return seconds


def expect_keys(server: Server, count: int) -> None:
    if (found := server.command("DBSIZE")) != count:
        raise ValueError(f"{found} keys instead of {count}")


def slow_sync_row(name: str, two_channels: bool) -> Row:
    """A full synchronisation of 1 GB to a replica that receives 100 MB/s, while clients write 50 MB/s and the primary may
    hold 256 MB for it: with one channel the stream waits behind the snapshot, with two it travels beside it."""
    value, limit = "x" * 1000, 90.0

    def measure(lab: Lab) -> tuple[float, ...]:
        options = ("--repl-diskless-sync-delay", "0", "--rdbcompression", "no", "--repl-backlog-size", "1mb")
        limits = ("--client-output-buffer-limit", "replica", "256mb", "256mb", "60")
        keys = lab.size(1_000_000)
        with lab.server(*options, *limits) as primary, lab.server(cores=(CLIENT_CORE,)) as replica:
            for server in (primary, replica):
                set_two_channels(server, two_channels)
            lab.loader.fill(primary, "SET", NEXT_KEY, value, count=keys)
            before = peak = primary.settled_resident()
            with steady_writer(primary, keys, value, 50e6), slow_link(primary, 100e6) as port:
                start = time.perf_counter()
                replica.command("REPLICAOF", "127.0.0.1", port)
                wanted = None
                while (seconds := time.perf_counter() - start) < limit:
                    peak = max(peak, primary.resident())
                    state = replica.command("INFO", "replication")
                    # A link that is up may break at once: what was written by then must have come through it.
                    if "master_link_status:up" not in state:
                        wanted = None
                    elif wanted is None:
                        wanted = int(primary.info("replication", "master_repl_offset"))
                    elif int(replica.info("replication", "slave_repl_offset")) >= wanted:
                        break
                    time.sleep(0.05)
            return seconds, int(primary.info("stats", "sync_full")), (peak - before) / 1e6

    target = 1.0 if two_channels else None
    readings = (
        Reading("time", "s", "lower"),
        Reading("attempts", "", "lower", target, absolute=True),
        Reading("extra memory of the primary", "MB", "lower"),
    )
    return Row(name, readings, measure, once=True)


def set_two_channels(server: Server, enabled: bool) -> None:
    """By Valkey's name of the option, or by Redis 8's."""
    for option in ("dual-channel-replication-enabled", "repl-rdb-channel"):
        try:
            server.command("CONFIG", "SET", option, "yes" if enabled else "no")
            return
        except ReplyError:
            pass


def with_append_only(lab: Lab) -> tuple[float, ...]:
    # A rewrite would be another measurement.
    options = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    load = set_get(lab, "SET", 64, lab.requests, options)
    return load.throughput, load.cpu_per_request


def with_replica(lab: Lab) -> tuple[float, ...]:
    with lab.server() as server, lab.loader.sink(server):
        load = drive(lab, server, "SET", lab.size(1_000_000), 64, lab.requests)
        return load.throughput, load.cpu_per_request


# Each command, pipelined


def command_row(
    name: str,
    *request: str,
    lines: int = 1,
    share: float = 0.3,
    keys: int = 1_000_000,
    fills: tuple[Fill, ...] = (),
    setup: tuple[tuple[str, ...], ...] = (),
    subscribers: int = 0,
    least: float = 1.2,
) -> Row:
    """Sends `share` of the usual number of requests, whose random numbers are below `keys` (scaled), after `setup` and
    `fills`, to `subscribers` of the channel "news". The server must do `least` times the better peer's work in a
    second of its CPU time."""

    def measure(lab: Lab) -> tuple[float, ...]:
        count = int(lab.requests * share)
        with lab.server() as server, contextlib.ExitStack() as beside:
            for command in setup:
                server.command(*command)
            for fill in fills:
                fill(lab, server)
            if subscribers:
                beside.enter_context(lab.loader.subscribers(server, subscribers, "news"))
            load = lab.loader.load(
                server, *request, requests=count, keys=lab.size(keys), lines=lines, pipeline=COMMANDS_PIPELINE
            )
            return load.throughput, 1e6 / load.cpu_per_request

    return Row(name, command_readings(least), measure)


def command_readings(least: float) -> tuple[Reading, ...]:
    return Reading("throughput", "req/s", "higher", 1.0), Reading("per CPU second", "req", "higher", least)


def collection_row(name: str, request: str, **shape) -> Row:
    return command_row(f"cmd-{name}", *request.split(), least=1.5, **shape)


def pop_row() -> Row:
    def measure(lab: Lab) -> tuple[float, ...]:
        count = int(lab.requests * 0.3)
        with lab.server() as server:
            lab.loader.fill(server, "LPUSH", "list", VALUE, count=count)
            load = lab.loader.load(server, "LPOP", "list", requests=count, lines=2, pipeline=COMMANDS_PIPELINE)
            return load.throughput, 1e6 / load.cpu_per_request

    return Row("cmd-lpop", command_readings(1.5), measure)


def script_row(name: str, calls: tuple[str, ...]) -> Row:
    """An EVALSHA of a script of so many calls."""
    script = "".join(f"redis.call({call}) " for call in calls) + "return 1"
    sha = hashlib.sha1(script.encode()).hexdigest()
    setup = (("SCRIPT", "LOAD", script),)
    return command_row(f"op-{name}", "EVALSHA", sha, "1", KEY, VALUE, share=0.1, setup=setup)


def bits_setup(size: int) -> tuple[tuple[str, ...], ...]:
    """Two strings of that many bytes."""
    text = "".join(f"{i * 2654435761 % 2**32:08x}" for i in range(size // 8))
    return ("SET", "a", text), ("SET", "b", text[::-1])


def members(first: int) -> tuple[str, ...]:
    return tuple(f"member:{i:06}" for i in range(first, first + 100))


COMMANDS_PIPELINE = 32
ELEMENT = "element:{rand:12}"
FIVE_FIELDS = tuple(part for i in range(5) for part in (f"field{i}", VALUE[:16]))
SMALL_HASHES = Fill(("HSET", "hash:{seq:12}", *FIVE_FIELDS), 200_000)
SET = Fill(("SADD", "set", "element:{seq:12}"))
HASH = Fill(("HSET", "hash", "element:{seq:12}", VALUE))
ZSET = Fill(("ZADD", "zset", "1{seq:7}", "element:{seq:12}"))
LIST = Fill(("RPUSH", "list", VALUE), 100_000)
# Ids must grow, and numbers must not start with 0: hence the 1 before them. Here and in ZRANGE below, random starts
# stay clear of the end even when all is scaled to a tenth, so that each reply has its ten elements.
STREAM = Fill(("XADD", "stream", "1{seq:7}-1", "field", VALUE), 200_000, lines=2, clients=1)
KEYS = Fill(("SET", NEXT_KEY, VALUE))
PAGE = "x" * 4096
PAGES = Fill(("SET", NEXT_KEY, PAGE), 50_000)
PLACES = Fill(("GEOADD", "geo", "13.{rand:5}", "38.{rand:5}", "place:{seq:12}"), 100_000)
LIBRARY_CALLS = """
local t = {}
for i = 1, 10 do t[#t + 1] = string.format('%s-%d', ARGV[1], i) end
local s = table.concat(t, ',')
return s:find('-7', 1, true) .. s:gsub('x', 'y'):match('%d+') .. cjson.encode(t)
"""
LIBRARY = "#!lua name=bench\nredis.register_function('put', function(k, a) return redis.call('SET', k[1], a[1]) end)"
TRANSACTION = ("MULTI", *(";", "SET", KEY, VALUE) * 10, ";", "EXEC")

COLLECTIONS = (
    collection_row("ping", "PING"),
    collection_row("incr", "INCR counter:{rand:12}"),
    collection_row("exists", f"EXISTS {KEY}", fills=(KEYS,)),
    collection_row("mset", "MSET" + f" {KEY} {VALUE}" * 10, share=0.1),
    collection_row("lpush", f"LPUSH list {VALUE}"),
    pop_row(),
    collection_row("lrange-100", "LRANGE list 0 99", lines=201, share=0.025, fills=(LIST,)),
    collection_row("sadd", f"SADD set {ELEMENT}"),
    collection_row("sismember", f"SISMEMBER set {ELEMENT}", fills=(SET,)),
    collection_row("hset", f"HSET hash {ELEMENT} {VALUE}"),
    collection_row("hget", f"HGET hash {ELEMENT}", lines=2, fills=(HASH,)),
    collection_row("hgetall", "HGETALL hash:{rand:12}", lines=21, share=0.2, keys=200_000, fills=(SMALL_HASHES,)),
    collection_row("zadd", f"ZADD zset 1{{rand:7}} {ELEMENT}", share=0.25),
    collection_row("zscore", f"ZSCORE zset {ELEMENT}", lines=2, fills=(ZSET,)),
    collection_row("zrank", f"ZRANK zset {ELEMENT}", share=0.25, fills=(ZSET,)),
    collection_row("zrange", "ZRANGE zset 1{rand:3}0 1{same:3}9", lines=21, share=0.1, keys=1000, fills=(ZSET,)),
    collection_row("xadd", f"XADD stream * field {VALUE}", lines=2, share=0.25),
    collection_row(
        "xrange", "XRANGE stream 1{rand:7}-1 + COUNT 10", lines=81, share=0.05, keys=190_000, fills=(STREAM,)
    ),
)

OTHERS = (
    command_row("op-eval", "EVAL", "return(redis.call('set',KEYS[1],ARGV[1]))", "1", KEY, VALUE, share=0.25),
    command_row("op-eval-library", "EVAL", LIBRARY_CALLS, "0", VALUE, lines=2, share=0.03),
    script_row("evalsha-1", ("'SET',KEYS[1],ARGV[1]",)),
    script_row("evalsha-3", ("'SET',KEYS[1],ARGV[1]", "'EXPIRE',KEYS[1],100", "'GET',KEYS[1]")),
    command_row(
        "op-fcall", "FCALL", "put", "1", KEY, VALUE, share=0.1, setup=(("FUNCTION", "LOAD", LIBRARY),)
    ),
    command_row("op-multi-10", *TRANSACTION, lines=22, share=0.03),
    command_row("op-publish-100", "PUBLISH", "news", VALUE, share=0.01, subscribers=100),
    *(
        row
        for name, size, share in (("10k", 10_240, 0.1), ("1m", 1 << 20, 0.002))
        for row in (
            command_row(f"op-bitcount-{name}", "BITCOUNT", "a", share=share, setup=bits_setup(size)),
            command_row(f"op-bitop-{name}", "BITOP", "AND", "to", "a", "b", share=share, setup=bits_setup(size)),
        )
    ),
    # Of one key PFCOUNT's answer is kept with it.
    *(
        command_row(
            f"op-{command.lower()}-2",
            *(command, "a", "b"),
            share=0.005,
            fills=tuple(Fill(("PFADD", key, "visitor:{rand:12}"), 100_000) for key in "ab"),
        )
        for command in ("PFCOUNT", "PFMERGE")
    ),
    command_row(
        "op-geosearch",
        *"GEOSEARCH geo FROMLONLAT 13.{rand:5} 38.{rand:5} BYRADIUS 3 km ASC COUNT 10".split(),
        lines=21,
        share=0.01,
        keys=100_000,
        fills=(PLACES,),
    ),
    command_row(
        "op-sinter-100",
        *("SINTER", "a", "b"),
        lines=101,
        share=0.02,
        setup=(("SADD", "a", *members(0)), ("SADD", "b", *members(50))),
    ),
    command_row("op-get-4k", "GET", KEY, lines=2, share=0.2, keys=50_000, fills=(PAGES,)),
    command_row("op-set-4k", "SET", KEY, PAGE, share=0.2, keys=50_000),
)


# Large results


def large_row(name: str, fills: tuple[Fill, ...], run: Callable[[Server], object]) -> Row:
    """The median time of three runs of one slow command."""

    def measure(lab: Lab) -> tuple[float, ...]:
        with lab.server() as server:
            for fill in fills:
                fill(lab, server)
            return (statistics.median(timed(run, server) for _ in range(3)) * 1e3,)

    return Row(f"large-{name}", (Reading("time", "ms", "lower", 1.0),), measure, once=True)


def timed(run: Callable[[Server], object], server: Server) -> float:
    start = time.perf_counter()
    run(server)
    return time.perf_counter() - start


# A tenth of each is in both.
SETS = tuple(Fill(("SADD", key, member)) for key, member in (("a", "member:{seq:12}"), ("b", "member:{seq:11}0")))
ZSETS = tuple(
    Fill(("ZADD", key, "{seq:7}", member)) for key, member in (("a", "member:{seq:12}"), ("b", "member:{seq:11}0"))
)
NUMBERS = Fill(("LPUSH", "list", "1{rand:8}"), 100_000)


ROWS = (
    set_get_row("SET", 64, throughput=2.0, cpu=None),
    set_get_row("GET", 64, throughput=2.0, cpu=None),
    set_get_row("SET", 16, throughput=1.1, cpu=0.6),
    set_get_row("GET", 16, throughput=1.1, cpu=0.6),
    set_get_row("SET", 1, throughput=0.97, cpu=0.95),
    set_get_row("GET", 1, throughput=0.97, cpu=0.95),
    waiting_row("SET", 50, target=1.1),
    waiting_row("GET", 50, target=1.1),
    waiting_row("GET", 1, target=1.5),
    *(cluster_row(command, pipeline) for pipeline in (64, 1) for command in ("SET", "GET")),
    Row(
        "cluster-bytes",
        (
            Reading("memory", "B/key", "lower"),
            Reading("memory beside alone", "B/key", "lower", 2.0, absolute=True),
        ),
        cluster_bytes,
        once=True,
    ),
    Row("cluster-fail-over", (Reading("kill -9 to the first write", "ms", "lower", 1.0),), fail_over),
    bytes_row("string", "B/key", 0.85, KEYS),
    bytes_row("int", "B/key", 0.85, Fill(("SET", NEXT_KEY, "1{seq:7}"))),
    bytes_row("ttl", "B/key", 0.85, Fill(("SET", NEXT_KEY, VALUE, "EX", "100000"))),
    Row(
        "idle-connections",
        (Reading("memory", "B/connection", "lower", 1024, absolute=True),),
        idle_connections,
        once=True,
    ),
    Row(
        "growth",
        (Reading("PING p99.9", "µs", "lower", 1.0), Reading("PING worst", "µs", "lower", 1.0)),
        growth,
        once=True,
    ),
    Row(
        "snapshot",
        tuple(Reading(name, "s", "lower", 0.9) for name in ("SAVE", "load", "full sync")),
        snapshot,
        once=True,
    ),
    slow_sync_row("slow-sync", two_channels=False),
    slow_sync_row("slow-sync-dual", two_channels=True),
    *COLLECTIONS,
    *OTHERS,
    bytes_row("small-hash", "B/hash", 0.85, SMALL_HASHES),
    bytes_row("zset", "B/element", 0.85, ZSET),
    bytes_row("set", "B/element", 0.85, SET),
    bytes_row("hash", "B/element", 0.85, HASH),
    bytes_row("list", "B/element", 1.0, Fill(("RPUSH", "list", VALUE))),
    bytes_row("stream", "B/element", 1.0, Fill(("XADD", "stream", "*", "field", VALUE), lines=2)),
    large_row("sunionstore", SETS, lambda server: server.command("SUNIONSTORE", "to", "a", "b")),
    large_row("zunionstore", ZSETS, lambda server: server.command("ZUNIONSTORE", "to", 2, "a", "b")),
    large_row("sinter", SETS, lambda server: server.connection.skip_array("SINTER", "a", "b")),
    large_row("sort", (NUMBERS,), lambda server: server.connection.skip_array("SORT", "list")),
    delete_row("DEL"),
    delete_row("UNLINK"),
    Row(
        "set-aof",
        (Reading("throughput", "req/s", "higher", 1.4), Reading("CPU per request", "µs", "lower")),
        with_append_only,
    ),
    Row(
        "set-replica",
        (Reading("throughput", "req/s", "higher", 1.4), Reading("CPU per request", "µs", "lower")),
        with_replica,
    ),
)
