"""What an SPF record says of an address, as far as that can be told."""

import ipaddress

import pytest

from chatmaild.admin.dns import spf
from chatmaild.admin.dns.spf import Result

DOMAIN = "chat.example.org"
RECORDS = {(DOMAIN, "MX"): ("10 mx.example.org.",), (DOMAIN, "A"): ("192.0.2.9",),
           ("mx.example.org", "A"): ("192.0.2.1",), ("mx.example.org", "AAAA"): ("2001:db8::1",)}


def look_up(name, kind):
    return RECORDS.get((name, kind), ())


@pytest.mark.parametrize("record, v4, v6", [
    ("v=spf1 mx -all", Result.PASS, Result.PASS),
    ("v=spf1 a mx ~all", Result.PASS, Result.PASS),
    ("v=spf1 a -all", Result.FAIL, Result.FAIL),
    ("v=spf1 a/24 -all", Result.PASS, Result.FAIL),
    ("v=spf1 a:mx.example.org//64 -all", Result.PASS, Result.PASS),
    ("v=spf1 ip4:192.0.2.1 -all", Result.PASS, Result.FAIL),
    ("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all", Result.PASS, Result.PASS),
    ("V=SPF1 MX -ALL", Result.PASS, Result.PASS),
    ("v=spf1 -mx +all", Result.FAIL, Result.FAIL),
    ("v=spf1 ?all", Result.FAIL, Result.FAIL),
    ("v=spf1 +all", Result.PASS, Result.PASS),
    ("v=spf1", Result.FAIL, Result.FAIL),
    ("v=spf1 include:other.example -all", Result.UNKNOWN, Result.UNKNOWN),
    ("v=spf1 mx include:other.example -all", Result.PASS, Result.PASS),
    ("v=spf1 redirect=other.example", Result.UNKNOWN, Result.UNKNOWN),
    ("v=spf1 exists:%{i}.other.example -all", Result.UNKNOWN, Result.UNKNOWN),
    ("v=spf1 ip4:nonsense mx -all", Result.UNKNOWN, Result.UNKNOWN),
    ("v=spf1 mx/99 -all", Result.UNKNOWN, Result.UNKNOWN),
    ("v=spf1 ip4:192.0.2.300 mx -all", Result.PASS, Result.PASS),
])
def test_terms_in_their_order(record, v4, v6):
    for text, expected in ("192.0.2.1", v4), ("2001:db8::1", v6):
        assert spf.evaluate(record, DOMAIN, ipaddress.ip_address(text), look_up) is expected


def test_names_to_look_up():
    record = "v=spf1 mx a:x.example a:x..example ip4:192.0.2.1 include:y.example -all"
    assert list(spf.hosts(record, DOMAIN)) == [(DOMAIN, "MX"), ("x.example", "A")]
