#!/usr/bin/python3
"""filtermail against no filter, two milters without rules and a before-queue proxy, alternately.

    sudo bench/filter.py [--rounds N] [--quick] [--filter NAME=COMMAND] [--publish]

Starts a private Postfix in namespaces of its own (nothing of the host is touched) with one smtpd
per variant, sends real OpenPGP/MIME messages with smtp-source and prints ratios to Postfix without
a filter and with the accept-all milter, CPU time of the filter, added latency and memory. The other
milter without rules, bare.py, has the waits of filtermail and asks about the sender. Needs
root, Postfix, gpg, python3-milter and, for the proxy, python3-aiosmtpd (left out if that is
missing). Other before-queue filters (smtpd_proxy_filter) take part by --filter, with {listen} and
{reinject} in COMMAND where it wants the ports: that on which it is asked, and Postfix's behind it.
"""

import argparse
import os
import shlex
import smtplib
import statistics
import subprocess
import sys
import time
from pathlib import Path

import privatepostfix
import record
from privatepostfix import DIR, ROOT, drain, memory, wait_for

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import openpgpmessages  # noqa: E402
from milterclient import MilterClient  # noqa: E402

PORTS = {"none": 2525, "filtermail": 2526, "accept-all": 2527, "proxy": 2528, "bare": 2531}
REINJECT = 2530
SENDER, RECIPIENT = "alice@chat.test", "bob@elsewhere.test"
RECIPIENTS = DIR / "recipients.sock"
INI = f"""[chatmaild]
mail_domains = chat.test
mailboxes_dir = {DIR}/mail
max_user_send_per_minute = 100000
max_user_send_burst_size = 100000
max_message_size = 50M
"""


def start_postfix(others):
    login = "-o milter_macro_defaults={auth_authen}=" + SENDER
    options = {
        "none": "-o smtpd_milters=",
        "filtermail": f"-o smtpd_milters=unix:{DIR}/filtermail.sock\n  {login}",
        "accept-all": f"-o smtpd_milters=unix:{DIR}/acceptall.sock\n  {login}",
        "bare": f"-o smtpd_milters=unix:{DIR}/bare.sock\n  {login}",
        "proxy": "-o smtpd_proxy_filter=127.0.0.1:2529",
    }
    options |= {name: f"-o smtpd_proxy_filter=127.0.0.1:{listen_port(name)}" for name in others}
    services = {PORTS[name]: option for name, option in options.items()}
    privatepostfix.start(services | {REINJECT: "-o smtpd_milters="}, processes=100)


def listen_port(name):
    """Where a before-queue filter of another project is asked."""
    return PORTS[name] + 100


def start_recipients():
    """The service that filtermail asks about the sender of each message, and that sender."""
    home = DIR / "mail/chat.test" / SENDER
    home.mkdir(parents=True)
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    (home / "enforceE2EEincoming").touch()      # as every new account has it
    (DIR / "chatmaild.ini").write_text(INI)
    with open(DIR / "recipients.log", "wb") as log:
        process = privatepostfix.start_service(
            "recipients", DIR / "chatmaild.ini", ["--socket", f"unix:{RECIPIENTS}"], log)
    wait_for(RECIPIENTS)
    return process


def start_filters(others):
    """name: process; "proxy" only if it can be had. `others`: commands by name."""
    os.umask(0)
    with open(DIR / "filter.log", "wb") as log:
        started = {
            "filtermail": privatepostfix.start_service(
                "filtermail", DIR / "chatmaild.ini",
                ["--socket", f"unix:{DIR}/filtermail.sock", "--recipients", RECIPIENTS], log),
            "accept-all": subprocess.Popen(
                [sys.executable, ROOT / "bench/acceptall.py", f"{DIR}/acceptall.sock"],
                stdin=subprocess.DEVNULL, stderr=log),
            "bare": subprocess.Popen(
                [sys.executable, ROOT / "bench/bare.py", f"{DIR}/bare.sock", "outgoing",
                 RECIPIENTS], stdin=subprocess.DEVNULL, stderr=log),
        }
        python = os.environ.get("AIOSMTPD_PYTHON", sys.executable)
        has_aiosmtpd = subprocess.run([python, "-c", "import aiosmtpd"], stderr=subprocess.DEVNULL)
        if has_aiosmtpd.returncode == 0:
            started["proxy"] = subprocess.Popen(
                [python, ROOT / "bench/proxy.py", "2529", str(REINJECT)],
                stdin=subprocess.DEVNULL, stderr=log)
        for name, command in others.items():
            words = shlex.split(command.format(listen=listen_port(name), reinject=REINJECT))
            started[name] = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log)
    wait_for(DIR / "filtermail.sock")
    wait_for(DIR / "acceptall.sock")
    wait_for(DIR / "bare.sock")
    if "proxy" in started:
        wait_for(2529)
    for name in others:
        wait_for(listen_port(name))
    return started


def message(size):
    """A file with a message whose ciphertext has `size` octets, as smtp-source wants it."""
    path = DIR / f"message-{size}"
    headers = b"".join(name.encode() + b": " + value + b"\n"
                       for name, value in openpgpmessages.headers(SENDER))
    body = openpgpmessages.mime_body(openpgpmessages.gpg_symmetric(size)).replace(b"\r\n", b"\n")
    path.write_bytes(headers + b"\n" + body)
    return path


def send(port, path, sessions, count):
    return privatepostfix.send(port, path, SENDER, RECIPIENT, sessions, count)


def cpu_seconds(processes):
    fields = [Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
              for process in processes]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def throughput(variants, processes, size, sessions, count, rounds):
    """`processes`: those that a variant's CPU time is made of."""
    path = message(size)
    megabytes = path.stat().st_size / 1e6
    rates = {name: [] for name in variants}
    cpu = {name: [] for name in variants}
    for name in variants:
        send(PORTS[name], path, sessions, max(sessions, count // 10))
    for _ in range(rounds):
        for name in variants:
            drain()
            counted = processes.get(name, ())
            before = cpu_seconds(counted)
            rates[name].append(send(PORTS[name], path, sessions, count))
            cpu[name].append((cpu_seconds(counted) - before) / count)
    print(f"\n{path.stat().st_size} octets, {sessions} sessions, {count} messages, "
          f"{rounds} rounds")
    figures = {}
    for name in variants:
        milliseconds = 1000 * statistics.median(cpu[name])
        found = figures[name] = {
            "messages/s": round(statistics.median(rates[name]), 1),
            "of no filter": median_ratio(rates[name], rates["none"]),
            "of accept-all": median_ratio(rates[name], rates["accept-all"]),
            "CPU ms": round(milliseconds, 3)}
        print(f"  {name:12} {found['messages/s']:8.1f} msg/s   ratio {found['of no filter']:.2f}, "
              f"to accept-all {found['of accept-all']:.2f}   CPU {milliseconds:.3f} ms/message "
              f"({milliseconds / megabytes:.2f} ms/MB)")
    return {"octets": path.stat().st_size, "sessions": sessions, "filters": figures}


def median_ratio(rates, base):
    """Of neighbours, which ran one after the other."""
    return round(statistics.median(rate / other for rate, other in zip(rates, base)), 2)


def latency(variants, samples):
    path = message(1600)
    text = path.read_bytes().replace(b"\n", b"\r\n")
    print(f"\nlatency of one message of {len(text)} octets on an open connection")
    found = {name: [] for name in variants}
    connections = {name: smtplib.SMTP("127.0.0.1", PORTS[name]) for name in variants}
    for connection in connections.values():
        connection.ehlo()
    for _ in range(samples):
        for name, connection in connections.items():
            began = time.monotonic()
            connection.sendmail(SENDER, [RECIPIENT], text)
            found[name].append(1000 * (time.monotonic() - began))
    added = {}
    for name in variants:
        p50, base = statistics.median(found[name]), statistics.median(found["none"])
        added[name] = round(p50 - base, 2)
        print(f"  {name:12} p50 {p50:.2f} ms   added {p50 - base:.2f} ms")
    return added


def resident(processes, quick):
    count, size = (5, 4_000_000) if quick else (20, 15_000_000)
    path = message(size)
    print(f"\n{count} messages of {path.stat().st_size} octets at once")
    peak = {}
    for name, process in processes.items():
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        began = time.monotonic()
        send(PORTS[name], path, count, count)
        peak[name] = round(memory(process, "VmHWM"), 1)
        print(f"  {name:12} {time.monotonic() - began:.1f} s   peak RSS {peak[name]} MB")
        drain()
    sessions = []
    for _ in range(3000):
        sessions.append(MilterClient(DIR / "filtermail.sock"))
        sessions[-1].connect()
    idle = round(memory(processes["filtermail"], "VmRSS"), 1)
    print(f"\n3000 idle sessions: filtermail {idle} MB")
    return {"peak MB": peak, "3000 idle sessions MB": idle}


def named(text):
    name, separator, command = text.partition("=")
    if not separator or not name or not command:
        raise argparse.ArgumentTypeError(f"{text}: NAME=COMMAND")
    return name, command


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--quick", action="store_true", help="small numbers, for a first look")
    parser.add_argument("--filter", action="append", default=[], type=named, dest="others",
                        metavar="NAME=COMMAND", help="a before-queue filter to compare with")
    record.add_option(parser)
    args = parser.parse_args()
    machine = record.begin(args) if not args.inside else record.describe()
    if not args.inside:
        privatepostfix.enter()
    others = dict(args.others)
    PORTS.update({name: 2540 + number for number, name in enumerate(others)})
    start_postfix(others)
    recipients = start_recipients()
    processes = start_filters(others)
    counted = {name: [process] for name, process in processes.items()}
    for name in ("filtermail", "bare"):
        counted[name].append(recipients)
    variants = ["none", *processes]
    divide = 5 if args.quick else 1
    try:
        figures = {
            "3 KB": throughput(variants, counted, 1600, 10, 3000 // divide, args.rounds),
            "2 MB": throughput(variants, counted, 1_480_000, 4, 100 // divide, args.rounds),
            "added ms": latency(variants, 500 // divide), **resident(processes, args.quick)}
        record.publish(args, "filter", machine, figures)
    except subprocess.CalledProcessError:
        print((DIR / "log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        privatepostfix.stop()
        for process in (recipients, *processes.values()):
            process.kill()


if __name__ == "__main__":
    main()
