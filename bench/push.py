#!/usr/bin/python3
"""What push costs a delivery, how soon the gateway is asked, and what a long queue takes.

    bench/push.py [--entries 100000]
    sudo tests/rig/enter -- bench/push.py --deliveries 1000 [--rounds 8]

The queue: a notifier with that many entries and a gateway that is down: its largest resident set.
Then the gateway is there: notifications a second until the queue is empty, and the resident set.

--deliveries: on a private mail host with Dovecot, rounds of that many LMTP deliveries in turns
with push and without (`push = no`). Everybody has one device. The ratio is the median rate with
push over that without. Then single deliveries: the time from the message's last octet, and from
Dovecot's answer, until the gateway has the request.
"""

import argparse
import asyncio
import os
import signal
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TREE / "src"), str(TREE / "tests")]

from fakegateway import FakeGateway  # noqa: E402

from chatmaild.push.queue import PushQueue  # noqa: E402

LMTP = "/var/spool/postfix/private/dovecot-lmtp"
PASSWORD = "a long password"
PEOPLE = 40
TOKEN_LENGTH = 300
"""Characters; about what Delta Chat sends."""


class Gateway:
    """A fast gateway in a thread of its own; `seen` has (token, time) in order of arrival."""

    def __init__(self, port=0):
        self.fake = FakeGateway()
        self.fake.port = port
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self.fake.start(), self._loop).result()
        self.url = self.fake.url

    @property
    def count(self):
        return len(self.fake.tokens)

    def wait_for(self, count, seconds=600.0):
        """When the request number `count` was there (looked at every millisecond)."""
        end = time.monotonic() + seconds
        while self.count < count:
            if time.monotonic() > end:
                raise SystemExit(f"{self.count} of {count} requests within {seconds:g} s")
            time.sleep(0.001)
        return time.monotonic()


# -- the queue -----------------------------------------------------------------------------------

def fill(path, entries):
    queue = PushQueue(path)
    now = time.time()
    with queue.transaction():
        for number in range(entries):
            token = f"openpgp:{number:08d}".ljust(TOKEN_LENGTH, "x")
            queue.add(token, f"{number // 2:032x}", now, now)
    queue.close()


def resident(pid):
    """The largest resident set so far, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmHWM")


def notifier(root, url):
    """A running notifier, once it has said READY=1."""
    ini = root / "chatmaild.ini"
    ini.write_text(f"[chatmaild]\nmail_domains = chat.example\npush_gateway = {url}\n"
                   f"push_queue_dir = {root}/queue\npush_metrics_file = {root}/push.prom\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(root / "notify"))
        process = subprocess.Popen(
            [sys.executable, "-m", "chatmaild", "-c", ini, "notifier",
             "--socket", f"unix:{root}/notifier.sock"],
            env=os.environ | {"PYTHONPATH": str(TREE / "src"),
                              "NOTIFY_SOCKET": str(root / "notify")}, stderr=subprocess.DEVNULL)
        notify.settimeout(60)
        while b"READY=1" not in notify.recv(4096):
            pass
    (root / "notify").unlink()
    return process


def end(process):
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def bench_queue(entries):
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        fill(root / "queue" / "queue.sqlite", entries)
        process = notifier(root, "http://127.0.0.1:9/notify")
        metrics = root / "push.prom"
        while not metrics.exists() or "gateway_up 0" not in metrics.read_text():
            time.sleep(0.2)     # written every 15 seconds: long enough to see it at rest
        print(f"{entries:,} entries, gateway down: largest resident set "
              f"{resident(process.pid):.1f} MB")
        end(process)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        fill(root / "queue" / "queue.sqlite", entries)
        gateway = Gateway()
        process = notifier(root, gateway.url)
        begin = gateway.wait_for(1)
        seconds = gateway.wait_for(entries) - begin
        print(f"drain: {entries / seconds:,.0f} notifications/s, largest resident set "
              f"{resident(process.pid):.1f} MB")
        end(process)


# -- deliveries ----------------------------------------------------------------------------------

def deliver(client, to):
    """One message; returns when its last octet went out and when the answer was there."""
    client.mail("friend@example.net")
    client.rcpt(to)
    client.putcmd("data")
    client.getreply()
    client.send(f"From: friend@example.net\r\nTo: {to}\r\nSubject: [...]\r\n\r\n"
                + "0123456789abcdef\r\n" * 300 + ".\r\n")
    sent = time.monotonic()
    code, said = client.getreply()
    if code != 250:
        raise SystemExit(f"LMTP: {code} {said}")
    return sent, time.monotonic()


def rate(people, deliveries):
    with smtplib.LMTP(LMTP) as client:
        begin = time.monotonic()
        for number in range(deliveries):
            deliver(client, people[number % len(people)])
        return deliveries / (time.monotonic() - begin)


def register(host, address):
    imap = host.imap(address, PASSWORD)
    token = f"openpgp:{address}".ljust(TOKEN_LENGTH, "x")
    status, _ = imap.xatom("SETMETADATA", '"INBOX"', f'(/private/devicetoken "{token}")')
    assert status == "OK"
    imap.logout()


def bench_deliveries(deliveries, rounds):
    from rig.host import Host
    host, gateway = Host(), Gateway()
    host.start()
    text = host.ini.read_text()
    ini = {kind: text.replace("[chatmaild]", f"[chatmaild]\npush_gateway = {gateway.url}\n"
                              f"push = {push}", 1)
           for kind, push in (("with", "yes"), ("without", "no"))}
    host.ini.write_text(ini["with"])
    for name in ("metadata", "notifier"):
        host.services[name].stop()
        host.services[name].start()
    people = [f"bench{number:04d}@{host.chat_domain}" for number in range(PEOPLE)]
    for address in people:
        register(host, address)
    rates = {"with": [], "without": []}
    rate(people, PEOPLE)
    for number in range(rounds):
        for kind in ("with", "without") if number % 2 else ("without", "with"):
            host.ini.write_text(ini[kind])      # Dovecot's Lua reads it at each delivery
            before = gateway.count
            rates[kind].append(rate(people, deliveries))
            if kind == "without":
                assert gateway.count <= before + PEOPLE     # the last round's second rings
            else:
                gateway.wait_for(before + 1, 5)
    host.ini.write_text(ini["with"])
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    ratio = statistics.median(a / b for a, b in zip(rates["with"], rates["without"]))
    print(f"LMTP: {medians['with']:.1f} deliveries/s with push, {medians['without']:.1f} without; "
          f"ratio {ratio:.3f}")
    delays = single(people * 5, gateway)
    for label, values in zip(("the last octet", "Dovecot's answer"), zip(*delays)):
        values = sorted(1000 * value for value in values)
        print(f"gateway asked after {label}: p50 {statistics.median(values):.1f} ms, "
              f"p95 {values[len(values) * 95 // 100]:.1f} ms")
    host.stop()


def single(people, gateway):
    """The two delays of each delivery, in seconds; nobody twice within the quiet second."""
    found = []
    with smtplib.LMTP(LMTP) as client:
        for address in people:
            time.sleep(0.05)    # PEOPLE of them take two seconds; the machine is at rest
            before = gateway.count
            times = deliver(client, address)
            arrived = gateway.wait_for(before + 1)
            found.append(tuple(arrived - each for each in times))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--deliveries", type=int)
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    if args.deliveries:
        bench_deliveries(args.deliveries, args.rounds)
    else:
        bench_queue(args.entries)


main()
