#!/usr/bin/python3
"""The incoming filter against no milter and two without rules on the same Postfix, alternately.

    sudo bench/incoming.py [--rounds N] [--quick] [--publish]

Starts a private Postfix in namespaces of its own (nothing of the host is touched), the filter and
name servers of its own, and measures: ordinary mail at 3 KB; chat mail with a DKIM signature whose
key is cached; what 100 chat messages whose DNS never answers do to ordinary mail beside them; and
memory with 20 signed messages of 20 MB at once. Needs root, Postfix and gpg.
"""

import argparse
import os
import smtplib
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import privatepostfix
import record
from privatepostfix import DIR, ROOT, drain, memory, wait_for

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import dkimkit  # noqa: E402
import openpgpmessages  # noqa: E402
from dnsservers import Stranger, reply  # noqa: E402

PORTS = {"none": 2525, "incoming": 2526, "accept-all": 2527, "bare": 2528}
ALICE = "alice@sender.example"
CHAT, ORDINARY = "bob@chat.example", "bob@ordinary.example"


def start_postfix():
    milters = {"none": "", "incoming": f"unix:{DIR}/incoming.sock",
               "accept-all": f"unix:{DIR}/acceptall.sock", "bare": f"unix:{DIR}/bare.sock"}
    services = {port: f"-o smtpd_milters={milters[name]}" for name, port in PORTS.items()}
    privatepostfix.start(services, processes=300)


def start_filter(dns_port):
    home = DIR / "mail/chat.example" / CHAT
    home.mkdir(parents=True)
    (home / "password").write_text("{SHA512-CRYPT}$6$x\n")
    (home / "enforceE2EEincoming").touch()
    (DIR / "chatmaild.ini").write_text(
        f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {DIR}/mail\n"
        f"dns_servers = 127.0.0.1@{dns_port}\ntrusted_networks =\n")
    os.umask(0)
    with open(DIR / "filter.log", "wb") as log:
        process = privatepostfix.start_service(
            "filtermail", DIR / "chatmaild.ini",
            ["--direction", "incoming", "--socket", f"unix:{DIR}/incoming.sock"], log)
        accept_all = subprocess.Popen(
            [sys.executable, ROOT / "bench/acceptall.py", f"{DIR}/acceptall.sock"],
            stdin=subprocess.DEVNULL, stderr=log)
        bare = subprocess.Popen(
            [sys.executable, ROOT / "bench/bare.py", f"{DIR}/bare.sock", "incoming"],
            stdin=subprocess.DEVNULL, stderr=log)
    for name in ("incoming", "acceptall", "bare"):
        wait_for(DIR / f"{name}.sock")
    return process, accept_all, bare


def message(size, recipient, domain=b"sender.example"):
    """A signed OpenPGP/MIME message, CRLF."""
    headers = dict(openpgpmessages.headers(f"alice@{domain.decode()}")) | {"To": recipient.encode()}
    head = b"".join(name.encode() + b": " + value.replace(b"\n", b"\r\n") + b"\r\n"
                    for name, value in headers.items())
    body = openpgpmessages.mime_body(openpgpmessages.gpg_symmetric(size))
    return dkimkit.sign(head + b"\r\n" + body, dkimkit.rsa(), domain=domain,
                        include_headers=[b"from", b"to", b"subject", b"date", b"from"])


def as_file(content):
    path = DIR / f"message-{len(content)}"
    path.write_bytes(content.replace(b"\r\n", b"\n"))
    return path


def send(port, path, recipient, sessions, count):
    return privatepostfix.send(port, path, ALICE, recipient, sessions, count)


def ratio(path, recipient, count, rounds):
    """Median rates, and ours and the bare one's over the others': the medians of the ratios of
    neighbours."""
    rates = {name: [] for name in PORTS}
    for name, port in PORTS.items():
        send(port, path, recipient, 10, count // 10)
    for _ in range(rounds):
        for name, port in PORTS.items():
            drain()
            rates[name].append(send(port, path, recipient, 10, count))
    found = {f"{name}/s": round(statistics.median(rates[name])) for name in PORTS}
    for name, base in (("incoming", "none"), ("incoming", "accept-all"), ("incoming", "bare"),
                       ("bare", "accept-all")):
        found[("bare " if name == "bare" else "") + f"of {base}"] = round(statistics.median(
            rate / other for rate, other in zip(rates[name], rates[base])), 2)
    return found


def one_by_one(count):
    """Milliseconds that each ordinary message takes on one connection."""
    took = []
    with smtplib.SMTP("127.0.0.1", PORTS["incoming"]) as smtp:
        smtp.ehlo()
        for _ in range(count):
            began = time.monotonic()
            smtp.sendmail(ALICE, [ORDINARY], b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n")
            took.append((time.monotonic() - began) * 1000)
            time.sleep(0.005)
    return took


def dead_dns(results, content):
    began = time.monotonic()
    try:
        with smtplib.SMTP("127.0.0.1", PORTS["incoming"], timeout=60) as smtp:
            smtp.sendmail("alice@dead.example", [CHAT], content)
            code = 250
    except smtplib.SMTPResponseException as error:
        code = error.smtp_code
    results.append((code, time.monotonic() - began))


def beside_dead_dns(count):
    """100 chat messages of 20 domains whose DNS is silent, and ordinary mail meanwhile."""
    contents = [message(1500, CHAT, b"dead%d.example" % n) for n in range(20)]
    alone = one_by_one(count)
    results = []
    threads = [threading.Thread(target=dead_dns, args=(results, contents[n % 20]))
               for n in range(100)]
    for thread in threads:
        thread.start()
    beside = one_by_one(count)
    for thread in threads:
        thread.join()
    assert all(code == 451 for code, _ in results), results
    return alone, beside, max(took for _, took in results)


def large_at_once(process, size, count):
    path = as_file(message(size, CHAT))
    before = memory(process, "VmHWM")
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    rate = send(PORTS["incoming"], path, CHAT, count, count)
    return before, memory(process, "VmHWM"), count / rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    record.add_option(parser)
    args = parser.parse_args()
    machine = record.begin(args) if not args.inside else record.describe()
    if not args.inside:
        privatepostfix.enter()
    part = 10 if args.quick else 1
    start_postfix()
    key = dkimkit.rsa().record.decode()
    strings = f'"{key[:200]}" "{key[200:]}"'
    figures = {}

    def answer(query):
        name = str(query.question[0].name)
        return None if "dead" in name else reply(query, f"{name} 3600 IN TXT {strings}")
    with Stranger(answer) as server:
        process, *others = start_filter(server.port)
        try:
            print(f"at the start: RSS {memory(process, 'VmRSS'):.1f} MB")
            small = as_file(message(2000, CHAT))
            print(f"message of {small.stat().st_size} octets, 10 sessions")
            for what, recipient in (("ordinary", ORDINARY), ("chat with DKIM", CHAT)):
                found = figures[what] = ratio(small, recipient, 3000 // part, args.rounds)
                print(f"{what}: {found['none/s']}/s without, {found['incoming/s']}/s with: ratio "
                      f"{found['of none']:.2f}, to accept-all {found['of accept-all']:.2f} (bare "
                      f"{found['bare of accept-all']:.2f})")
            before, peak, took = large_at_once(process, 20_000_000 // part, 20)
            figures["peak MB"] = round(peak, 1)
            print(f"20 messages of {20 // part} MB at once: peak RSS {peak:.1f} MB "
                  f"({before:.1f} before), {took:.1f} s")
            alone, beside, longest = beside_dead_dns(600 // part)
            for name, cut in (("p50", 0.5), ("p95", 0.95), ("max", 1)):
                first, second = (sorted(times)[min(int(len(times) * cut), len(times) - 1)]
                                 for times in (alone, beside))
                figures[f"beside dead DNS, {name}: added ms"] = round(second - first, 1)
                print(f"ordinary mail beside dead DNS, {name}: {first:.1f} ms alone, "
                      f"{second:.1f} ms beside")
            print(f"longest wait for a DNS that never answers: {longest:.1f} s")
            record.publish(args, "incoming", machine, figures)
        finally:
            for each in (process, *others):
                each.kill()
            privatepostfix.stop()


if __name__ == "__main__":
    main()
