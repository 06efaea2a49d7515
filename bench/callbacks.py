#!/usr/bin/python3
"""What our part of the filter costs a message: its callbacks, in this process.

    bench/callbacks.py [--size OCTETS] [--messages N]

A chat user's message goes through the functions that libmilter would call, with a stub as their
context; no socket, no Postfix, and a log that goes to a file. The figures are the least and the
lower third of many messages, so they are worth something on a busy machine too: run it in two
checkouts alternately.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import milter

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import openpgpmessages  # noqa: E402

from chatmaild.config import inifile  # noqa: E402
from chatmaild.daemon import logs, process  # noqa: E402
from chatmaild.filter.client import Direction  # noqa: E402
from chatmaild.filter.milter import MilterServer, Site  # noqa: E402
from chatmaild.filter.questions import Account, MailboxState  # noqa: E402

ALICE, BOB = "alice@chat.test", "bob@elsewhere.test"
STAGES = ("MAIL", "RCPT", "headers", "end of headers", "body", "end of message", "all")


class World:
    """Everybody has an account and may send."""

    def mailbox(self, address):
        return MailboxState.OPEN

    def account(self, address):
        return Account(MailboxState.OPEN)

    def may_send(self, sender, now, per_minute, burst):
        return True


class Context:
    """What libmilter keeps for a session."""

    macros = {"{auth_authen}": ALICE, "{mail_addr}": ALICE, "{rcpt_addr}": BOB, "i": "4XTEST1234z"}

    def setpriv(self, session):
        self.session = session

    def getpriv(self):
        return self.session

    def getsymval(self, name):
        return self.macros.get(name)

    def setsymlist(self, stage, macros):
        pass

    def chgheader(self, name, index, value):
        pass


def callbacks(server):
    """What `server` registers with libmilter, by name."""
    found = {}
    for name in ("connect", "envfrom", "envrcpt", "header", "eoh", "body", "eom", "abort",
                 "close"):
        setattr(milter, f"set_{name}_callback", lambda each, name=name: found.update({name: each}))
    milter.register = lambda name, **others: found.update(others)
    milter.main = milter.setconn = milter.settimeout = lambda *_: None
    server.serve(0)
    return found


def once(call, context, headers, chunks):
    """Nanoseconds that one message takes, by stage."""
    clock = time.perf_counter_ns
    times = [clock()]
    call["envfrom"](context, f"<{ALICE}>".encode(), b"SIZE=3000")
    times.append(clock())
    call["envrcpt"](context, f"<{BOB}>".encode())
    times.append(clock())
    for name, value in headers:
        call["header"](context, name, value)
    times.append(clock())
    call["eoh"](context)
    times.append(clock())
    for chunk in chunks:
        call["body"](context, chunk)
    times.append(clock())
    assert call["eom"](context) == milter.ACCEPT
    times.append(clock())
    call["abort"](context)
    return [behind - before for before, behind in zip(times, times[1:])] + [times[-1] - times[0]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1600, help="octets that are encrypted")
    parser.add_argument("--messages", type=int, default=3000)
    args = parser.parse_args()
    config = inifile.parse(b"[chatmaild]\nmail_domains = chat.test\n", "bench")
    headers = [(name, b" " + value) for name, value in openpgpmessages.headers(ALICE)]
    body = openpgpmessages.mime_body(openpgpmessages.gpg_symmetric(args.size))
    chunks = [body[at:at + 65535] for at in range(0, len(body), 65535)]
    with tempfile.TemporaryFile("w") as log, contextlib.redirect_stderr(log):
        os.environ["JOURNAL_STREAM"] = "0:0"
        logs.setup("callbacks", is_daemon=True)
        server = MilterServer(Site(config, Direction.OUTGOING, World()), logs.AddressLabel(False))
        process.share_heap()
        call, context = callbacks(server), Context()
        call["negotiate"](context, [0x1FF, 0x1FFFFF, 0, 0])
        call["connect"](context, "localhost", 2, ("127.0.0.1", 4711))
        taken = [once(call, context, headers, chunks) for _ in range(args.messages)]
    print(f"{len(body)} octets, {args.messages} messages: microseconds, least and lower third")
    for stage, each in zip(STAGES, map(sorted, zip(*taken))):
        print(f"  {stage:15} {each[0] / 1000:7.1f} {each[len(each) // 3] / 1000:7.1f}")


if __name__ == "__main__":
    main()
