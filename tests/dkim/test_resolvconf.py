"""resolv.conf(5) as glibc reads it."""

import pytest
from hypothesis import given, strategies as st

from chatmaild.dkim.resolvconf import DEFAULT, MAX_SERVERS, ResolvConf, parse


@pytest.mark.parametrize("text, servers", [
    ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ("192.0.2.1", "2001:db8::1")),
    ("nameserver 192.0.2.1", ("192.0.2.1",)),
    ("nameserver\t 192.0.2.1 # ours\n", ("192.0.2.1",)),
    ("nameserver 192.0.2.1;x\r\n", ("192.0.2.1",)),
    ("nameserver fe80::1%eth0\n", ("fe80::1%eth0",)),
    ("", (DEFAULT,)), ("search example.org\n", (DEFAULT,)),
    ("nameserver localhost\n", (DEFAULT,)),
    ("nameserver localhost\nnameserver 192.0.2.1\n", ("192.0.2.1",)),
    (" nameserver 192.0.2.1\n", (DEFAULT,)), ("#nameserver 192.0.2.1\n", (DEFAULT,)),
    ("nameserver: 192.0.2.1\nnameservers 192.0.2.1\nNAMESERVER 192.0.2.1\n", (DEFAULT,)),
    ("nameserver 192.0.2.1:53\nnameserver 192.0.2.1/24\n", (DEFAULT,)),
    ("".join(f"nameserver 192.0.2.{n}\n" for n in range(9)),
     ("192.0.2.0", "192.0.2.1", "192.0.2.2")),
    ("domain x\nsortlist 192.0.2.0/24\nnameserver 192.0.2.1\nlookup file bind\n", ("192.0.2.1",)),
])
def test_servers(text, servers):
    assert parse(text) == ResolvConf(servers, tcp_only=False)


@pytest.mark.parametrize("text, tcp_only", [
    ("options use-vc\n", True), ("options edns0 trust-ad\noptions rotate use-vc ndots:x", True),
    ("options timeout:0 attempts:99 no-such-thing\n", False), ("options\n", False),
    ("options use-vcs\n", False), ("#options use-vc\n", False),
])
def test_options(text, tcp_only):
    assert parse(text).tcp_only is tcp_only


@given(st.text() | st.lists(st.sampled_from(
    ["nameserver", " ", "\n", "192.0.2.1", "::1", "%", "\0", "options", "use-vc", "#"]
    )).map("".join))
def test_whatever_it_holds_there_is_somebody_to_ask(text):
    assert 1 <= len(parse(text).servers) <= MAX_SERVERS
