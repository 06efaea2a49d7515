#!/usr/bin/python3
"""Measures doveauth over its socket: lookups, creations, memory, and the floor beneath them.

    sudo bench/doveauth.py [--seconds 3] [--accounts 1000] [--publish]
    bench/doveauth.py --directory DIRECTORY

Runs `chatmaild doveauth` and asks it as Dovecot does, one request at a time on each connection.
Without --directory the accounts are on a new ext4 with a journal, as most hosts have, in an image
that is mounted by loop. The floor is a server in the same event loop that answers each request
with a constant: what the machine and the load generator allow at all. Creations have two: what the
cores can hash, and threads that hash and then write and sync the same, with no lock, order or
socket. All are measured in turns, and the ratio is what can be compared between machines.
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
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import record

SRC = Path(__file__).resolve().parent.parent / "src"
sys.path.insert(0, str(SRC))
from chatmaild.accounts import passwordhash  # noqa: E402

DOMAIN = "chat.example"
PASSWORD = b"a password of the bench"
CONNECTIONS = 16
"""That ask for new accounts."""
INI = """\
[chatmaild]
mail_domains = {domain}
mailboxes_dir = {directory}/mail
max_load_1m = 10000
min_available_memory = 0
min_free_disk_space = 0
min_free_inodes = 0
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
        try:
            yield running
        finally:
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


def written(directory: Path, count: int) -> float:
    """Accounts a second of threads that only hash, and then write and sync what an account is."""
    turns = threading.Semaphore(len(os.sched_getaffinity(0)))

    def sync(path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def account(number: int) -> None:
        new = directory / f"new-{number}"
        with turns:
            hashed = passwordhash.hash_password(PASSWORD).encode()
        os.mkdir(new, 0o700)
        os.close(os.open(new / "enforceE2EEincoming", os.O_CREAT | os.O_WRONLY, 0o600))
        fd = os.open(new / "password", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, hashed)
        os.fsync(fd)
        os.close(fd)
        sync(new)
        os.rename(new, directory / f"{number}@{DOMAIN}")
        sync(directory)

    directory.mkdir()
    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(account, range(count)))
    rate = count / (time.perf_counter() - start)
    print(f"{'hashes and writes, 16 threads':34} {rate:9,.0f}/s")
    return rate


def creations(path: Path, count: int, seconds: float) -> dict:
    """Each round: both floors, then `count` new accounts; medians of six rounds."""
    shares, of_written, waits = [], [], []
    for number in range(6):
        floor = hashes(seconds)
        writes = written(path.with_name(f"floor-{number}"), count)
        fresh = [request(each) for each in range(number * count, (number + 1) * count)]
        rate, p99 = measure("creations, 16 connections", path, CONNECTIONS, iter(fresh), 600)
        shares.append(rate / floor)
        of_written.append(rate / writes)
        waits.append(p99 * floor / CONNECTIONS)
    return {"creations, of the hashes that the cores make": round(statistics.median(shares), 2),
            "creations, of the floor with the same writes":
                round(statistics.median(of_written), 2),
            "creation, p99 at 16 connections over the mean of those hashes":
                round(statistics.median(waits), 2)}


@contextlib.contextmanager
def new_ext4():
    """A directory on a file system of its own: how old one is decides what a new file costs."""
    if os.geteuid():
        sys.exit("mounting an image needs root; --directory does without")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as beside:
        image, mounted = f"{beside}/image", f"{beside}/mounted"
        os.mkdir(mounted)
        subprocess.run(["truncate", "--size=2G", image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-i", "4096", image], check=True)   # many small files
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        try:
            yield mounted
        finally:
            subprocess.run(["umount", mounted], check=True)


def file_system(directory: str) -> str:
    """Its type; of ext4 also whether it has a journal."""
    found = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "-T", directory],
                           capture_output=True, text=True, check=True).stdout
    kind, source = found.splitlines()[-1].split()   # the last of those mounted at the same place
    journals = Path("/proc/fs/jbd2").glob(f"{source.removeprefix('/dev/').replace('/', '!')}-*")
    return kind if kind != "ext4" or any(journals) else "ext4 without a journal"


def resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement")
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--directory", help="where the accounts go")
    parser.add_argument("--floor", metavar="SOCKET", help=argparse.SUPPRESS)
    record.add_option(parser)
    args = parser.parse_args()
    if args.floor:
        asyncio.run(serve_floor(args.floor))
        return
    machine = record.begin(args)
    with contextlib.nullcontext(args.directory) if args.directory else new_ext4() as beside:
        figures = run(args, beside)
    for name, value in figures.items():
        print(f"{name}: {value}")
    record.publish(args, "doveauth", machine, figures)


def run(args: argparse.Namespace, beside: str) -> dict:
    with tempfile.TemporaryDirectory(dir=beside) as directory:
        home = Path(directory)
        (home / "chatmaild.ini").write_text(INI.format(domain=DOMAIN, directory=directory))
        ours, floor = home / "doveauth.sock", home / "floor.sock"
        with process([sys.executable, "-m", "chatmaild", "-c", str(home / "chatmaild.ini"),
                      "doveauth", "--socket", f"unix:{ours}"], ours) as service, \
                process([sys.executable, __file__, "--floor", str(floor)], floor):
            print(f"memory without a connection: {resident(service.pid):.1f} MB")
            figures: dict = {"the accounts are on": file_system(directory)}
            figures |= creations(ours, args.accounts, args.seconds)
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
    return figures


if __name__ == "__main__":
    main()
