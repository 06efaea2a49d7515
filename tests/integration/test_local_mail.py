"""Mail that meets no smtpd: what programs of the host give to sendmail(1), and its bounces."""

from pathlib import Path

import pytest
from rig.host import PASSWORD
from rig.until import until

ALICE = "alice@example.org"


def sendmail(host, sender, recipients, author=None, text="Subject: x\n\nin the clear\n"):
    host.run("sendmail", "-f", sender, *recipients, user="alice",
             text=f"From: {author or sender}\n{text}")


@pytest.fixture
def came(host):
    """Waits for words in the spool of an ordinary user."""
    def came(user, words):
        spool = Path(f"/var/mail/{user}")
        until(lambda: spool.exists() and words in spool.read_text(errors="replace"),
              f"{words!r} to reach {user}")
    return came


def waiting(host):
    return host.run("postqueue", "-j").stdout + "".join(
        path.name for path in Path("/var/spool/postfix/maildrop").iterdir())


def test_nobody_writes_as_a_chat_user_by_sendmail(host, came):
    """Neither in the envelope nor in the header; and who tried it, or is said to, is told."""
    person, other = host.new_person(), host.new_person()
    sendmail(host, ALICE, ["bob@example.org"], author=person, text="Subject: forged\n\nx\n")
    came("alice", "Subject: forged")
    sendmail(host, person, [other], text="Subject: forged\n\nx\n")
    host.wait_for_log("sender-without-login", "filtermail-incoming")
    with host.imap(other, PASSWORD) as imap:
        assert imap.select()[1] == [b"0"]
    bob = Path("/var/mail/bob")
    assert not bob.exists() or "forged" not in bob.read_text(errors="replace")


def test_ordinary_people_write_to_each_other_as_before(host, came):
    sendmail(host, ALICE, ["bob@example.org"], author="root (Cron Daemon)",
             text="Subject: Cron <root@example.org>\n\nwhat cron says\n")
    came("bob", "what cron says")


def test_they_write_to_chat_users_as_well_and_nothing_waits(host, came):
    person = host.new_person()
    sendmail(host, ALICE, [person, "bob@example.org"], text="Subject: x\n\nto both of you\n")
    with host.imap(person, PASSWORD) as imap:
        host.wait_for_mail(imap)
    sendmail(host, ALICE, [f"nobody@{host.chat_domain}", "bob@example.org"],
             text="Subject: x\n\nto one who is there\n")
    came("bob", "to one who is there")
    came("alice", f"nobody@{host.chat_domain}")
    until(lambda: not waiting(host).strip(), "the queues to be empty")
