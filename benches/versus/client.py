"""What drives the servers: our loader (loader.rs) and redis-benchmark, pinned to the client's core."""

import contextlib
import csv
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from server import CLIENT_CORE, HELPER_CORE, Server, ServerFailed

# No single run of a client may take longer (seconds).
LIMIT = 120


class ClientFailed(Exception):
    """A load generator ended with an error, usually one that the server answered."""


@dataclass(frozen=True)
class Load:
    """What one run of a load generator has measured."""

    requests: int
    seconds: float
    cpu: float
    """CPU seconds of the server meanwhile."""

    @property
    def throughput(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_per_request(self) -> float:
        """The server's CPU microseconds per request."""
        return self.cpu / self.requests * 1e6

    @property
    def busy(self) -> float:
        """How much of a core the server used, in percent. Below 90 the client was the bottleneck."""
        return self.cpu / self.seconds * 100


class Loader:
    """The compiled loader.rs."""

    def __init__(self, directory: Path):
        self.program = directory / "loader"
        source = Path(__file__).with_name("loader.rs")
        rustc = ["rustc", "--edition", "2024", "-O", "-C", "target-cpu=native", "-o", str(self.program), str(source)]
        subprocess.run(rustc, check=True)

    def load(
        self,
        server: Server,
        *request: str,
        requests: int,
        keys: int = 1_000_000,
        lines: int = 1,
        pipeline: int = 64,
        clients: int = 50,
    ) -> Load:
        """Sends `request` that often; see loader.rs for the numbers in it, which are below `keys`, and for `lines`."""
        shape = [str(number) for number in (server.port, clients, pipeline, requests, keys, lines)]
        before = server.cpu_seconds()
        done = subprocess.run(
            [str(self.program), "load", *shape, *request],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT_CORE}),
        )
        cpu = server.cpu_seconds() - before
        if done.returncode:
            raise ClientFailed(done.stderr.strip().splitlines()[-1])
        return Load(requests, float(done.stdout), cpu)

    def fill(self, server: Server, *request: str, count: int, lines: int = 1, clients: int = 50) -> None:
        """Sends `request` with `{seq:…}` counting from 0 to `count`."""
        self.load(server, *request, requests=count, keys=count, lines=lines, clients=clients)

    def pinger(self, server: Server):
        """Sends PING each millisecond inside the context; fills the Latency that it gives at the end."""
        return self._timing("ping", server)

    def open_loop(self, server: Server, *request: str, rate: float, keys: int, clients: int = 50):
        """Sends `request` at `rate` a second inside the context, answered or not; fills the Latency that it gives at
        the end, which counts from when each request was due."""
        return self._timing("open", server, str(clients), str(rate), str(keys), *request)

    @contextlib.contextmanager
    def _timing(self, duty: str, server: Server, *shape: str):
        process = self._beside(duty, server, *shape)
        latency = Latency()
        try:
            # Requests before and after belong to it: a stall may start late or outlive the reply.
            time.sleep(0.2)
            yield latency
            time.sleep(0.5)
            out, err = process.communicate(timeout=LIMIT)
            if process.returncode:
                raise ClientFailed(err.strip())
            latency.count, latency.p50, latency.p99, latency.p999, latency.worst = map(float, out.split())
        finally:
            process.kill()
            process.wait()

    def sink(self, server: Server):
        """Keeps a replica attached that throws the stream away, so that it costs almost no CPU time."""
        return self._attached(server, "sink")

    def subscribers(self, server: Server, count: int, channel: str):
        """Keeps `count` subscribers that throw away what they get."""
        return self._attached(server, "subscribe", str(count), channel)

    @contextlib.contextmanager
    def _attached(self, server: Server, duty: str, *shape: str):
        process = self._beside(duty, server, *shape)
        try:
            if process.stdout.readline().strip() != "online":
                raise ClientFailed(process.stderr.read().strip())
            yield
            if process.poll() is not None:
                raise ServerFailed(f"dropped what was attached by {duty!r}")
        finally:
            process.kill()
            process.wait()

    def _beside(self, duty: str, server: Server, *shape: str) -> subprocess.Popen:
        pipe = subprocess.PIPE
        command = [str(self.program), duty, str(server.port), *shape]
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=aside)


@dataclass
class Latency:
    """Of PING, or of the requests of an open loop, in microseconds."""

    count: float = 0
    p50: float = 0
    p99: float = 0
    p999: float = 0
    worst: float = 0


def aside() -> None:
    """Moves this process to the helpers' core and, where allowed, before all else there: it sleeps nearly always, and
    should measure the server, not how long a busy client keeps its core."""
    os.sched_setaffinity(0, {HELPER_CORE})
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def redis_benchmark(server: Server, test: str, *, requests: int, keys: int, pipeline: int, clients: int = 50) -> Load:
    """Runs redis-benchmark with 64-byte values."""
    program = os.environ.get("REDIS_BENCHMARK") or shutil.which("redis-benchmark")
    if not program:
        raise ClientFailed("no redis-benchmark in PATH or REDIS_BENCHMARK")
    numbers = {"-p": server.port, "-n": requests, "-r": keys, "-P": pipeline, "-c": clients, "-d": 64}
    options = [str(word) for pair in numbers.items() for word in pair]
    before = server.cpu_seconds()
    done = subprocess.run(
        [program, "-t", test, *options, "--csv"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT_CORE}),
    )
    cpu = server.cpu_seconds() - before
    rows = list(csv.DictReader(done.stdout.splitlines()))
    if done.returncode or not rows:
        raise ClientFailed((done.stderr or done.stdout).strip())
    return Load(requests, requests / float(rows[-1]["rps"]), cpu)
