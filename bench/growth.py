#!/usr/bin/python3
"""How the cost of each job grows with the number of accounts.

    bench/growth.py [--accounts 1000 10000 100000] [--directory /dev/shm] [--publish]

Makes so many accounts without mail in a directory of its own, in memory by default, so that the
program is measured and not the disk. Then it starts doveauth, looks up and creates accounts as
Dovecot does, and runs the commands of an admin and the daily run. Prints seconds and, for commands,
the largest resident set; and for each job whether its cost is constant, or grows at most linearly.
A million accounts take some three minutes.
"""

import argparse
import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record
from doveauth import DOMAIN, INI, SRC, connect, request
from tables import growth

COMMANDS = {
    "expire": ["expire"],
    "report": ["report"],
    "accounts list --names": ["accounts", "list", "--names"],
    "accounts list": ["accounts", "list"],
}
LOOKUPS, CREATIONS = 2000, 100


def fill(mail, count):
    """Accounts as doveauth makes them, with a password that nobody checks."""
    now = time.time()
    for number in range(count):
        home = f"{mail}/{DOMAIN}/u{number:08d}@{DOMAIN}"
        os.mkdir(home, 0o700)
        for name, text in (("password", "{SHA512-CRYPT}$6$x\n"), ("enforceE2EEincoming", "")):
            with open(f"{home}/{name}", "w") as file:
                file.write(text)
        os.utime(f"{home}/password", (now, now))


def chatmaild(ini, *arguments):
    return [sys.executable, "-m", "chatmaild", "-c", str(ini), *arguments]


MEASURED = """
import re, resource, sys
from chatmaild import cli
peak = sys.argv.pop(1)
code = cli.main(sys.argv[1:])
with open("/proc/self/status") as status, open(peak, "w") as file:
    own = int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1])
    print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), file=file)
sys.exit(code)
"""
"""A command that writes down its size; as wait4 tells it, that of its parent would count too."""


def command(ini, arguments):
    """Seconds, and megabytes at most."""
    peak = ini.with_suffix(".peak")
    began = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-c", MEASURED, peak, "-c", ini, *arguments], stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(SRC)})
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}")
    return time.monotonic() - began, int(peak.read_text()) / 1024


def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("waited in vain, see the log of doveauth")
        time.sleep(0.001)


def ask(connection, requests):
    """Median seconds of an answer."""
    took = []
    for line in requests:
        began = time.perf_counter()
        connection.sendall(line)
        if not connection.recv(4096).startswith(b"O"):
            sys.exit("a login was refused")
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def doveauth(directory, ini, count):
    """Seconds to start and to reload, and for one lookup and one creation."""
    path, log = directory / "doveauth.sock", directory / "log"
    found = {}
    began = time.monotonic()
    with open(log, "wb") as file, subprocess.Popen(
            chatmaild(ini, "doveauth", "--socket", f"unix:{path}"), stderr=file,
            env=os.environ | {"PYTHONPATH": str(SRC), "JOURNAL_STREAM": "0:0"}) as process:
        try:
            until(lambda: path.exists() or process.poll() is not None)
            with connect(path) as connection:
                connection.sendall(b"H3\t0\t0\t\tauth\n")
                ask(connection, [request(0)])
                found["start"] = time.monotonic() - began
                step = max(1, count // LOOKUPS)
                found["lookup"] = ask(connection, map(request, range(0, count, step)))
                new = itertools.islice(itertools.count(count), CREATIONS)
                found["creation"] = ask(connection, map(request, new))
                began = time.monotonic()
                process.send_signal(signal.SIGHUP)
                until(lambda: b"read again" in log.read_bytes())
                found["reload"] = time.monotonic() - began
        finally:
            process.terminate()
    return found


def measure(count, parent):
    with tempfile.TemporaryDirectory(dir=parent, prefix="chatmaild-growth-") as name:
        directory = Path(name)
        (directory / "mail" / DOMAIN).mkdir(parents=True)
        ini = directory / "chatmaild.ini"
        ini.write_text(INI.format(domain=DOMAIN, directory=directory)
                       + "mail_user = root\n"
                       + f"push_tokens_dir = {directory}/tokens\n"
                       + f"push_queue_dir = {directory}/queue\n")
        try:
            fill(directory / "mail", count)
            found = {job: {"seconds": round(seconds, 6)}
                     for job, seconds in doveauth(directory, ini, count).items()}
            for job, arguments in COMMANDS.items():
                seconds, megabytes = command(ini, arguments)
                found[job] = {"seconds": round(seconds, 3), "MB": round(megabytes, 1)}
        finally:    # shutil.rmtree, as TemporaryDirectory has it, takes minutes
            subprocess.run(["rm", "-rf", directory / "mail"], check=True)
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accounts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--directory", default="/dev/shm")
    record.add_option(parser)
    args = parser.parse_args()
    machine = record.begin(args)
    figures = {}
    for count in args.accounts:
        figures[count] = measure(count, args.directory)
        print(f"\n{count:,} accounts")
        for job, found in figures[count].items():
            print(f"  {job:24} {found['seconds']:12.6f} s"
                  + (f"   {found['MB']:.1f} MB" if "MB" in found else ""), flush=True)
    if len(figures) > 1:
        print("\n" + growth({"figures": figures}))
    record.publish(args, "growth", machine, figures)


if __name__ == "__main__":
    main()
