#!/usr/bin/python3
"""Measures the directory of several hosts, as one of them uses it: lookups, claims, import, memory.

    bench/cluster.py [--accounts 1000000] [--seconds 5]

On a PostgreSQL of its own in a temporary directory, by its unix socket: what the network adds comes
on top. A claim waits for the disk of that PostgreSQL (fsync is on here).
"""

import argparse
import contextlib
import os
import random
import resource
import sys
import threading
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TREE / "src"), str(TREE / "tests")]

import postgresql  # noqa: E402

from chatmaild.accounts import directoryschema  # noqa: E402
from chatmaild.accounts.directory import BATCH, LINES, Directory  # noqa: E402

HASH = "{SHA512-CRYPT}$6$" + "s" * 16 + "$" + "h" * 86


def address(number: int) -> str:
    return f"u{number:08d}@chat.example"


def during(seconds: float, work, threads: int) -> list[float]:
    """Run `work` again and again in that many threads; how long each took, in seconds, sorted."""
    taken: list[float] = []
    end = time.monotonic() + seconds

    def run() -> None:
        while (start := time.monotonic()) < end:
            work()
            taken.append(time.monotonic() - start)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(taken)


def show(what: str, taken: list[float], seconds: float) -> None:
    print(f"{what}: {len(taken) / seconds:,.0f}/s, p50 {taken[len(taken) // 2] * 1000:.2f} ms, "
          f"p99 {taken[len(taken) * 99 // 100] * 1000:.2f} ms")


def resident() -> int:
    """Octets."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    with postgresql.server(fsync=True) as server:
        directoryschema.init(server.conninfo("postgres"))
        before = resident()
        with contextlib.closing(Directory(server.conninfo(), "one.example")) as one:
            one.join("192.0.2.10")
            print(f"memory of {LINES + 1} connections: {(resident() - before) / 1e6:.1f} MB")
            start = time.monotonic()
            for first in range(0, args.accounts, BATCH):
                last = min(first + BATCH, args.accounts)
                one.put([(address(number), HASH, False, False) for number in range(first, last)])
            seconds = time.monotonic() - start
            print(f"import: {args.accounts:,} accounts in {seconds:.0f} s, "
                  f"{args.accounts / seconds:,.0f}/s")
            server.sql("VACUUM ANALYZE account")
            show("lookups", during(
                args.seconds, lambda: one.find(address(random.randrange(args.accounts))), LINES),
                args.seconds)
            show("claims", during(
                args.seconds, lambda: one.claim(f"n{os.urandom(8).hex()}@chat.example", HASH),
                LINES), args.seconds)
            size = int(server.sql("SELECT pg_database_size('chatmaild')"))
            print(f"size of the database: {size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
