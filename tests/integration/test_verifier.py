"""A verifier that the host already runs: the real OpenDKIM before our filter, as documented."""

import re
from pathlib import Path

import chatmessages
import dkimkit
import opendkim
import pytest
from rig.files import kept
from rig.host import PASSWORD
from rig.stock import postconf
from rig.until import until

TREE = Path(__file__).parents[2]
ALICE = "alice@sender.example"
BOB = "bob@example.org"
SPOOL = Path("/var/mail/bob")
FORGED = b"Authentication-Results: mx.example.org; dkim=pass header.d=sender.example\r\n"
HEADER_CHECKS = re.search(r"(?m)^    (/\^Authentication-Results.*)$",
                          (TREE / "doc/incoming.md").read_text())[1]
ORDER = re.search(r"(?m)^ +chat_incoming_milters = (.*)$",
                  (TREE / "doc/other-milters.md").read_text())[1]
MASTER = TREE / "postfix/master.sh"


@pytest.fixture(scope="module", autouse=True)
def verifier(running_host, tmp_path_factory):
    ini = running_host.ini.read_text()
    keys = {f"s1._domainkey.{domain}": dkimkit.rsa().record
            for domain in ("sender.example", "evil.example")}
    directory = tmp_path_factory.mktemp("dkim")
    with kept("/etc/postfix/main.cf", "/etc/postfix/master.cf"), \
            opendkim.verifying(directory, keys, "mx.example.org") as milter:
        order = ORDER.replace("unix:opendkim/opendkim.sock", milter)
        postconf("-e", {"smtpd_milters": milter, "chat_incoming_milters": order})
        running_host.run("sh", MASTER)
        assert running_host.run("postconf", "-h", "chat_incoming_milters").stdout.strip() == order
        running_host.reload_postfix()
        running_host.configure(ini.replace(
            "[chatmaild]\n", "[chatmaild]\nincoming_authenticity = authentication-results\n"
            "authserv_id = mx.example.org\n", 1))
        yield order
    running_host.reload_postfix()
    running_host.configure(ini)


def signed(person):
    return dkimkit.sign(chatmessages.encrypted(ALICE, person, "hello"), dkimkit.rsa(),
                        include_headers=[b"from", b"to", b"date", b"from"])


def test_what_opendkim_says_decides(host, person):
    assert until(lambda: host.answer(signed(person), person)[0] == 250, "OpenDKIM is believed")
    unsigned = chatmessages.encrypted(ALICE, person, "hello")
    assert host.answer(unsigned, person)[0] == 554
    assert host.answer(signed(person).replace(b"Date: ", b"Date:  X", 1), person)[0] == 554
    with host.imap(person, PASSWORD) as imap:
        got, *_ = host.wait_for_mail(imap, 1)
    assert b"Authentication-Results: mx.example.org" in got


@pytest.mark.parametrize("authserv_id", [
    b"mx.example.org", b"MX.example.org", b"(x) mx.example.org", b"mx.example.org(x)",
    b"mx.example.org (x) 1", b"\r\n\tmx.example.org\r\n ", b"\xc2\xa0mx.example.org"])
def test_a_forged_result_is_not_believed(host, person, authserv_id):
    unsigned = chatmessages.encrypted(ALICE, person, "hello")
    assert host.answer(FORGED.replace(b"mx.example.org", authserv_id) + unsigned, person)[0] == 554


@pytest.mark.parametrize("stumbling_block", [b"X-Odd : y\r\n", b"X-Odd\t: y\r\n"])
def test_a_field_that_opendkim_stumbles_over_does_not_let_a_forged_result_in(
        host, person, stumbling_block):
    unsigned = chatmessages.encrypted(ALICE, person, "hello")
    assert host.answer(FORGED + stumbling_block + unsigned, person)[0] == 554


def test_a_result_that_opendkim_was_made_to_write_is_not_believed(host, person):
    """It writes what i= says, and does not ask whether that ends a result and begins another."""
    identity = (b"x@evil.example=3B=09dkim=3Dpass=20header.d=3Dsender.example"
                b"=20header.i=3D@evil.example")

    def forged(to):
        return dkimkit.sign(chatmessages.encrypted(ALICE, to, "hello"), dkimkit.rsa(),
                            domain=b"evil.example", identity=identity)

    assert host.answer(forged(person), person)[0] == 554
    assert host.answer(forged(BOB), BOB)[0] == 250
    until(lambda: SPOOL.exists() and b"dkim=pass header.d=sender.example" in SPOOL.read_bytes(),
          "OpenDKIM does it")


def test_header_checks_remove_it_even_where_nobody_verifies(host, person, verifier):
    """OpenDKIM is out of the way; only then the filter believes what a stranger wrote."""
    folded = FORGED.replace(b": mx.example.org;", b" :\r\n\tMX.example.org 1\r\n ;")
    unsigned = chatmessages.encrypted(ALICE, person, "hello")
    postconf("-e", {"chat_incoming_milters": "$chat_incoming_filter"})
    host.reload_postfix()
    try:
        until(lambda: host.answer(FORGED + unsigned, person)[0] == 250, "the danger is there")
        assert host.answer(folded + unsigned, person)[0] == 250
        postconf("-e", {"header_checks": "regexp:{ { %s } }" % HEADER_CHECKS})
        host.reload_postfix()
        until(lambda: host.answer(FORGED + unsigned, person)[0] == 554, "the line removes it")
        assert host.answer(folded + unsigned, person)[0] == 554
    finally:
        host.run("postconf", "-X", "header_checks")
        postconf("-e", {"chat_incoming_milters": verifier})
        host.reload_postfix()
