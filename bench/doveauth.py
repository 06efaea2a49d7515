#!/usr/bin/python3
"""Measures doveauth over its socket: lookups, creations, memory, and the floor beneath them.

    bench/doveauth.py [--seconds 3] [--accounts 1000] [--publish]

Runs `chatmaild doveauth` on a store in a temporary directory and asks it as Dovecot does, one
request at a time on each connection. The floor is a server in the same event loop that answers
each request with a constant: what the machine and the load generator allow at all. The floor of
creations is what the cores can hash. Both are measured in turns, and the ratio is what can be
compared between machines.
"""

import argparse
import asyncio
import contextlib
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import record

SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))
from chatmaild.accounts import passwordhash  # noqa: E402

DOMAIN = "chat.example"
PASSWORD = b"a password of the bench"
INI = """\
[chatmaild]
mail_domains = {domain}
mailboxes_dir = {directory}/mail
max_load_1m = 10000
min_available_memory = 0
min_free_disk_space = 0
"""


def request(number: int) -> bytes:
    user = b"u%08d@%s" % (number, DOMAIN.encode())
    return b'Lshared/passdb/%s"%s\t%s\n' % (PASSWORD, user, user)


class Floor(asyncio.Protocol):
    """Answers every line with the same account, without looking at it."""

    ANSWER = b'O{"user": "u00000000@chat.example", "password": "' + b"x" * 120 + b'"}\n'

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(self.ANSWER * data.count(b"\n"))


async def serve_floor(path: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(Floor, path)
    await server.serve_forever()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    return connection


@contextlib.contextmanager
def process(command: list[str], path: Path):
    """A server of its own process, once it accepts on `path`."""
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(SRC)},
                          stderr=subprocess.DEVNULL) as running:
        poll_until = time.monotonic() + 20
        while True:
            try:
                connect(path).close()
                break
            except OSError:
                if time.monotonic() > poll_until or running.poll() is not None:
                    sys.exit(f"{command} does not serve")
                time.sleep(0.01)
        yield running
        running.send_signal(signal.SIGTERM)


def load(path: Path, connections: int, requests, seconds: float) -> list[float]:
    """Ask one request after the other on each connection; the latencies in seconds."""
    poller = select.epoll()
    by_fd, started, latencies = {}, {}, []
    for _ in range(connections):
        connection = connect(path)
        connection.setblocking(False)
        by_fd[connection.fileno()] = connection
        poller.register(connection, select.EPOLLIN)
    clock = time.perf_counter
    end = clock() + seconds
    waiting = 0
    for fd, connection in by_fd.items():
        line = next(requests, None)
        if line is not None:
            started[fd] = clock()
            connection.send(line)
            waiting += 1
    while waiting:
        for fd, _ in poller.poll():
            connection = by_fd[fd]
            answer = connection.recv(4096)
            now = clock()
            if answer[:1] != b"O":
                sys.exit(f"unexpected answer {answer!r}")
            latencies.append(now - started[fd])
            line = next(requests, None) if now < end else None
            if line is None:
                waiting -= 1
                continue
            started[fd] = now
            connection.send(line)
    for connection in by_fd.values():
        connection.close()
    return latencies


def cycle(lines):
    while True:
        yield from lines


def measure(name: str, path: Path, connections: int, requests, seconds: float):
    """Requests a second, and the p99 of the latency in seconds."""
    start = time.perf_counter()
    latencies = sorted(load(path, connections, requests, seconds))
    rate = len(latencies) / (time.perf_counter() - start)
    p99 = latencies[len(latencies) * 99 // 100]
    print(f"{name:34} {rate:9,.0f}/s   p50 {latencies[len(latencies) // 2] * 1e3:7.2f} ms"
          f"   p99 {p99 * 1e3:7.2f} ms")
    return rate, p99


def hashes(seconds: float) -> float:
    """Passwords that the cores hash in a second, with nothing else to do."""
    end = time.perf_counter() + seconds

    def work(_):
        count = 0
        while time.perf_counter() < end:
            passwordhash.hash_password(PASSWORD)
            count += 1
        return count

    with ThreadPoolExecutor() as pool:
        done = sum(pool.map(work, range(len(os.sched_getaffinity(0)))))
    print(f"{'hashes, all cores':34} {done / seconds:9,.0f}/s")
    return done / seconds


def creations(path: Path, count: int, seconds: float) -> dict:
    """Each round: what the cores can hash, then `count` new accounts; medians of six rounds."""
    shares, waits = [], []
    for number in range(6):
        floor = hashes(seconds)
        fresh = [request(each) for each in range(number * count, (number + 1) * count)]
        rate, p99 = measure("creations, 16 connections", path, 16, iter(fresh), 600)
        shares.append(rate / floor)
        waits.append(p99 * floor / 16)
    return {"creations, of the hashes that the cores make": round(statistics.median(shares), 2),
            "creation, p99 at 16 connections over the mean of those hashes":
                round(statistics.median(waits), 2)}


def resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--directory", help="where the accounts go (default: a temporary one)")
    parser.add_argument("--floor", metavar="SOCKET", help=argparse.SUPPRESS)
    record.add_option(parser)
    args = parser.parse_args()
    if args.floor:
        asyncio.run(serve_floor(args.floor))
        return
    machine = record.begin(args)
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        home = Path(directory)
        (home / "chatmaild.ini").write_text(INI.format(domain=DOMAIN, directory=directory))
        ours, floor = home / "doveauth.sock", home / "floor.sock"
        with process([sys.executable, "-m", "chatmaild", "-c", str(home / "chatmaild.ini"),
                      "doveauth", "--socket", f"unix:{ours}"], ours) as service, \
                process([sys.executable, __file__, "--floor", str(floor)], floor):
            print(f"memory without a connection: {resident(service.pid):.1f} MB")
            figures = creations(ours, args.accounts, args.seconds)
            everybody = [request(number) for number in range(args.accounts)]
            for connections in (1, 16, 128):
                base, _ = measure(f"floor, {connections} connections", floor, connections,
                                  cycle(everybody), args.seconds)
                rate, p99 = measure(f"lookups, {connections} connections", ours, connections,
                                    cycle(everybody), args.seconds)
                figures[f"lookups/s, {connections} connections"] = round(rate)
                figures[f"lookups, {connections} connections, of the floor"] = round(
                    rate / base, 2)
                figures[f"lookup, p99 at {connections} connections, ms"] = round(p99 * 1e3, 2)
            idle = [connect(ours) for _ in range(1000)]
            measure(f"lookups beside {len(idle):,} idle", ours, 1, cycle(everybody), 0.5)
            figures["MB with 1,000 idle connections"] = round(resident(service.pid), 1)
    for name, value in figures.items():
        print(f"{name}: {value}")
    record.publish(args, "doveauth", machine, figures)


if __name__ == "__main__":
    main()
