"""The command line that both programs share, and the course of a comparison: rows, repetitions, servers in turn."""

import argparse
import dataclasses
import fnmatch
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from client import ClientFailed, Loader
from report import FAILED, NOT_SUPPORTED, Cell, Line, table
from rows import Lab, NotSupported, Row
from server import CLIENT_CORE, HELPER_CORE, SERVER_CORE, ReplyError, ServerFailed, raise_open_files

REPEAT = 3
QUICK_SCALE = 0.1

FAILURES = (ClientFailed, ReplyError, ServerFailed, OSError, ValueError, subprocess.SubprocessError)


def main(rows: tuple[Row, ...], description: str, requests: int) -> int:
    """Compares as the command line says; `requests` is the default of --requests. Returns 1 if any row failed."""
    options = parse_arguments(description, requests)
    if SERVER_CORE == CLIENT_CORE:
        print("only one core: server and client will share it", file=sys.stderr)
    raise_open_files()
    # What only waits and looks must not take the server's core from it.
    os.sched_setaffinity(0, {HELPER_CORE})
    # Ended by a time limit, the servers must still be ended and the directories removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    scale = QUICK_SCALE if options.quick else 1.0
    requests = options.requests or int(requests * scale)
    repeat = options.repeat or (1 if options.quick else REPEAT)
    names = [name for name, _ in options.servers]
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="versus-") as directory:
        loader = Loader(Path(directory))
        labs = [Lab(program, loader, requests, scale) for _, program in options.servers]
        wanted = chosen(rows, options.only)
        if any(row.needs_rate for row in wanted):
            rate = max(lab.saturated_rate() for lab in labs[1:] or labs) / 2
            print(f"latencies at {rate:,.0f} requests per second", file=sys.stderr, flush=True)
            labs = [dataclasses.replace(lab, rate=rate) for lab in labs]
        for row in wanted:
            found = compare(row, names, labs, 1 if row.once else repeat * row.times)
            lines += found
            for line in found:
                print(line, file=sys.stderr, flush=True)
    text = table(names, lines)
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    return 1 if any(line.passed is False for line in lines) else 0


def compare(row: Row, names: list[str], labs: list[Lab], repeat: int) -> list[Line]:
    """Measures a row with each server in turn, `repeat` times. A server that fails a row is left out of it."""
    lines = [Line(row, reading, [Cell() for _ in labs]) for reading in row.readings]
    for _ in range(repeat):
        for i, (name, lab) in enumerate(zip(names, labs, strict=True)):
            cells = [line.cells[i] for line in lines]
            if cells[0].failure:
                continue
            try:
                for cell, figure in zip(cells, row.measure(lab), strict=True):
                    cell.figures.append(figure)
            except (*FAILURES, NotSupported) as error:
                print(f"{row.name}: {name}: {error}", file=sys.stderr)
                is_unknown = isinstance(error, NotSupported) or "unknown command" in str(error).lower()
                for cell in cells:
                    cell.failure = NOT_SUPPORTED if is_unknown else FAILED
    return lines


def chosen(rows: tuple[Row, ...], only: str | None) -> list[Row]:
    patterns = only.split(",") if only else ["*"]
    found = [row for row in rows if any(fnmatch.fnmatch(row.name, pattern) for pattern in patterns)]
    if not found:
        sys.exit("no such row; there are: " + " ".join(row.name for row in rows))
    return found


def parse_arguments(description: str, requests: int) -> argparse.Namespace:
    def named(text: str) -> tuple[str, Path]:
        name, _, path = text.partition("=")
        if not Path(path).is_file():
            raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH of a server")
        # Not resolved: a program may do what it is called by.
        return name, Path(path).absolute()

    parser = argparse.ArgumentParser(description=description, epilog="The first server is ours.")
    parser.add_argument("servers", metavar="NAME=PATH", type=named, nargs="+")
    parser.add_argument("--only", metavar="ROW,…", help="these rows only; patterns such as 'cmd-*' match several")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"measurements of each (default {REPEAT}; quick: 1)")
    parser.add_argument("--requests", type=int, metavar="N", help=f"of one measurement (default {requests:,})")
    parser.add_argument("--quick", action="store_true", help="a tenth of all sizes: only to see that it works")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    return parser.parse_args()
