"""Invitations as people use them: the link's login at a real Dovecot, and in the real client."""

import contextlib
import imaplib
import json
import os
import threading
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest
from rig.files import replace

PARAMETERS = "&ih=127.0.0.1&ip=993&is=ssl&sh=127.0.0.1&sp=465&ss=ssl&ic=3"
"""For a client without DNS."""


@contextlib.contextmanager
def configured(host, *lines):
    """The services use chatmaild.ini with `lines` in front of their keys' defaults."""
    before = host.ini.read_text()
    keys = {line.split(" = ")[0] for line in lines}
    kept = [line for line in before.splitlines() if line.split(" = ")[0] not in keys]
    text = "\n".join(kept) + "\n"
    host.configure(text.replace("[chatmaild]", "\n".join(("[chatmaild]", *lines)), 1))
    try:
        yield
    finally:
        host.configure(before)


@pytest.fixture
def by_invitation(host):
    with configured(host, "signup = invite"):
        yield


@pytest.fixture
def invited(host, by_invitation):
    """One link, and the address and password in it."""
    return invitation(host)


def invitation(host):
    link = host.chatmaild("invite", "create").stdout.strip()
    scheme, _, rest = link.partition(":")
    address, _, query = rest.partition("?")
    assert scheme == "dclogin"
    return link, unquote(address), parse_qs(query)["p"][0]


NO_PENALTY = """\
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
"""


@pytest.fixture(scope="module", autouse=True)
def no_penalty(running_host):
    """Dovecot does not make clients wait that gave a wrong password."""
    conf = Path("/etc/dovecot/conf.d/20-no-penalty.conf")
    replace(conf, NO_PENALTY)
    running_host.restart_dovecot()
    yield
    conf.unlink()
    running_host.restart_dovecot()


def logs_in(host, address, password, source="127.0.0.1"):
    try:
        host.imap(address, password, source).logout()
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
        return False
    return True


def unused(host):
    return [each["left"] for each in json.loads(host.chatmaild("invite", "list", "--json").stdout)]


def test_a_link_is_a_login_that_makes_one_account(host, invited):
    _, address, password = invited
    other = f"otherface@{host.chat_domain}"
    assert not logs_in(host, other, "no token but long enough", "127.8.1.1")
    assert not logs_in(host, address, f"no token {password}", "127.8.1.2")
    assert logs_in(host, address, password)
    assert unused(host) == [], "spent in the same step"
    assert logs_in(host, address, password), "from then on it is the account's login"
    assert not logs_in(host, other, password, "127.8.1.3"), "spent"
    assert not host.mailbox(other).exists()
    assert not logs_in(host, address, password[:-1], "127.8.1.4")


def test_it_works_over_smtp_first_as_well(host, invited):
    _, address, password = invited
    with host.smtp(address, password):
        pass
    assert host.mailbox(address).is_dir() and unused(host) == []


def test_whoever_is_first_of_many_has_it(host, invited):
    """Twenty clients with the same token, each for an address of its own."""
    _, address, password = invited
    addresses = [f"racing{number:03}@{host.chat_domain}" for number in range(20)]
    outcomes = {}
    ready = threading.Barrier(len(addresses))

    def client(number, name):
        ready.wait()
        outcomes[name] = logs_in(host, name, password, f"127.8.2.{number + 1}")

    race = [threading.Thread(target=client, args=each) for each in enumerate(addresses)]
    for thread in race:
        thread.start()
    for thread in race:
        thread.join()
    assert sum(outcomes.values()) == 1
    assert [name for name in addresses if host.mailbox(name).exists()] == [
        name for name in addresses if outcomes[name]]
    assert unused(host) == []
    assert not logs_in(host, address, password, "127.8.2.99")


def test_guesses_are_limited_like_signups(host):
    with configured(host, "signup = invite", "max_client_signups_per_hour = 3"):
        _, address, password = invitation(host)
        for number in range(3):
            assert not logs_in(host, address, f"guess number {number}, no token", host.stranger)
        assert not logs_in(host, address, password, host.stranger), "one network's hour is over"
        assert "reason=client-limit" in host.services["doveauth"].log_text()
        assert logs_in(host, address, password), "nobody else's"


def test_check_says_which_links_work(host):
    def said():
        found = json.loads(host.chatmaild("check", "--json", check=False).stdout)
        return " ".join(each["text"] for each in found["findings"])

    assert "dcaccount: links do not work" not in said()
    with configured(host, "signup = invite"):
        assert "dcaccount: links do not work there, only those of chatmaild invite" in said()


# -- the real client ------------------------------------------------------------------------------


def onboard(core, link):
    """The address of a client that opened `link` and was online."""
    account = core.add_account()
    account.add_transport_from_qr(link)
    account.bring_online()
    account.stop_io()
    return account.get_config("configured_addr")


def test_the_client_takes_the_link(host, core, invited):
    link, address, _ = invited
    assert onboard(core, link + PARAMETERS) == address
    assert unused(host) == []


UNDERSCORE = "_chat.example.org"
"""The client takes a certificate of no known authority for such a domain."""


@pytest.fixture
def open_domain(host):
    """Another chat domain, known to Dovecot, that clients find by its name."""
    conf = Path("/etc/dovecot/conf.d/05-chatmaild.conf")
    before, hosts = conf.read_text(), Path("/etc/hosts").read_text()
    changed = before.replace(f"*@{host.chat_domain}", f"*@{host.chat_domain} *@{UNDERSCORE}")
    assert changed != before
    replace(conf, changed)
    replace(Path("/etc/hosts"), f"{hosts}127.0.0.1 {UNDERSCORE}\n")
    host.restart_dovecot()
    yield f"mail_domains = {host.chat_domain} {UNDERSCORE}"
    replace(conf, before)
    replace(Path("/etc/hosts"), hosts)
    host.restart_dovecot()


def test_dcaccount_works_in_open_mode_only(host, core, open_domain):
    from deltachat_rpc_client.rpc import JsonRpcError
    link = f"dcaccount:{UNDERSCORE}"
    with configured(host, open_domain):
        assert host.chatmaild("invite", "create", "--domain", UNDERSCORE).stdout == f"{link}\n"
        address = onboard(core, link)
        assert os.listdir(host.mailboxes / UNDERSCORE) == [address]
    with configured(host, open_domain, "signup = invite"):
        with pytest.raises(JsonRpcError):
            onboard(core, link)
        assert os.listdir(host.mailboxes / UNDERSCORE) == [address]
