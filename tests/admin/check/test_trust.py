"""Do our filter and Postfix trust the same clients?"""

import dataclasses
import ipaddress

import pytest
from captured import CONFIG, RELEASES, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import postfix as check_postfix, trust

LOOPBACK = "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"


@pytest.mark.parametrize("mynetworks, trusted, expected", [
    (LOOPBACK, "127.0.0.0/8 ::1/128", {}),
    (f"{LOOPBACK}, 192.0.2.0/24", "127.0.0.0/8 ::1/128", {"trusted-networks": "warning"}),
    (f"{LOOPBACK} 192.0.2.7 [2001:db8::]/64", "127.0.0.0/8 ::1/128 192.0.2.7/32 2001:db8::/64", {}),
    (LOOPBACK, "127.0.0.0/8 ::1/128 192.0.2.0/24", {"trusted-networks-more": "warning"}),
    (f"{LOOPBACK} cidr:/etc/postfix/networks", "127.0.0.0/8 ::1/128 192.0.2.0/24", {}),
    ("127.0.0.1 [::1]/128", "::/0 0.0.0.0/0", {"trusted-networks-more": "warning"}),
])
@pytest.mark.parametrize("release", RELEASES)
def test_networks(release, mynetworks, trusted, expected):
    host = with_parameters(postfix(release), mynetworks=mynetworks)
    config = dataclasses.replace(
        CONFIG, trusted_networks=tuple(ipaddress.ip_network(n) for n in trusted.split()))
    assert bad(trust.check(host, config)) == expected
    off = dataclasses.replace(config, incoming_authenticity="off")
    assert bad(trust.check(host, off)) == {}


def test_nobody_comes_by_a_version_of_ip_that_postfix_does_not_speak():
    more = {"trusted-networks-more": "warning"}
    for version, expected in ("ipv6", {}), ("ipv4", {}), ("ipv4, ipv6", more), ("all", more):
        host = with_parameters(postfix("trixie"), inet_protocols=version,
                               mynetworks="127.0.0.0/8" if version == "ipv4" else "[::1]/128")
        assert bad(trust.check(host, CONFIG)) == expected


@pytest.mark.parametrize("mode, value, expected", [
    ("authentication-results", "inet:127.0.0.1:8891 unix:rspamd/milter.sock {ours}", {}),
    ("authentication-results-log", "{ours} inet:127.0.0.1:8891 unix:rspamd/milter.sock",
     {"milter-order": "warning"}),
    ("dkim", "inet:127.0.0.1:8891 unix:rspamd/milter.sock {ours}", {"milter-order": "warning"}),
])
@pytest.mark.parametrize("release", RELEASES)
def test_a_verifier_comes_before_who_believes_it(release, mode, value, expected):
    host = with_option(postfix(release), "smtp/inet", "smtpd_milters",
                       value.format(ours="unix:chatmaild/filtermail-incoming.sock"))
    config = dataclasses.replace(CONFIG, incoming_authenticity=mode, authserv_id="mx.example.org")
    assert bad(check_postfix.check(host, config)) == expected
