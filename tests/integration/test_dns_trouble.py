"""What a DNS in trouble does to chat mail, and does not do to the mail beside it."""

import threading

import chatmessages
import dkimkit
import dns.rcode
import pytest
from dnsservers import Stranger, reply

BOB = "bob@example.org"
DOMAINS = 20


def answer(query):
    """Silence, SERVFAIL, a key that is somebody else's, or the right one, by the name's sake."""
    name = str(query.question[0].name)
    if "silent" in name:
        return None
    if "servfail" in name:
        return reply(query, rcode=dns.rcode.SERVFAIL)
    if "nxdomain" in name:
        return reply(query, rcode=dns.rcode.NXDOMAIN)
    record = (dkimkit.rsa(1024) if "lying" in name else dkimkit.rsa()).record.decode()
    return reply(query, f'{name} 3600 IN TXT "{record[:200]}" "{record[200:]}"')


@pytest.fixture(scope="module", autouse=True, params=["127.0.0.1", "::1"])
def world(running_host, request):
    """The host asks that server, and takes nobody at their word."""
    before = running_host.ini.read_text()
    with Stranger(answer, request.param) as server:
        running_host.configure(before.replace(
            "[chatmaild]\n", f"[chatmaild]\ndns_servers = {request.param}@{server.port}\n"
            "trusted_networks = 192.0.2.200\n", 1))
        yield
    running_host.configure(before)
    # A hundred sessions at once were stress to Postfix, which then bears with one error only.
    running_host.stop_postfix()
    running_host.start_postfix()


def message(person, domain):
    clear = chatmessages.encrypted(f"alice@{domain}", person, "hello")
    return dkimkit.sign(clear, dkimkit.rsa(), domain=domain.encode(),
                        include_headers=[b"from", b"to", b"date", b"from"])


@pytest.mark.parametrize("domain, code", [
    ("right.example", (250, "")), ("servfail.example", (451, "4.7.1")),
    ("lying.example", (554, "5.7.1")), ("nxdomain.example", (554, "5.7.1")),
])
def test_answers(host, person, domain, code):
    found, text = host.answer(message(person, domain), person, f"alice@{domain}", "127.0.0.1")
    assert (found, text[:5]) == code


def test_ordinary_mail_goes_on_beside_a_hundred_that_wait(host, person):
    contents = [message(person, f"silent{number}.example") for number in range(DOMAINS)]
    codes = []

    def chat(number):
        sender = f"alice@silent{number % DOMAINS}.example"
        code, text = host.answer(contents[number % DOMAINS], person, sender, "127.0.0.1")
        codes.append((code, text[:5]))

    threads = [threading.Thread(target=chat, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    meanwhile = 0
    while any(thread.is_alive() for thread in threads):
        assert host.answer(b"Subject: x\r\n\r\nx\r\n", BOB, "carol@other.example",
                           "127.0.0.1")[0] == 250
        meanwhile += 1
    assert codes == [(451, "4.7.1")] * 100
    # One that had to wait for a silent server would be there some four seconds, nearly as long.
    assert meanwhile > 10, "ordinary messages had to wait for the DNS of others"
