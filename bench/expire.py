#!/usr/bin/python3
"""How fast `chatmaild expire` looks and deletes, against find(1) on the same tree.

    bench/expire.py [--accounts 2000] [--messages 100] [--rounds 7] [--memory]

Looking: `find -mtime` and `chatmaild expire` in turns over a tree in which nothing is due, caches
warm. Deleting: `find ... -delete` and `chatmaild expire` in turns, each on a fresh tree in which
about a third is due. Wall and CPU time are compared by their medians; the ratio is find's time
over ours for looking, ours over find's for deleting.

--memory: the largest resident set over 2,000 and over 200,000 mailboxes, and over one mailbox of
a million messages (needs some gigabytes and minutes).
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"
DAY = 86_400
NOW = int(time.time())


def build(root, accounts, messages):
    """A tree as Dovecot leaves it, the messages spread evenly over 30 days."""
    chance = random.Random(1)
    for number in range(accounts):
        home = f"{root}/chat.example/u{number:08d}@chat.example"
        for kind in ("cur", "new", "tmp"):
            os.makedirs(f"{home}/{kind}")
        os.close(os.open(f"{home}/password", os.O_CREAT | os.O_WRONLY, 0o600))
        for each in range(messages):
            saved = NOW - chance.randrange(30 * DAY)
            size = int(chance.lognormvariate(8.5, 1.8)) + 500
            kind, flags = ("cur", ":2,S") if chance.random() < 0.8 else ("new", "")
            path = (f"{home}/{kind}/{saved}.M{each}P{chance.randrange(99999)}.host,"
                    f"S={size},W={size + size // 70}{flags}")
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            os.utime(path, (saved, saved))


def configuration(directory, root, days):
    path = Path(directory, f"{days}.ini")
    path.write_text(f"[chatmaild]\nmail_domains = chat.example\nmailboxes_dir = {root}\n"
                    f"delete_mails_after = {days}\ndelete_large_after = {days}\n"
                    "mail_user = root\nlog_addresses = yes\n")
    return path


def ours(ini, *arguments):
    return [sys.executable, "-m", "chatmaild", "-c", str(ini), "expire", "-q", *arguments]


def measure(command):
    """Wall and CPU seconds of one command, and its largest resident set in KiB."""
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def report(label, theirs, mine, invert):
    for kind, index in (("wall", 0), ("cpu", 1)):
        find = statistics.median(each[index] for each in theirs)
        we = statistics.median(each[index] for each in mine)
        ratio = we / find if invert else find / we
        print(f"{label:8} {kind:4}  find {find:.3f} s  expire {we:.3f} s  ratio {ratio:.2f}")


def looking(directory, root, rounds):
    ini = configuration(directory, root, 40)
    find = ["find", root, "-type", "f", "-mtime", "+40"]
    for command in (find, ours(ini)):
        measure(command)
    turns = [(measure(find), measure(ours(ini))) for _ in range(rounds)]
    report("looking", *zip(*turns), invert=False)
    print(f"expire's largest resident set: {max(mine[2] for _, mine in turns) / 1024:.1f} MiB")


def deleting(directory, root, rounds):
    ini = configuration(directory, root, 20)
    find = ["find", f"{root}/chat.example", "-type", "f", "-path", "*/[cnt][uem][rwp]/*",
            "-mtime", "+19", "-delete"]
    spare = f"{root}.spare"
    os.rename(root, spare)
    turns = []
    for _ in range(rounds):
        turn = []
        for command in (find, ours(ini)):
            subprocess.run(["cp", "-a", spare, root], check=True)
            os.sync()
            subprocess.run(["find", root, "-size", "+9G"], check=True)
            turn.append(measure(command))
            shutil.rmtree(root)
        turns.append(turn)
    os.rename(spare, root)
    report("deleting", *zip(*turns), invert=True)


def memory(directory):
    for accounts, messages in ((2_000, 5), (200_000, 5), (1, 1_000_000)):
        root = f"{directory}/memory"
        build(root, accounts, messages)
        _, _, largest = measure(ours(configuration(directory, root, 40)))
        print(f"{accounts:7} mailboxes of {messages:7} messages: {largest / 1024:.1f} MiB")
        # not shutil.rmtree, which lists a directory as a whole: what this process once took
        # counts, after fork and exec, as the next child's largest resident set
        subprocess.run(["rm", "-rf", root], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--messages", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        if args.memory:
            memory(directory)
            return
        root = f"{directory}/mail"
        build(root, args.accounts, args.messages)
        looking(directory, root, args.rounds)
        deleting(directory, root, max(args.rounds // 2, 1))


if __name__ == "__main__":
    main()
