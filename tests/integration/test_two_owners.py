"""One address, two owners, one after the other: neither ever sees anything of the other."""

import imaplib
import itertools
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from rig import processes
from rig.files import replace
from rig.host import PASSWORD
from rig.until import until

CONF = Path("/etc/dovecot/conf.d/20-two-owners.conf")
NO_PAUSE = {     # Dovecot's own, after a refused login
    "2.3": "auth_failure_delay = 0\nauth_debug = yes\n",
    "2.4": "auth_failure_delay = 0\nauth_internal_failure_delay = 0\n"
           "log_debug = category=auth\n",
}
ONE_PROCESS = "service imap {\n  process_min_avail = 1\n  process_limit = 1\n}\n"
IMAP = "/usr/lib/dovecot/imap"
DAY = 86_400
ROUNDS = 4
NEXT = "the next owner's password"

NUMBERS = itertools.count(1)
SOURCES = itertools.count(1)


def settings(host):
    return NO_PAUSE[".".join(host.run("dovecot", "--version").stdout.split(".")[:2])]


@pytest.fixture
def dovecot(host):
    """Restarts Dovecot with more settings; without them afterwards."""
    def restart(more=""):
        replace(CONF, settings(host) + more)
        host.restart_dovecot()
    yield restart
    CONF.unlink()
    host.restart_dovecot()


def new_address(host):
    return f"owned{next(NUMBERS):04d}@{host.chat_domain}"


def connect(host, address, password):
    """A session; Dovecot slows down whoever is refused, so each login comes from elsewhere."""
    number = next(SOURCES)
    return host.imap(address, password, source=f"127.3.{number // 250 % 250}.{number % 250 + 1}")


class Owner(threading.Thread):
    """Logs in without pause, and then reads the inbox without pause, for as long as that goes."""

    def __init__(self, host, address, name, stop):
        super().__init__(daemon=True)
        self.host, self.address, self.stop = host, address, stop
        self.mark = f"of {name} alone".encode()
        self.password = f"{name}, who is an owner"
        self.seen: set[bytes] = set()

    def run(self):
        while not self.stop.is_set():
            with suppress(imaplib.IMAP4.error, OSError):
                imap = connect(self.host, self.address, self.password)
                try:
                    self.read(imap)
                finally:
                    imap.shutdown()

    def read(self, imap):
        imap.select()
        imap.append("INBOX", None, None, b"Subject: " + self.mark + b"\r\n\r\nx\r\n")
        while not self.stop.is_set():
            try:
                imap.select()
                found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
                self.seen |= {part[1].strip() for part in found if isinstance(part, tuple)}
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error:     # the mailbox is empty, or gone, but not the session
                continue


def ended(host, address):
    """When an account with this address last ended; None if none did."""
    with suppress(FileNotFoundError):
        return host.mailbox(address).with_name(f".ended-{address}").read_text().split()[0]


def all_there(host, addresses):
    for address in addresses:
        until((host.mailbox(address) / "password").exists, f"{address} to be made")


def delete(host, addresses):
    host.chatmaild("accounts", "delete", "--yes", *addresses, check=False)


def expire(host, addresses):
    """They may log in at the same moment, and are kept then."""
    for address in addresses:
        with suppress(FileNotFoundError):
            os.utime(host.mailbox(address) / "password", (DAY, DAY))
    host.chatmaild("expire", user="_chatmaild")


def made_anew(host, addresses, end):
    """End the accounts, again if one escaped it, until each has been made anew."""
    all_there(host, addresses)
    before = {address: ended(host, address) for address in addresses}
    left = addresses
    while left:
        end(host, left)
        left = [address for address in left if ended(host, address) == before[address]]
    all_there(host, addresses)


def test_nobody_sees_what_another_owner_has(host, person, dovecot):
    """However both race to be the next owner while the account is removed again and again.

    `person` is there because nobody expires where no login is recorded.
    """
    dovecot()
    addresses, stop = [new_address(host) for _ in range(3)], threading.Event()
    owners = [Owner(host, address, name, stop) for address in addresses for name in ("Ann", "Ben")]
    for owner in owners:
        owner.start()
    try:
        for _ in range(ROUNDS):
            made_anew(host, addresses, delete)
            made_anew(host, addresses, expire)
    finally:
        stop.set()
        for owner in owners:
            owner.join()
    for owner in owners:
        assert {mark for mark in owner.seen if owner.mark not in mark} == set(), owner.mark
    assert sum(bool(owner.seen) for owner in owners) > 3, "somebody has to have been an owner"


def test_a_login_counts_for_the_account_that_its_password_was_for(host, dovecot, tmp_path):
    """Dovecot asks twice: about the password, then where the mailbox is. In between the account may
    be removed, and the address be somebody else's."""
    address = new_address(host)
    dovecot(ONE_PROCESS)
    with connect(host, address, PASSWORD):
        served, = processes.running(IMAP)
    waits, = until(lambda: [process for process in processes.running(IMAP) if process != served],
                   "the one process that serves IMAP next")
    before = host.logs()["dovecot.log"].count("client passdb out: OK")
    outcome = []

    def log_in():
        try:
            outcome.append(connect(host, address, PASSWORD))
        except imaplib.IMAP4.error as error:
            outcome.append(error)

    former = threading.Thread(target=log_in)
    waits.signal(signal.SIGSTOP)
    try:
        former.start()
        until(lambda: host.logs()["dovecot.log"].count("client passdb out: OK") > before,
              "the password to be found right")
        host.chatmaild("accounts", "delete", "--yes", address)
        (tmp_path / "password").write_text(NEXT)
        host.chatmaild("accounts", "create", address, "--password-file", tmp_path / "password")
    finally:
        waits.signal(signal.SIGCONT)
        former.join()
    [refused] = outcome
    assert isinstance(refused, imaplib.IMAP4.error), "they are in"
    assert "AUTHENTICATIONFAILED" not in str(refused), "no password was wrong"
    with connect(host, address, NEXT) as new:
        assert new.select() == ("OK", [b"0"])
