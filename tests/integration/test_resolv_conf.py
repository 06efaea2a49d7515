"""The host's DNS as it may be: what a resolv.conf may hold, and servers that know no EDNS."""

import contextlib
from pathlib import Path

import chatmessages
import dkimkit
import dns.flags
import dns.rcode
import dnsservers
import pytest
from dnsservers import Stranger, reply
from rig.files import kept, replace
from rig.until import until

RESOLV_CONF = Path("/etc/resolv.conf")


def key(query):
    name = str(query.question[0].name)
    record = dkimkit.rsa().record.decode()
    query.use_edns(query.edns, payload=1232 if query.edns >= 0 else 0)
    return reply(query, f'{name} 0 IN TXT "{record[:200]}" "{record[200:]}"')


def without_edns(query):
    if query.edns >= 0:
        found = reply(query, rcode=dns.rcode.FORMERR)
        found.use_edns(False)
        return found
    return key(query)


@pytest.fixture(scope="module", autouse=True)
def nobody_is_trusted(running_host):
    before = running_host.ini.read_text()
    running_host.configure(before.replace(
        "[chatmaild]\n", "[chatmaild]\ntrusted_networks = 192.0.2.200\n", 1))
    yield
    running_host.configure(before)


@pytest.fixture(autouse=True)
def own_resolv_conf():
    with kept(RESOLV_CONF):
        yield


def answer(host, person, domain):
    """What port 25 says to mail of a domain that nobody has asked for yet."""
    message = dkimkit.sign(chatmessages.encrypted(f"alice@{domain}", person, "hello"),
                           dkimkit.rsa(), domain=domain.encode(),
                           include_headers=[b"from", b"to", b"date", b"from"])
    return host.answer(message, person, f"alice@{domain}")[0]


@pytest.mark.parametrize("text, address", [
    ("nameserver 127.0.0.1\n", "127.0.0.1"),
    ("nameserver localhost\n", "127.0.0.1"),
    ("# nobody\nsearch example.org\n", "127.0.0.1"),
    ("", "127.0.0.1"),
    (None, "127.0.0.1"),
    ("nameserver localhost\nnameserver 127.0.9.53\n", "127.0.9.53"),
    ("nameserver 127.0.9.53 # ours\noptions edns0 trust-ad timeout:1 whatever\n", "127.0.9.53"),
    ("nameserver 127.0.9.54\nnameserver 127.0.9.53\n", "127.0.9.53"),   # the first is closed
    ("nameserver ::1\n", "::1"),
])
def test_the_running_filter_asks_whom_the_file_names(host, person, text, address):
    if text is None:
        RESOLV_CONF.unlink()
    else:
        replace(RESOLV_CONF, text)
    if address not in ("127.0.9.53", *dnsservers.loopbacks()):
        pytest.skip("no IPv6")
    with Stranger(key, address, port=53) as server:
        def asks_once():
            before = server.asked
            domain = f"n{before}.{abs(hash(text))}.example"
            assert answer(host, person, domain) == 250
            return server.asked == before + 1
        until(asks_once, "an answer to one question: one that is late is asked for again")


@pytest.mark.parametrize("server", [
    dict(answer=without_edns),
    dict(answer=lambda query: key(query) if query.edns < 0 else None),
    dict(answer=lambda query: reply(query, flags=dns.flags.TC), by_tcp=key),
], ids=["formerr", "silent-to-edns", "by-tcp"])
def test_servers_with_manners_of_their_own(host, person, server, request):
    replace(RESOLV_CONF, f"# {request.node.name}\nnameserver 127.0.0.1\n")
    with Stranger(**server, port=53):
        assert answer(host, person, f"{request.node.callspec.id}.example") == 250


@pytest.mark.parametrize("server, trouble", [
    (None, "Connection refused"),
    (dict(answer=lambda query: None), "no answer"),
    (dict(answer=lambda query: reply(query, rcode=dns.rcode.REFUSED)), "REFUSED"),
    (dict(answer=lambda query: reply(query, flags=dns.flags.TC), by_tcp=lambda query: None),
     "no answer"),
], ids=["closed", "silent", "refused", "tcp-hangs"])
def test_trouble_is_no_verdict_and_check_names_it(host, person, server, trouble, request):
    replace(RESOLV_CONF, f"# {request.node.name}\nnameserver 127.0.0.1\n")
    with Stranger(**server, port=53) if server else contextlib.nullcontext():
        assert answer(host, person, f"{request.node.callspec.id}.trouble.example") == 451
        said = host.chatmaild("check", "--problems", check=False).stdout
    assert f"127.0.0.1: {trouble}" in said
