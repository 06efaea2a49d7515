#!/usr/bin/python3
"""The whole host on one core at half speed, as on a small Raspberry Pi.

    sudo bench/pi.py [--accounts 200] [--seconds 60] [--messages 100000] [--publish]

Postfix, Dovecot and all our services run on a private host. Everybody waits in IMAP IDLE. Measured
are the memory of each service at rest, a message a second and then fifty at once, each until the
recipient's client is told, and the daily run over many old messages. Needs root and cgroups with
the cpu controller (version 1 or 2).
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

import record

TREE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TREE / "src"), str(TREE / "tests")]

PERIOD = 100_000
"""Microseconds; half of it is ours."""
BURST = 50
PER_SENDER = 10
"""Messages that one account may send at once."""


@contextlib.contextmanager
def half_a_core():
    """A cgroup with half of one CPU's time; its file of processes."""
    old = Path("/sys/fs/cgroup/cpu")
    group = (old if old.is_dir() else Path("/sys/fs/cgroup")) / "chatmaild-pi"
    group.mkdir()
    try:
        if old.is_dir():
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(PERIOD // 2))
        else:
            (group / "cpu.max").write_text(f"{PERIOD // 2} {PERIOD}")
        yield group / "cgroup.procs"
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def confined(arguments):
    """Run this program inside a private host, on half a core; the figures that it prints last."""
    with half_a_core() as processes:
        def confine():
            processes.write_text(str(os.getpid()))
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        done = subprocess.run([TREE / "tests/rig/enter", "--", sys.executable, "bench/pi.py",
                               "--inside", *arguments], preexec_fn=confine, cwd=TREE, text=True,
                              stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# -- inside ---------------------------------------------------------------------------------------

class Idler:
    """Somebody's client, which waits for mail."""

    def __init__(self, host, password):
        self.address = host.new_person()
        self._imap = host.imap(self.address, password)
        self._imap.select()
        self._imap.send(b"i IDLE\r\n")
        self._line(b"+")
        self.count = 0

    def _line(self, begin):
        while not (line := self._imap.readline()).startswith(begin):
            if not line:
                raise SystemExit(f"{self.address}: the connection was closed")
        return line

    def wait(self):
        """Until one more message is there."""
        self._line(b"* ")
        self.count += 1


def memory(pid, lines):
    """MB, by these lines of smaps_rollup."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(value) for value in re.findall(rf"^{lines}: +(\d+) kB", text, re.M)) / 1024


def at_rest(host):
    """Private MB of each of our services, and the sum of everything on the host."""
    found = {name: round(memory(service.process.pid, r"Private_\w+"), 1)
             for name, service in host.services.items()}
    found["all of ours"] = round(sum(found.values()), 1)
    everything = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            everything += memory(pid, "Pss")
    return found, round(everything)


def one_by_one(host, people, seconds, password, message):
    """A message a second from one of `people` to the others; milliseconds until they know."""
    took = []
    sender, *recipients = people
    with host.smtp(sender.address, password) as smtp:
        for _, recipient in zip(range(seconds), itertools.cycle(recipients)):
            began = time.monotonic()
            smtp.sendmail(sender.address, [recipient.address],
                          message(sender.address, recipient.address))
            recipient.wait()
            took.append(1000 * (time.monotonic() - began))
            time.sleep(max(0, 1 - (time.monotonic() - began)))
    return took


def burst(host, people, password, message):
    """Seconds until fifty messages that were sent at once have all arrived."""
    senders = people[:BURST // PER_SENDER]
    recipients = people[-BURST:]
    began = time.monotonic()
    for number, sender in enumerate(senders):
        with host.smtp(sender.address, password) as smtp:
            for recipient in recipients[number * PER_SENDER:(number + 1) * PER_SENDER]:
                smtp.sendmail(sender.address, [recipient.address],
                              message(sender.address, recipient.address))
    for recipient in recipients:
        recipient.wait()
    return time.monotonic() - began


def expire(host, address, messages):
    """Seconds for the daily run when one mailbox has so many messages, all old."""
    cur = host.mailbox(address) / "cur"
    old = int(time.time()) - 100 * 86400
    for number in range(messages):
        (cur / f"{old}.M{number}P1.pi,S=1,W=1:2,S").touch()
    began = time.monotonic()
    host.chatmaild("expire", user="_chatmaild")
    return time.monotonic() - began


def inside(args):
    import chatmessages
    from rig.host import PASSWORD, Host

    def message(sender, recipient):
        return chatmessages.encrypted(sender, recipient, "hello")
    host = Host()
    host.start()
    began = time.monotonic()
    people = [Idler(host, PASSWORD) for _ in range(args.accounts)]
    figures = {"accounts made and connected, a second":
               round(len(people) / (time.monotonic() - began), 1)}
    select.select([], [], [], 5)        # what they have begun ends
    services, everything = at_rest(host)
    figures |= {f"private MB, {name}": megabytes for name, megabytes in services.items()}
    figures["MB of all processes"] = everything
    took = sorted(one_by_one(host, people, args.seconds, PASSWORD, message))
    figures["a message a second: p50 ms"] = round(statistics.median(took))
    figures["a message a second: p99 ms"] = round(took[len(took) * 99 // 100])
    figures[f"{BURST} at once: s"] = round(burst(host, people[1:], PASSWORD, message), 1)
    figures[f"expire, {args.messages:,} messages: s"] = round(
        expire(host, people[0].address, args.messages), 1)
    host.stop()
    print(json.dumps(figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--messages", type=int, default=100_000)
    record.add_option(parser)
    args = parser.parse_args()
    if args.inside:
        inside(args)
        return
    machine = record.begin(args)
    figures = confined(sys.argv[1:])
    for what, value in figures.items():
        print(f"{what:44} {value}")
    record.publish(args, "pi", machine, figures)


if __name__ == "__main__":
    main()
