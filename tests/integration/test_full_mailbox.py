"""Dovecot's quota-status at RCPT, with the very lines of doc/incoming.md."""

import itertools
import re
from pathlib import Path

import pytest
from rig.files import replace
from rig.stock import ORDINARY_USERS

PASSWORD = "correct horse battery"
TREE = Path(__file__).parents[2]
NUMBERS = itertools.count(1)
BLOCKS = re.findall(r"(?:^    .*\n)+", (TREE / "doc/incoming.md").read_text()
                    .partition("## Full mailboxes")[2].partition("\n## ")[0], re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def wired(running_host):
    """The host with the recipe followed; Dovecot restarts, because it opens a new socket."""
    old, new, postfix = BLOCKS
    version = running_host.run("dovecot", "--version").stdout
    conf = Path("/etc/dovecot/conf.d/95-quota-status.conf")
    replace(conf, old if version.startswith("2.3") else new)
    main_cf = Path("/etc/postfix/main.cf")
    before = main_cf.read_text()
    replace(main_cf, before + re.sub(r"(?m)^    ", "", postfix))
    running_host.restart_dovecot()
    running_host.reload_postfix()
    yield
    replace(main_cf, before)
    conf.unlink()
    running_host.restart_dovecot()
    running_host.reload_postfix()


@pytest.fixture
def person(host):
    address = f"full{next(NUMBERS):05d}@{host.chat_domain}"
    with host.imap(address, PASSWORD) as imap:
        imap.select()
    return address


def fill(host, address):
    """Mail of more than the quota, past the quota plugin."""
    mailbox = host.mailbox(address)
    name = f"1700000000.M1P1.host,S={600 * 1024 ** 2}"
    with open(mailbox / "cur" / f"{name}:2,S", "wb") as file:
        file.write(b"Subject: large\n\nx\n")
    (mailbox / "maildirsize").unlink(missing_ok=True)
    host.run("chown", "-R", "_chatmaild:_chatmaild", mailbox)


def replies(host, recipients, port=25, login=None):
    sender = "alice@example.org"
    with host.smtp(*(login or ()), port=port, source=host.stranger) as smtp:
        smtp.ehlo()
        smtp.mail(sender if login else "alice@other.example")
        return [smtp.rcpt(recipient)[0] for recipient in recipients]


def test_who_is_full_is_refused_at_rcpt_and_nobody_else(host, person):
    other = f"full{next(NUMBERS):05d}@{host.chat_domain}"
    host.imap(other, PASSWORD).logout()
    fill(host, person)
    tagged = person.replace("@", "+tag@")
    assert replies(host, [other, person, tagged]) == [250, 452, 452]
    assert replies(host, ["bob@example.org", "postmaster@example.org"]) == [250, 250]
    assert replies(host, [f"nobody000@{host.chat_domain}"]) == [550]
    assert replies(host, [person, "bob@example.org"], 587,
                   ("alice", ORDINARY_USERS["alice"])) == [452, 250]


def test_while_dovecot_is_down_mail_goes_on(host, person):
    host.stop_dovecot()
    try:
        assert replies(host, [person]) == replies(host, ["bob@example.org"]) == [250]
    finally:
        host.start_dovecot()
