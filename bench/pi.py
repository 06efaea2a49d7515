#!/usr/bin/python3
"""The whole host on one core at half speed and in 512 MB, as on a small Raspberry Pi.

    sudo bench/pi.py [--accounts 200] [--seconds 60] [--messages 1000000] [--publish]

Postfix, Dovecot and all our services run on a private host. Everybody waits in IMAP IDLE. Measured
are the memory of each service at rest, a message a second and then fifty at once, each until the
recipient's client is told, a phone that rings, and the daily run over many old messages, on a host
of its own without the limit of memory, since its disk is in memory. Takes four minutes. Needs root
and cgroups with the controllers cpu and memory (version 1 or 2).
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
MEMORY = 512 << 20
BURST = 50
PER_SENDER = 10
"""Messages that one account may send at once."""
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")


@contextlib.contextmanager
def told_at_once(sessions):
    """The kernel tells as many waiting sessions of new mail, as `chatmaild wire` sees to."""
    before = INOTIFY.read_text()
    INOTIFY.write_text(str(max(int(before), sessions + 256)))
    try:
        yield
    finally:
        INOTIFY.write_text(before)


@contextlib.contextmanager
def small_machine(limits_memory):
    """Cgroups with half of one CPU's time, and little memory; yields their files of processes."""
    root, half = Path("/sys/fs/cgroup"), PERIOD // 2
    old = (root / "cpu").is_dir()
    limits = [("cpu", "cpu.cfs_period_us", PERIOD), ("cpu", "cpu.cfs_quota_us", half)] if old else [
        ("", "cpu.max", f"{half} {PERIOD}")]
    if limits_memory:
        limits += [("memory", "memory.limit_in_bytes", MEMORY) if old else
                   ("", "memory.max", MEMORY)]
    groups = {controller: root / controller / "chatmaild-pi" for controller, _, _ in limits}
    try:
        for group in groups.values():
            group.mkdir()
        for controller, name, value in limits:
            (groups[controller] / name).write_text(str(value))
        yield [group / "cgroup.procs" for group in groups.values()]
    finally:
        for group in groups.values():
            for _ in range(100):
                with contextlib.suppress(OSError):
                    group.rmdir()
                    break
                time.sleep(0.1)


def confined(part, arguments, limits_memory=True):
    """Run a part of this program on a private host and a small machine; its figures."""
    with small_machine(limits_memory) as groups:
        def confine():
            for processes in groups:
                processes.write_text(str(os.getpid()))
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        done = subprocess.run([TREE / "tests/rig/enter", "--", sys.executable, "bench/pi.py",
                               "--part", part, *arguments], preexec_fn=confine, cwd=TREE,
                              text=True, stdout=subprocess.PIPE, check=True)
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


def private(host):
    """MB of each of our services that no other process shares."""
    return {name: memory(service.process.pid, r"Private_\w+")
            for name, service in host.services.items()}


def of_everything(lines):
    """MB of all processes of the host."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            total += memory(pid, lines)
    return round(total)


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


def ring(host, address, sender, password, message, gateway, times=20):
    """Milliseconds from a message's start to the gateway's for a phone, of so many."""
    with host.smtp(sender.address, password) as smtp:
        for _ in range(times):
            began = time.monotonic()
            smtp.sendmail(sender.address, [address], message(sender.address, address))
            gateway.next()
            took = time.monotonic() - began
            yield 1000 * took
            time.sleep(max(0, 1 - took))


def whole_host(args):
    import chatmessages
    from pushgateway import Gateway
    from rig.host import PASSWORD, Host

    def message(sender, recipient):
        return chatmessages.encrypted(sender, recipient, "hello")
    host, gateway = Host(), Gateway()
    host.start()
    host.configure(host.ini.read_text().replace(
        "[chatmaild]", f"[chatmaild]\npush_gateway = {gateway.url}", 1))
    began = time.monotonic()
    people = [Idler(host, PASSWORD) for _ in range(args.accounts)]
    figures = {"accounts made and connected, a second":
               round(len(people) / (time.monotonic() - began), 1)}
    select.select([], [], [], 5)        # what they have begun ends
    services = private(host)
    figures |= {f"private MB, {name}": round(found, 1) for name, found in services.items()}
    figures["private MB, all of ours"] = round(sum(services.values()), 1)
    figures["MB of all processes"] = of_everything("Pss")
    took = sorted(one_by_one(host, people, args.seconds, PASSWORD, message))
    figures["a message a second: p50 ms"] = round(statistics.median(took))
    figures["a message a second: p99 ms"] = round(took[len(took) * 99 // 100])
    figures[f"{BURST} at once: s"] = round(burst(host, people[1:], PASSWORD, message), 1)
    with host.imap(people[0].address, PASSWORD) as imap:
        imap.xatom("SETMETADATA", '"INBOX"', '(/private/devicetoken "phone")')
    rung = ring(host, people[0].address, people[1], PASSWORD, message, gateway)
    figures["a phone's gateway is told: p50 ms"] = round(statistics.median(rung))
    figures["private MB, notifier that rings"] = round(private(host)["notifier"], 1)
    figures["refused, deferred or bounced"] = len(re.findall(
        "reject: |status=(?:deferred|bounced)", host.logs()["mail.log"]))
    figures["MB swapped out"] = of_everything("Swap")
    host.stop()
    return figures


def expire(args):
    """The daily run when one mailbox has many messages, all old."""
    from rig.host import PASSWORD, Host
    host = Host()
    host.start()
    address = Idler(host, PASSWORD).address
    cur = host.mailbox(address) / "cur"
    old = int(time.time()) - 100 * 86400
    for number in range(args.messages):
        os.mknod(f"{cur}/{old}.M{number}P1.pi,S=1,W=1:2,S")
    began = time.monotonic()
    host.chatmaild("expire", user="_chatmaild")
    took = time.monotonic() - began
    if os.listdir(cur):
        raise SystemExit("expire left old messages")
    host.stop()
    return {f"expire, {args.messages:,} messages: s": round(took, 1)}


PARTS = {"host": whole_host, "expire": expire}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--messages", type=int, default=1_000_000)
    record.add_option(parser)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args)))
        return
    machine = record.begin(args)
    with told_at_once(args.accounts):
        figures = confined("host", sys.argv[1:])
    figures |= confined("expire", sys.argv[1:], limits_memory=False)
    for what, value in figures.items():
        print(f"{what:44} {value}")
    record.publish(args, "pi", machine, figures)


if __name__ == "__main__":
    main()
