"""A slow link to a primary, and a steady writer: what a full synchronisation over a real network meets."""

import contextlib
import socket
import threading
import time

from server import Server

CHUNK = 256 * 1024


class Pace:
    """Lets bytes pass at a rate (bytes per second), however many threads ask."""

    def __init__(self, rate: float):
        self.rate = rate
        self.due = time.monotonic()
        self.lock = threading.Lock()

    def wait(self, count: int) -> None:
        with self.lock:
            # What was not used in time is lost, as on a wire.
            self.due = max(self.due, time.monotonic() - 0.01) + count / self.rate
            due = self.due
        time.sleep(max(0.0, due - time.monotonic()))


@contextlib.contextmanager
def slow_link(server: Server, rate: float):
    """Gives a port which leads to `server`, whose bytes all its connections together receive at `rate`."""
    pace = Pace(rate)
    listener = socket.create_server(("127.0.0.1", 0))
    sockets = [listener]

    def pump(source: socket.socket, target: socket.socket, pace: Pace | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if pace:
                    pace.wait(len(data))
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", server.port))
                # Small buffers: a slow wire holds little.
                for end in (near, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
                sockets.extend((near, far))
                for arguments in ((near, far, None), (far, near, pace)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def steady_writer(server: Server, keys: int, value: str, rate: float):
    """Overwrites `keys` keys inside the context, one after the other, with `rate` bytes of commands per second."""
    stop = threading.Event()

    def write() -> None:
        pace, key = Pace(rate), 0
        connection = socket.create_connection(("127.0.0.1", server.port))
        replies = threading.Thread(target=drain, args=(connection,), daemon=True)
        replies.start()
        with contextlib.suppress(OSError), connection:
            while not stop.is_set():
                batch = b"".join(set_command(n % keys, value) for n in range(key, key + 256))
                key += 256
                pace.wait(len(batch))
                connection.sendall(batch)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join(timeout=10)


def set_command(number: int, value: str) -> bytes:
    return f"*3\r\n$3\r\nSET\r\n$16\r\nkey:{number:012}\r\n${len(value)}\r\n{value}\r\n".encode()


def drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(CHUNK):
            pass
