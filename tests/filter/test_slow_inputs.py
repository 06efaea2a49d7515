"""No message makes the filter hold Python's lock for long, or work longer than it warrants.

What holds the lock is one call of a function in C, a regular expression above all: between two
instructions of Python, other sessions have their turn. So each such call is timed, in CPU seconds
of its own, against what a known piece of work costs on this machine at this moment.
"""

import re
import sys
import time

import pytest
from filterworld import Session
from openpgpmessages import gpg_symmetric, headers as good_headers, mime_body

from chatmaild.config import inifile
from chatmaild.filter.client import Client
from chatmaild.filter.milter import MAX_HEADER_OCTETS

pytestmark = pytest.mark.timing

LARGEST = 60_000
"""Octets of a header value that Postfix shows a milter."""

MAX_HOLD = 0.020
"""CPU seconds of one call, on a machine that does the known piece of work in WORK."""

MAX_ALL = 0.5
"""CPU seconds for all headers of a message, on such a machine."""

WORK = 0.010

CONFIG = inifile.parse(b"[chatmaild]\nmail_domains = chat.test\n", "test.ini")
BODY = mime_body(gpg_symmetric())
NAMES = ("From", "Sender", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "In-Reply-To",
         "References", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Autocrypt",
         "Autocrypt-Gossip", "Auto-Submitted", "Chat-Version", "Secure-Join", "List-Id",
         "Authentication-Results", "DKIM-Signature", "Received", "X-Any")
BEGINNINGS = {
    "Autocrypt": b"addr=a@chat.test; keydata=", "Autocrypt-Gossip": b"addr=a@chat.test; keydata=",
    "MIME-Version": b"1.0", "Date": b"Mon, 01 Jan 2024 00:00:00 +0000", "From": b"alice@chat.test",
    "Content-Type": b"multipart/encrypted; boundary=x;", "DKIM-Signature": b"v=1; a=rsa-sha256; b=",
    "Authentication-Results": b"mx.host.example; dkim=pass",
}
REPEATED = (b" ", b"\t", b"\n ", b"a", b"=", b";", b"; a=b", b"\"", b"\\", b"(", b"()", b"<", b"@",
            b"a@b.cc,", b".", b",", b"=?utf-8?q?a?=", b" =?u?b?YQ==?=", b"?", b"zQNh", b"\xff",
            b"/", b"%", b"'", b"*0*=", "\ufdfa".encode())


def known_work() -> float:
    """CPU seconds of a piece of work in C that has to do with none of ours."""
    best = 1.0
    for _ in range(3):
        begin = time.thread_time()
        sum(range(400_000))
        best = min(best, time.thread_time() - begin)
    return best


class Holds:
    """The longest call of a function in C under way in a ``with`` block, and which it was."""

    def __enter__(self):
        self.longest, self.which, self._since = 0.0, "", 0.0
        sys.setprofile(self._event)
        return self

    def _event(self, frame, event, argument):
        if event == "c_call":
            self._since = time.thread_time()
        elif event in ("c_return", "c_exception"):
            took = time.thread_time() - self._since
            if took > self.longest:
                self.longest = took
                self.which = f"{argument} in {frame.f_code.co_filename}:{frame.f_lineno}"

    def __exit__(self, *_):
        sys.setprofile(None)


def outgoing(headers, recipients=("bob@chat.test",)):
    session = Session(CONFIG, Client(login="alice@chat.test"))
    session.mail("<alice@chat.test>")
    for recipient in recipients:
        session.recipient(f"<{recipient}>")
    session.message(headers, BODY)


def incoming(headers, recipients=("bob@chat.test",), client=Client("192.0.2.7"), ini=""):
    config = inifile.parse(b"[chatmaild]\nmail_domains = chat.test\n" + ini.encode(), "test.ini")
    session = Session(config, client)
    session.mail("<alice@sender.test>")
    for recipient in recipients:
        session.recipient(f"<{recipient}>")
    session.message(headers, BODY)


def by_results(headers):
    incoming(headers, ini="incoming_authenticity = authentication-results\n"
                          "authserv_id = mx.host.example\n")


def ordinary(headers):
    """An ordinary user's message to ordinary people: only From is looked at."""
    incoming(headers, ["carol@other.test"], Client("192.0.2.7", "dave@ordinary.test"))


def assert_harmless(handle, headers, *arguments, tries=8):
    """Tried again where something else on the machine may have been at fault.

    Only what takes longer than one call may is looked at call by call, which takes far longer.
    """
    for _ in range(tries):
        scale = max(1.0, known_work() / WORK)
        begin = time.thread_time()
        handle(headers, *arguments)
        total = time.thread_time() - begin
        if total <= MAX_HOLD:
            return
        with Holds() as found:
            handle(headers, *arguments)
        if found.longest <= MAX_HOLD * scale and total <= MAX_ALL * scale:
            return
    raise AssertionError(f"{found.longest * 1000:.0f} ms at a time, {found.which}; "
                         f"{total * 1000:.0f} ms in all")


def with_header(name, value, handle):
    """A good message in which the header has that value."""
    sender = b"alice@chat.test" if handle is outgoing else b"alice@sender.test"
    kept = [(other, sender if other.lower() == "from" else text)
            for other, text in good_headers() if other.lower() != name.lower()]
    return [*kept, (name, value)]


@pytest.mark.parametrize("handle", [outgoing, incoming, by_results, ordinary])
@pytest.mark.parametrize("name", NAMES)
def test_one_header_of_the_largest_size(handle, name):
    for begin in {b"", BEGINNINGS.get(name, b"")}:
        for repeated in REPEATED:
            value = (begin + repeated * LARGEST)[:LARGEST - 1] + b"!"
            assert_harmless(handle, with_header(name, value, handle))


@pytest.mark.parametrize("handle", [outgoing, incoming, by_results, ordinary])
@pytest.mark.parametrize("name", ["Autocrypt-Gossip", "Chat-User-Avatar", "Received", "List-Id",
                                  "DKIM-Signature", "Authentication-Results", "From", "X-Any"])
@pytest.mark.parametrize("size", [8, 500, 46_000])
def test_as_many_headers_as_pass(handle, name, size):
    begin = BEGINNINGS.get(name, b"x")
    value = (begin + b"zQNh" * size)[:max(size, len(begin) + 4)]
    count = min(990, (MAX_HEADER_OCTETS - 2000) // (len(value) + len(name) + 4))
    assert_harmless(handle, with_header("X-First", b"x", handle) + [(name, value)] * count)


@pytest.mark.parametrize("handle", [outgoing, incoming])
def test_as_many_recipients_as_pass(handle):
    recipients = [f"r{number:04d}@chat.test" for number in range(1000)]
    named = b", ".join(recipient.encode() for recipient in recipients)
    assert_harmless(handle, with_header("To", named, handle), recipients)


def busy_for_long(headers):
    """In small calls, on a machine up to three times as slow as the one of WORK."""
    end = time.thread_time() + 3 * MAX_ALL
    while time.thread_time() < end:
        len(headers)


def test_the_measurement_sees_what_holds_the_lock():
    blanks = b" " * 10_000
    with pytest.raises(AssertionError, match="re.Pattern"):
        assert_harmless(lambda headers: re.compile(rb"\s+x").search(headers), blanks,
                        tries=1)
    with pytest.raises(AssertionError, match="in all"):
        assert_harmless(busy_for_long, blanks, tries=1)
