#!/usr/bin/python3
"""filtermail against no filter, an accept-all milter and a before-queue proxy, alternately.

    sudo bench/filter.py [--rounds N] [--quick]

Starts a private Postfix in namespaces of its own (nothing of the host is touched) with one smtpd
per variant, sends real OpenPGP/MIME messages with smtp-source and prints ratios to Postfix without
a filter, CPU time of the filter, added latency and memory. Needs root, Postfix, gpg, python3-milter
and, for the proxy, python3-aiosmtpd (left out if that is missing).
"""

import argparse
import os
import smtplib
import statistics
import subprocess
import sys
import time
from pathlib import Path

import privatepostfix
from privatepostfix import DIR, ROOT, drain, memory, wait_for

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import openpgpmessages  # noqa: E402
from milterclient import MilterClient  # noqa: E402

PORTS = {"none": 2525, "filtermail": 2526, "accept-all": 2527, "proxy": 2528}
REINJECT = 2530
SENDER, RECIPIENT = "alice@chat.test", "bob@elsewhere.test"
INI = """[chatmaild]
mail_domains = chat.test
max_user_send_per_minute = 100000
max_user_send_burst_size = 100000
max_message_size = 50M
"""


def start_postfix():
    login = "-o milter_macro_defaults={auth_authen}=" + SENDER
    options = {
        "none": "-o smtpd_milters=",
        "filtermail": f"-o smtpd_milters=unix:{DIR}/filtermail.sock\n  {login}",
        "accept-all": f"-o smtpd_milters=unix:{DIR}/acceptall.sock\n  {login}",
        "proxy": "-o smtpd_proxy_filter=127.0.0.1:2529",
    }
    services = {PORTS[name]: option for name, option in options.items()}
    privatepostfix.start(services | {REINJECT: "-o smtpd_milters="}, processes=100)


def start_filters():
    """name: process; "proxy" only if it can be had."""
    (DIR / "chatmaild.ini").write_text(INI)
    os.umask(0)
    with open(DIR / "filter.log", "wb") as log:
        started = {
            "filtermail": privatepostfix.start_filtermail(
                DIR / "chatmaild.ini", ["--socket", f"unix:{DIR}/filtermail.sock"], log),
            "accept-all": subprocess.Popen(
                [sys.executable, ROOT / "bench/acceptall.py", f"{DIR}/acceptall.sock"],
                stdin=subprocess.DEVNULL, stderr=log),
        }
        python = os.environ.get("AIOSMTPD_PYTHON", sys.executable)
        has_aiosmtpd = subprocess.run([python, "-c", "import aiosmtpd"], stderr=subprocess.DEVNULL)
        if has_aiosmtpd.returncode == 0:
            started["proxy"] = subprocess.Popen(
                [python, ROOT / "bench/proxy.py", "2529", str(REINJECT)],
                stdin=subprocess.DEVNULL, stderr=log)
    wait_for(DIR / "filtermail.sock")
    wait_for(DIR / "acceptall.sock")
    if "proxy" in started:
        wait_for(2529)
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


def cpu_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def throughput(variants, processes, size, sessions, count, rounds):
    path = message(size)
    megabytes = path.stat().st_size / 1e6
    rates = {name: [] for name in variants}
    cpu = {name: [] for name in variants}
    for name in variants:
        send(PORTS[name], path, sessions, max(sessions, count // 10))
    for _ in range(rounds):
        for name in variants:
            drain()
            process = processes.get(name)
            before = cpu_seconds(process) if process else 0
            rates[name].append(send(PORTS[name], path, sessions, count))
            cpu[name].append((cpu_seconds(process) - before) / count if process else 0)
    print(f"\n{path.stat().st_size} octets, {sessions} sessions, {count} messages, "
          f"{rounds} rounds")
    for name in variants:
        ratios = [rate / base for rate, base in zip(rates[name], rates["none"])]
        milliseconds = 1000 * statistics.median(cpu[name])
        print(f"  {name:12} {statistics.median(rates[name]):8.1f} msg/s   ratio "
              f"{statistics.median(ratios):.2f}   CPU {milliseconds:.3f} ms/message "
              f"({milliseconds / megabytes:.2f} ms/MB)")


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
    for name in variants:
        p50, base = statistics.median(found[name]), statistics.median(found["none"])
        print(f"  {name:12} p50 {p50:.2f} ms   added {p50 - base:.2f} ms")


def resident(processes, quick):
    count, size = (5, 4_000_000) if quick else (20, 15_000_000)
    path = message(size)
    print(f"\n{count} messages of {path.stat().st_size} octets at once")
    for name, process in processes.items():
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        began = time.monotonic()
        send(PORTS[name], path, count, count)
        print(f"  {name:12} {time.monotonic() - began:.1f} s   peak RSS "
              f"{memory(process, 'VmHWM'):.1f} MB")
        drain()
    sessions = []
    for _ in range(3000):
        sessions.append(MilterClient(DIR / "filtermail.sock"))
        sessions[-1].connect()
    print(f"\n3000 idle sessions: filtermail {memory(processes['filtermail'], 'VmRSS'):.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small numbers, for a first look")
    args = parser.parse_args()
    if not args.inside:
        privatepostfix.enter()
    start_postfix()
    processes = start_filters()
    variants = ["none", *processes]
    divide = 5 if args.quick else 1
    try:
        throughput(variants, processes, 1600, 10, 3000 // divide, args.rounds)
        throughput(variants, processes, 1_480_000, 4, 100 // divide, args.rounds)
        latency(variants, 500 // divide)
        resident(processes, args.quick)
    except subprocess.CalledProcessError:
        print((DIR / "log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        privatepostfix.stop()
        for process in processes.values():
            process.kill()


if __name__ == "__main__":
    main()
