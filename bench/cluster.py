#!/usr/bin/python3
"""Measures several hosts with one chat domain; prints each aim and the figure side by side.

    sudo bench/cluster.py [--accounts 1000000] [--seconds 5] [--rounds 6] [--suite bookworm]
                          [--quick] [--directory | --hosts] [--publish]

The directory, as one host uses it: import, lookups, claims, on a PostgreSQL of its own in a
temporary directory, by its unix socket; what the network adds comes on top. A claim waits for the
disk of that PostgreSQL (fsync is on here). Then two hosts in a network, and one without a
directory beside them: see clusterhosts.py.
"""

import argparse
import contextlib
import itertools
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TREE / "src"), str(TREE / "tests")]

import clusterhosts  # noqa: E402
import growth  # noqa: E402
import postgresql  # noqa: E402
import record  # noqa: E402
from doveauth import DOMAIN, INI  # noqa: E402
from rig import debian  # noqa: E402

from chatmaild.accounts import directoryschema  # noqa: E402
from chatmaild.accounts.directory import BATCH, LINES, Directory  # noqa: E402

ADOPTED = 100_000
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


def rate(taken: list[float], seconds: float) -> str:
    return (f"{len(taken) / seconds:,.0f}/s, p50 {taken[len(taken) // 2] * 1000:.2f} ms, "
            f"p99 {taken[len(taken) * 99 // 100] * 1000:.2f} ms")


def resident() -> int:
    """Octets."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def adoption(conninfo: str) -> float:
    """Seconds until all accounts of a host are in the directory; their mailboxes are in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        home = Path(name)
        (home / "mail" / DOMAIN).mkdir(parents=True)
        (home / "directory.conf").write_text(conninfo)
        (home / "chatmaild.ini").write_text(
            INI.format(domain=DOMAIN, directory=home) + "mail_user = root\n"
            f"directory = {home}/directory.conf\nnode = one.example\n")
        growth.fill(home / "mail", ADOPTED)
        return growth.command(home / "chatmaild.ini", ["directory", "import"])[0]


def measured(accounts: int, seconds: float) -> Iterator[tuple[str, str, str]]:
    """Yield rows about the directory alone: what, the aim, and the figure."""
    with postgresql.server(fsync=True) as server:
        directoryschema.init(server.conninfo("postgres"))
        before = resident()
        with contextlib.closing(Directory(server.conninfo(), "one.example")) as one:
            one.join("192.0.2.10")
            yield (f"memory of {LINES + 1} connections", "-",
                   f"{(resident() - before) / 1e6:+.1f} MB")
            yield (f"chatmaild directory import, {ADOPTED:,} accounts", "<= 60 s",
                   f"{adoption(server.conninfo()):.1f} s")
            server.sql("TRUNCATE account")
            for first in range(0, accounts, BATCH):
                last = min(first + BATCH, accounts)
                one.put([(address(number), HASH, False, False) for number in range(first, last)])
            server.sql("VACUUM ANALYZE account")
            yield (f"lookups among {accounts:,}", ">= 5,000/s, p99 5 ms", rate(during(
                seconds, lambda: one.find(address(random.randrange(accounts))), LINES), seconds))
            yield ("claims", "-", rate(during(
                seconds, lambda: one.claim(f"n{os.urandom(8).hex()}@chat.example", HASH), LINES),
                seconds))
            size = int(server.sql("SELECT pg_database_size('chatmaild')"))
            yield "size of the database", "-", f"{size / 1e6:,.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=6, help="in which the hosts take turns")
    parser.add_argument("--suite", default=debian.own_suite(), help="of the hosts")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--directory", action="store_true", help="measure nothing else")
    only.add_argument("--hosts", action="store_true", help="measure nothing else")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work?")
    record.add_option(parser)
    args = parser.parse_args()
    if args.publish and (args.quick or args.directory or args.hosts):
        parser.error("--publish wants all figures, of all rounds")
    machine = record.begin(args)
    figures = []
    for row in itertools.chain(
            () if args.hosts else measured(args.accounts, args.seconds),
            () if args.directory else clusterhosts.measured(
                args.suite, 1 if args.quick else args.rounds, 20 if args.quick else 1)):
        print("{:56} {:20} {}".format(*row), flush=True)
        figures.append(row)
    record.publish(args, "cluster", machine, figures)


if __name__ == "__main__":
    main()
