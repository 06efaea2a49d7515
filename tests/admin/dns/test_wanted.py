"""Which rows a host should publish, and how they are written."""

import ipaddress

import dns.name
import dns.zone
import pytest

from chatmaild.admin.dns import wanted
from chatmaild.admin.dns.command import zone
from chatmaild.admin.dns.wanted import Group, Host, Row, SigningKey

DOMAIN = "chat.example.org"
KEY = SigningKey("s1", "v=DKIM1; k=rsa; p=" + "A" * 400, "/etc/dkimkeys/s1.private")
HOST = Host("mail.example.org",
            (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")),
            {DOMAIN: (KEY,)})


def test_bind_reads_the_zone_as_it_is_meant():
    """Every line is a record or a comment; a text in several strings is whole again."""
    text = "\n".join(zone({DOMAIN: wanted.rows(DOMAIN, HOST)}, ["a note"]))
    read = dns.zone.from_text("$TTL 60\n" + text, origin=dns.name.root, relativize=False,
                              check_origin=False)
    found = {(str(name).rstrip("."), rdata.to_text()) for name, _, rdata in read.iterate_rdatas()
             if rdata.rdtype.name != "TXT"}
    assert {(row.name, row.value) for row in wanted.rows(DOMAIN, HOST)
            if row.kind != "TXT"} == found
    key, = read.get_rdataset(dns.name.from_text(f"s1._domainkey.{DOMAIN}"), "TXT")
    assert b"".join(key.strings).decode() == KEY.record


def test_all_that_is_needed_is_there():
    kinds = [(row.name, row.kind) for row in wanted.rows(DOMAIN, HOST)
             if row.group is not Group.OPTIONAL]
    assert kinds == [
        (DOMAIN, "MX"), (DOMAIN, "A"), (DOMAIN, "AAAA"), (DOMAIN, "TXT"),
        (f"s1._domainkey.{DOMAIN}", "TXT"), (f"_dmarc.{DOMAIN}", "TXT"),
        ("mail.example.org", "A"), ("mail.example.org", "AAAA"),
        ("1.2.0.192.in-addr.arpa", "PTR"), (HOST.addresses[1].reverse_pointer, "PTR")]


def test_who_sends_through_a_relay_needs_no_name_for_the_address():
    host = Host(HOST.name, HOST.addresses, relay="[relay.example.org]")
    assert not [row for row in wanted.rows(DOMAIN, host) if row.kind == "PTR"]


@pytest.mark.parametrize("row, bind, plain", [
    (Row("a.example", "MX", "10 b.example."), "a.example. IN MX 10 b.example.", "10 b.example"),
    (Row("a.example", "TXT", 'say "x"'), 'a.example. IN TXT "say \\"x\\""', 'say "x"'),
    (Row("a.example", "A", "192.0.2.1"), "a.example. IN A 192.0.2.1", "192.0.2.1"),
])
def test_for_a_zone_file_and_for_a_form(row, bind, plain):
    assert row.bind() == bind
    assert row.plain() == (row.name, row.kind, plain)
