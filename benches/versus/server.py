"""A server under measurement: started on its own core and a free port, asked over RESP, and read from /proc."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
CLIENT_CORE = CORES[1 % len(CORES)]
# What runs beside server and client (pinger, replica) gets a core of its own where there is one.
HELPER_CORE = CORES[2] if len(CORES) > 2 else CLIENT_CORE

OPEN_FILES = 20_000


class ServerFailed(Exception):
    """The server did not start, died, or did not answer in time."""


class ReplyError(Exception):
    """The server answered a command with an error."""


def raise_open_files() -> None:
    """Allows OPEN_FILES descriptors to this process and its children, as far as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = OPEN_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Connection:
    """A blocking RESP2 client."""

    def __init__(self, port: int, timeout: float = 120.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def close(self) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, *args: object) -> None:
        parts = [str(arg).encode() for arg in args]
        bulks = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(b"*%d\r\n%s" % (len(parts), bulks))

    def command(self, *args: object):
        """The reply as int, str, None or list. Raises ReplyError."""
        self.send(*args)
        return self._read()

    def skip_array(self, *args: object) -> int:
        """Sends a command whose reply is a flat array of bulk strings, skips these cheaply, returns their count."""
        self.send(*args)
        count = self._header()
        lines = 2 * count
        while lines:
            chunk = self.reader.read1(1 << 20)
            if not chunk:
                raise ServerFailed("closed the connection")
            lines -= chunk.count(b"\n")
        return count

    def _header(self) -> int:
        line = self.reader.readline()
        if line.startswith(b"-"):
            raise ReplyError(line[1:].decode().strip())
        return int(line[1:])

    def _read(self):
        line = self.reader.readline().decode().strip()
        if not line:
            raise ServerFailed("closed the connection")
        kind, rest = line[0], line[1:]
        if kind == "-":
            raise ReplyError(rest)
        if kind == ":":
            return int(rest)
        if kind == "$":
            return None if rest == "-1" else self.reader.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [self._read() for _ in range(int(rest))]
        return rest


class Server(contextlib.AbstractContextManager):
    """A running server; leaving the context kills it and removes its directory."""

    def __init__(
        self,
        program: Path,
        *options: str,
        cores: tuple[int, ...] = (SERVER_CORE,),
        wrapper: tuple[str, ...] = (),
        under: Path | None = None,
    ):
        self.program, self.options, self.cores, self.wrapper = program, options, cores, wrapper
        self.directory = Path(tempfile.mkdtemp(prefix="versus-", dir=under))
        self.connection: Connection | None = None
        self.process: subprocess.Popen | None = None
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        self.port = free_port()
        fixed = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command = [*self.wrapper, str(self.program), *fixed, "--save", "", "--appendonly", "no", *self.options]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
                start_new_session=True,
            )

    def wait_ready(self, limit: float = 120.0) -> None:
        """Waits until PING is answered with PONG: the port is open and nothing is being loaded any more."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                log = (self.directory / "log").read_text(errors="replace").strip().splitlines()
                raise ServerFailed(f"exited: {log[-1] if log else 'no log'}")
            try:
                self.connection = self.connection or Connection(self.port)
                self.connection.command("PING")
                return
            except ReplyError:
                pass  # LOADING
            except (OSError, ServerFailed):
                self.connection = None
            time.sleep(0.002)
        raise ServerFailed("not ready in time")

    def kill(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None
        if self.process:
            # With its children: one that saves would go on, and keep its memory.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def command(self, *args: object):
        return self.connection.command(*args)

    def info(self, section: str, field: str) -> str:
        """A field of INFO."""
        for line in self.command("INFO", section).splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value
        raise ServerFailed(f"no {field} in INFO")

    def timed(self, *args: object) -> float:
        """Seconds until a command is answered."""
        start = time.perf_counter()
        self.command(*args)
        return time.perf_counter() - start

    def cpu_seconds(self) -> float:
        """What the threads that the process has now have used of the processor; nothing of its forked children."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def resident(self) -> int:
        """RssAnon in bytes: what is resident and its own. Pages of files, its code among them, are the system's."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024

    def settled_resident(self, limit: float = 10.0) -> int:
        """RssAnon in bytes once it has kept still for a second (rehashing and shrinking of buffers go on for a while)."""
        deadline = time.monotonic() + limit
        readings = [self.resident()]
        while time.monotonic() < deadline:
            time.sleep(0.25)
            readings = [*readings[-4:], self.resident()]
            if len(readings) == 5 and max(readings) - min(readings) <= 64 * 1024:
                break
        return readings[-1]
