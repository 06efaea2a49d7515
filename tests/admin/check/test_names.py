"""`check --dns` against a real name server: green with what `chatmaild dns` prints, and red for
each record that is not there, with the row to paste."""

import functools
import ipaddress

import dkimkit
import dnsservers
import pytest
from captured import bad

from chatmaild.admin.check import names
from chatmaild.admin.dns import wanted
from chatmaild.admin.dns.questions import gather
from chatmaild.admin.dns.wanted import Group, Host, Row, SigningKey
from chatmaild.dkim import resolver

pytestmark = pytest.mark.skipif(dnsservers.KNOT_MISSING, reason="needs the package knot")

DOMAIN = "chat.example.org"
HOST = Host(
    "mail.example.org",
    (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")),
    {DOMAIN: (SigningKey("s1", dkimkit.rsa().record.decode(), "/etc/dkimkeys/s1.private"),)})
ROWS = wanted.rows(DOMAIN, HOST)
NEEDED = [row for row in ROWS if row.group is not Group.OPTIONAL]


@pytest.fixture
def look(tmp_path):
    """The findings where the DNS has these rows and no others."""
    def findings(rows, host=HOST):
        with dnsservers.knot(tmp_path, ".", "\n".join(row.bind() for row in rows)) as port:
            ask = functools.partial(resolver.ask_all, servers=(("127.0.0.1", port),))
            return list(names.check([DOMAIN], host, gather([DOMAIN], host, ask)))
    return findings


def replaced(name, kind, value):
    """All rows, but another value in one of them."""
    assert any((row.name, row.kind) == (name, kind) for row in ROWS)
    return [Row(name, kind, value) if (row.name, row.kind) == (name, kind) else row
            for row in ROWS]


@pytest.mark.parametrize("rows", [ROWS, NEEDED], ids=["all", "without what is optional"])
def test_green_with_the_rows_that_are_printed(look, rows):
    found = look(rows)
    assert bad(found) == {}
    assert {finding.code for finding in found} >= {
        "dns-mx", "dns-address", "dns-spf", "dns-dkim", "dns-dmarc", "dns-ptr"}


@pytest.mark.parametrize("gone", NEEDED, ids=lambda row: f"{row.name} {row.kind} {row.value[:6]}")
def test_red_for_each_record_taken_away_with_the_row_to_paste(look, gone):
    red = [finding for finding in look([row for row in ROWS if row != gone])
           if finding.level == "failure"]
    assert red and any(gone.bind() in finding.cure.splitlines() for finding in red), red


OTHER_KEY = "v=DKIM1; k=rsa; p=" + dkimkit.rsa(1024).record.decode().partition("p=")[2]


@pytest.mark.parametrize("name, kind, value, code, level, words", [
    (DOMAIN, "MX", "10 mx.elsewhere.example.", "dns-mx", "failure", "not to this host"),
    (DOMAIN, "MX", "0 .", "dns-mx", "failure", "takes no mail"),
    (DOMAIN, "A", "198.51.100.1", "dns-address", "failure", "but to 198.51.100.1"),
    (DOMAIN, "TXT", "v=spf1 ip4:198.51.100.1 -all", "dns-spf", "failure", "192.0.2.1"),
    (DOMAIN, "TXT", "v=spf2 mx -all", "dns-spf", "failure", "none"),
    (f"s1._domainkey.{DOMAIN}", "TXT", OTHER_KEY, "dns-dkim", "failure", "not the key"),
    (f"s1._domainkey.{DOMAIN}", "TXT", "v=DKIM1; p=", "dns-dkim", "failure", "revoked"),
    (f"_dmarc.{DOMAIN}", "TXT", "v=DMARC1; sp=none", "dns-dmarc", "failure", "no policy"),
    (f"_dmarc.{DOMAIN}", "TXT", "v=DMARC1; p=none", "dns-dmarc", "warning", "forged"),
    ("1.2.0.192.in-addr.arpa", "PTR", "chat.example.org.", "dns-ptr", "warning", "greets as"),
    ("1.2.0.192.in-addr.arpa", "PTR", "other.example.", "dns-ptr", "failure", "lead back"),
    (f"imap.{DOMAIN}", "A", "198.51.100.1", "dns-address", "failure", "but to"),
    (f"_imaps._tcp.{DOMAIN}", "SRV", f"0 1 143 {DOMAIN}.", "dns-srv", "failure", "port 143"),
    (f"_imaps._tcp.{DOMAIN}", "SRV", "0 0 0 .", "dns-srv", "failure", "port 0"),
])
def test_what_is_there_and_not_right(look, name, kind, value, code, level, words):
    found, = [finding for finding in look(replaced(name, kind, value))
              if finding.code == code and finding.level != "ok"]
    assert finding_is(found, level, words)


def finding_is(finding, level, words):
    assert (finding.level, words in finding.text) == (level, True), finding
    return bool(finding.cure)


@pytest.mark.parametrize("row, code, words", [
    (Row(DOMAIN, "TXT", "v=spf1 -all"), "dns-spf", "there are 2"),
    (Row(f"_dmarc.{DOMAIN}", "TXT", "v=DMARC1; p=none"), "dns-dmarc", "there are 2"),
    (Row(f"_mta-sts.{DOMAIN}", "TXT", "v=STSv1; id=2026-11"), "dns-mta-sts", "letters and digits"),
    (Row(f"_mta-sts.{DOMAIN}", "TXT", "v=STSv1; id=1;"), "dns-mta-sts", "has no address"),
    (Row(f"_smtp._tls.{DOMAIN}", "TXT", "v=TLSRPTv1; rua=a@b"), "dns-tlsrpt", "nobody can send"),
])
def test_what_is_there_besides_and_wrong(look, row, code, words):
    found, = [finding for finding in look([*ROWS, row]) if finding.level != "ok"]
    assert found.code == code and finding_is(found, "failure", words)


def test_texts_of_others_beside_ours_are_no_matter(look):
    assert bad(look([
        *ROWS, Row(DOMAIN, "TXT", "some-site-verification=1"),
        Row(f"_mta-sts.{DOMAIN}", "TXT", "v=STSv1; id=20261128;"),
        Row(f"mta-sts.{DOMAIN}", "A", "192.0.2.1"),
        Row(f"_smtp._tls.{DOMAIN}", "TXT", "v=TLSRPTv1; rua=mailto:tls@example.org")])) == {}


def test_a_mail_exchanger_that_is_an_alias(look):
    rows = replaced(DOMAIN, "MX", f"10 mx.{DOMAIN}.") + [
        Row(f"mx.{DOMAIN}", "CNAME", "mail.example.org.")]
    assert bad(look(rows)) == {"dns-mx": "failure"}


def test_a_host_that_does_not_see_its_address_is_judged_by_its_name(look):
    hidden = Host(HOST.name, (), HOST.keys)
    assert bad(look(ROWS, hidden)) == {}
    assert bad(look([row for row in ROWS if row.name != HOST.name], hidden))["dns-address"]


def test_who_sends_through_a_relay_needs_no_name_for_the_address(look):
    relayed = Host(HOST.name, HOST.addresses, HOST.keys, relay="[relay.example.org]")
    assert bad(look([row for row in ROWS if row.kind != "PTR"], relayed)) == {}


def test_a_reverse_zone_that_is_a_part_of_the_providers(look):
    """RFC 2317: the name of the address is an alias of one in a zone of the host's owner."""
    rows = [row for row in ROWS if row.name != "1.2.0.192.in-addr.arpa"]
    alias = Row("1.2.0.192.in-addr.arpa", "CNAME", "1.0/25.2.0.192.in-addr.arpa.")
    own = Row("1.0/25.2.0.192.in-addr.arpa", "PTR", "mail.example.org.")
    assert bad(look([*rows, alias, own])) == {}
    red, = [finding for finding in look([*rows, alias]) if finding.level != "ok"]
    assert (red.code, red.level, red.cure) == ("dns-ptr", "failure", own.bind())


@pytest.mark.parametrize("name", ["mail", "mail.local", "mail.home.arpa"])
def test_a_host_that_others_cannot_find_by_its_name(look, name):
    found = look([], Host(name, HOST.addresses, HOST.keys))
    assert found[0].code == "dns-myhostname" and "myhostname" in found[0].cure


def test_a_key_that_cannot_be_read_leaves_the_answer_open(look):
    host = Host(HOST.name, HOST.addresses, {}, ("/etc/dkimkeys/x: Permission denied",))
    assert bad(look(ROWS, host)) == {"dns-dkim": "unseen"}


def test_nobody_answers(monkeypatch):
    with dnsservers.Stranger(lambda query: dnsservers.reply(query, rcode=5)) as server:
        ask = functools.partial(resolver.ask_all, servers=(("127.0.0.1", server.port),))
        found = list(names.check([DOMAIN], HOST, gather([DOMAIN], HOST, ask)))
    assert {finding.level for finding in found} == {"unseen"}
    assert "REFUSED" in found[0].text
