"""Does the DNS answer the incoming filter?"""

import dataclasses

import pytest
from captured import CONFIG, DOMAIN, bad

from chatmaild.admin.check import dns

SERVERS = (("192.0.2.53", 53),)


def test_the_configured_servers_are_asked_for_a_key_of_the_chat_domain():
    asked = []
    config = dataclasses.replace(CONFIG, dns_servers=SERVERS)
    assert bad(dns.check(config, lambda *question: asked.append(question) or "")) == {}
    assert asked == [(f"chatmaild-check._domainkey.{DOMAIN}", SERVERS)]


def test_what_each_server_said_is_shown():
    found, = dns.check(CONFIG, lambda *question: "192.0.2.53: REFUSED; 192.0.2.54: no answer")
    assert (found.level, found.place) == ("failure", "/etc/resolv.conf")
    assert "192.0.2.53: REFUSED; 192.0.2.54: no answer" in found.text


@pytest.mark.parametrize("mode, expected", [
    ("dkim", {"dns": "failure"}), ("dkim-log", {"dns": "failure"}), ("off", {}),
    ("authentication-results", {}), ("authentication-results-log", {}),
])
def test_who_verifies_no_signature_needs_no_dns(mode, expected):
    config = dataclasses.replace(CONFIG, incoming_authenticity=mode, authserv_id="mx.example.org")
    assert bad(dns.check(config, lambda *question: "192.0.2.53: no answer")) == expected
