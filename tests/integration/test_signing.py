"""What leaves the host is signed, by OpenDKIM as doc/other-milters.md sets it up."""

import contextlib
import json
import re
import shutil
from pathlib import Path

import chatmessages
import dkim
import opendkim
import pytest
from dnsservers import Stranger, knows_no_name, reply
from rig.files import kept
from rig.host import PASSWORD
from rig.stock import ORDINARY_USERS, postconf
from rig.until import until

RECORD = "/var/lib/chatmaild/wiring/record.json"


@pytest.fixture(scope="module", autouse=True)
def signer(running_host, tmp_path_factory):
    found = opendkim.Signer(tmp_path_factory.mktemp("opendkim") / "bin")
    with kept("/etc/postfix/main.cf", "/etc/postfix/master.cf", "/etc/opendkim.conf", RECORD):
        found.follow("apt-get")
        found.follow("opendkim-genkey", domain=running_host.chat_domain)
        found.follow("opendkim-genkey", domain=running_host.domain, selector="bounces")
        found.follow("internal_mail_filter_classes")
        found.follow("wire --apply")
        yield found
        found.stop()
    shutil.rmtree("/var/spool/postfix/opendkim")
    running_host.reload_postfix()


def verifies(message, signer):
    return dkim.verify(message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
                       dnsfunc=signer.record)


def test_chat_mail_is_signed_by_its_domain(host, person, signer):
    other = host.new_person()
    with host.smtp(person, PASSWORD) as smtp:
        smtp.sendmail(person, [other], chatmessages.encrypted(person, other, "hello"))
    with host.imap(other, PASSWORD) as imap:
        message, = host.wait_for_mail(imap)
    assert f"d={host.chat_domain};".encode() in message
    assert verifies(message, signer)


@pytest.fixture
def loses_all_mail(host):
    """The address of an ordinary user whose .forward fails, which is told by a bounce."""
    forward = Path("/home/bob/.forward")
    forward.write_text('"|exit 69"\n')
    shutil.chown(forward, "bob", "bob")
    yield f"bob@{host.domain}"
    forward.unlink()


def test_a_bounce_is_signed_by_the_domain_of_its_sender(host, signer, loses_all_mail):
    """An ordinary user gets it here. Another chatmail server would refuse an unsigned one."""
    alice = f"alice@{host.domain}"
    with host.smtp("alice", ORDINARY_USERS["alice"]) as smtp:
        smtp.sendmail(alice, [loses_all_mail],
                      chatmessages.cleartext(alice, loses_all_mail, "lost"))
    spool = Path("/var/mail/alice")
    until(lambda: spool.exists() and spool.read_bytes().endswith(b"--\n\n"), "the bounce")
    # the last one: the first may be the IMAP server's own
    last = (b"\n" + spool.read_bytes()).rpartition(b"\nFrom ")[2]
    bounce = last.partition(b"\n")[2].removesuffix(b"\n")
    assert re.search(rb"(?m)^From: .*\bMAILER-DAEMON@%b\b" % host.domain.encode(), bounce)
    assert f"d={host.domain};".encode() in bounce
    assert verifies(bounce, signer)


def test_check_finds_nothing_to_say_about_it(host):
    found = {f["code"]: f["level"] for f in
             json.loads(host.chatmaild("check", "--json", check=False).stdout)["findings"]}
    assert found["bounces"] == "ok"
    assert not {"bounces-unsigned", "milter-by-tcp"} & found.keys()


def live(host):
    done = host.chatmaild("check", "--live", "--json", check=False)
    return {f["code"]: f["level"] for f in json.loads(done.stdout)["findings"]
            if f["code"] in ("live-signature", "live-unsigned")}


def test_check_live_verifies_the_signature_of_what_it_has_sent(host, signer):
    def published(query):
        name = str(query.question[0].name)
        if not name.startswith("chat._domainkey."):
            return knows_no_name(query)
        record = signer.record(name.encode()).decode()
        return reply(query, f'{name} 60 IN TXT "{record[:200]}" "{record[200:]}"')

    with Stranger(published, port=53):
        assert live(host) == {"live-signature": "ok"}
    with Stranger(knows_no_name, port=53):
        assert live(host) == {"live-signature": "warning"}
    with without_signer(host):
        assert live(host) == {"live-unsigned": "failure"}


@contextlib.contextmanager
def without_signer(host):
    with kept("/etc/postfix/main.cf"):
        postconf("-e", {"chat_submission_milters": "$chat_filter"})
        host.reload_postfix()
        yield
    host.reload_postfix()
