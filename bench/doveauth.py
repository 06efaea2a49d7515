#!/usr/bin/python3
"""Measures doveauth over its socket: lookups, creations, memory, and the floor beneath them.

    bench/doveauth.py [--seconds 3] [--accounts 1000]

Runs `chatmaild doveauth` on a store in a temporary directory and asks it as Dovecot does, one
request at a time on each connection. The floor is a server in the same event loop that answers
each request with a constant: what the machine and the load generator allow at all. Both are
measured in turns, and the ratio is what can be compared between machines.
"""

import argparse
import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"
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


def report(name: str, latencies: list[float], elapsed: float) -> float:
    latencies.sort()
    rate = len(latencies) / elapsed
    print(f"{name:34} {rate:9,.0f}/s   p50 {latencies[len(latencies) // 2] * 1e3:7.2f} ms"
          f"   p99 {latencies[len(latencies) * 99 // 100] * 1e3:7.2f} ms")
    return rate


def measure(name: str, path: Path, connections: int, requests, seconds: float) -> float:
    start = time.perf_counter()
    latencies = load(path, connections, requests, seconds)
    return report(name, latencies, time.perf_counter() - start)


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
    args = parser.parse_args()
    if args.floor:
        asyncio.run(serve_floor(args.floor))
        return
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        home = Path(directory)
        (home / "chatmaild.ini").write_text(INI.format(domain=DOMAIN, directory=directory))
        ours, floor = home / "doveauth.sock", home / "floor.sock"
        with process([sys.executable, "-m", "chatmaild", "-c", str(home / "chatmaild.ini"),
                      "doveauth", "--socket", f"unix:{ours}"], ours) as service, \
                process([sys.executable, __file__, "--floor", str(floor)], floor):
            print(f"memory without a connection: {resident(service.pid):.1f} MB")
            everybody = [request(number) for number in range(args.accounts)]
            measure("creations, 16 connections", ours, 16, iter(everybody), 600)
            for connections in (1, 16, 128):
                base = measure(f"floor, {connections} connections", floor, connections,
                               cycle(everybody), args.seconds)
                rate = measure(f"lookups, {connections} connections", ours, connections,
                               cycle(everybody), args.seconds)
                print(f"{'':34} ratio to the floor {rate / base:.2f}")
            idle = [connect(ours) for _ in range(1000)]
            measure("lookups beside 1,000 idle", ours, 1, cycle(everybody), 0.5)
            print(f"memory with {len(idle)} idle connections: {resident(service.pid):.1f} MB")


if __name__ == "__main__":
    main()
