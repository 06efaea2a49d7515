"""Who may have a new account: names, passwords, limits and the state of the host."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from chatmaild.accounts import signup
from chatmaild.accounts.signup import Denial, HostState, SignupLimits
from chatmaild.config import inifile

GOOD = b"good password"


def config(extra=""):
    return inifile.parse(f"[chatmaild]\nmail_domains = chat.example\n{extra}\n".encode(),
                         Path("test.ini"))


def judge(name, password=GOOD, extra=""):
    parsed = config(extra)
    return signup.judge_request(name, password, parsed.domains["chat.example"],
                                parsed.recipient_delimiter)


@pytest.mark.parametrize("name", ["abcdefghi", "a.b-c_d.e", "123456789", "9________"])
def test_good_names(name):
    assert judge(name) is None


@pytest.mark.parametrize("name", [
    "", "abcdefgh", "abcdefghij", ".abcdefgh", "abcdefgh.", "abcd..efg", "-abcdefgh", "_abcdefgh",
    "abcd+efgh", "abcd efgh", "Abcdefghi", "abcdefgh\n", "abcdéfghi", "abcd/efgh", "abcd@efgh",
    "abcdefgh\u0661",
])
def test_bad_names(name):
    assert judge(name) is Denial.NAME


def test_the_bounds_of_names_can_be_set():
    assert judge("me", extra="username_min_length = 2") is None
    assert judge("m" * 64, extra="username_max_length = 64") is None
    assert judge("m" * 10, extra="username_max_length = 10") is None


def test_a_name_must_not_hold_the_delimiter():
    assert judge("abc-efghi", extra="recipient_delimiter = -") is Denial.NAME


def test_reserved_names():
    assert judge("webmaster") is Denial.RESERVED
    assert judge("something", extra="reserved_names = something") is Denial.RESERVED
    assert judge("webmaster", extra="reserved_names =") is None


@pytest.mark.parametrize("password", [b"123456789", b"x" * 511, b"\xff" * 9, "äöüß€".encode(),
                                      b"' \" \\ % {x} $6$"])
def test_good_passwords(password):
    assert judge("abcdefghi", password) is None


@pytest.mark.parametrize("password", [
    b"", b"12345678", b"x" * 512, b"123456789\t", b"12345\n6789", b"123456\x00789", b"123456\r789",
    b"123456\x01789",
])
def test_bad_passwords(password):
    assert judge("abcdefghi", password) is Denial.PASSWORD


def test_passwords_are_counted_in_octets():
    assert judge("abcdefghi", "äöüß".encode()) is Denial.PASSWORD
    assert judge("abcdefghi", "äöüßa".encode()) is None


@pytest.mark.parametrize("extra, length, refusal", [
    ("", 23, None), ("automatic_accounts = yes", 23, None),
    ("automatic_accounts = no", 23, Denial.AUTOMATIC),
    ("automatic_accounts = no", 22, None), ("automatic_accounts = no", 24, None),
    ("automatic_accounts = no\nsignup = invite", 23, None),
    ("automatic_accounts = no\nsignup = closed", 23, Denial.CLOSED),
])
def test_accounts_that_clients_make_by_themselves(extra, length, refusal):
    assert judge("abcdefghi", b"p" * length, extra=extra) is refusal


def test_a_closed_domain():
    assert judge("abcdefghi", extra="signup = closed") is Denial.CLOSED
    assert judge("abcdefghi", extra="signup = invite") is None


@pytest.mark.parametrize("state, refusal", [
    ({}, None),
    ({"load": 5.0}, None),
    ({"load": 5.1}, Denial.LOAD),
    ({"load": None, "available_memory": None}, None),
    ({"available_memory": 199 << 20}, Denial.MEMORY),
    ({"free_disk": (1 << 30) - 1}, Denial.DISK),
    ({"free_inodes": 99_999}, Denial.INODES),
    ({"free_inodes": None}, None),
    ({"switched_off": True, "load": 99.0}, Denial.SWITCHED_OFF),
])
def test_the_state_of_the_host(state, refusal):
    quiet = {"switched_off": False, "load": 0.1, "available_memory": 1 << 30, "free_disk": 1 << 40,
             "free_inodes": 1 << 20}
    assert signup.judge_host(HostState(**quiet | state), config()) is refusal


def taken(limits, client, per_hour, now, tries):
    return sum(limits.try_client(client, per_hour, now) for _ in range(tries))


def test_a_client_network_has_so_many_an_hour():
    limits = SignupLimits()
    assert taken(limits, b"192.0.2.1", 5, 1000.0, 10) == 5
    assert taken(limits, b"192.0.2.200", 5, 1000.0, 10) == 0, "the same /24"
    assert taken(limits, b"::ffff:192.0.2.7", 5, 1000.0, 10) == 0, "the same, written as IPv6"
    assert taken(limits, b"192.0.3.1", 5, 1000.0, 10) == 5
    assert taken(limits, b"192.0.2.1", 5, 1000.0 + 719, 10) == 0
    assert taken(limits, b"192.0.2.1", 5, 1000.0 + 721, 10) == 1, "the limit comes back evenly"
    assert taken(limits, b"192.0.2.1", 5, 1000.0 + 8000, 10) == 5


def test_networks_of_ipv6():
    limits = SignupLimits()
    assert taken(limits, b"2001:db8:1:2::3", 2, 0.0, 5) == 2
    assert taken(limits, b"2001:db8:1:ffff::", 2, 0.0, 5) == 0
    assert taken(limits, b"2001:db8:2::", 2, 0.0, 5) == 2


@pytest.mark.parametrize("client", [b"", b"127.0.0.1", b"127.9.9.9", b"::1", b"::ffff:127.0.0.1"])
def test_the_host_itself_is_not_limited(client):
    limits = SignupLimits()
    assert taken(limits, client, 1, 0.0, 50) == 50
    assert all(limits.try_host(client, 1, 0.0) for _ in range(50))


def test_what_is_no_address_is_one_client():
    limits = SignupLimits()
    assert taken(limits, b"\xff\xfe", 3, 0.0, 5) == 3
    assert taken(limits, b"no address", 3, 0.0, 5) == 0


def test_the_limit_of_the_host():
    limits = SignupLimits()
    clients = [b"198.51.%d.1" % n for n in range(100)]
    assert sum(limits.try_host(client, 40, 0.0) for client in clients) == 40
    assert not limits.try_host(b"203.0.113.1", 40, 80.0)
    assert limits.try_host(b"203.0.113.1", 40, 91.0)


def test_no_address_is_kept_and_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(signup, "MAX_CLIENTS", 100)
    limits, others = SignupLimits(), SignupLimits()
    for number in range(1000):
        for each in limits, others:
            each.try_client(b"10.%d.%d.1" % divmod(number, 256), 5, float(number))
    assert len(limits.clients) == 100
    assert limits.clients.isdisjoint(others.clients), "a hash that anybody can make anew"
    limits.try_client(b"192.0.2.1", 5, 10_000.0)
    assert len(limits.clients) == 1, "what no longer limits is forgotten"


def test_what_is_kept_of_a_client_is_a_hash_with_a_key_of_the_process(monkeypatch):
    monkeypatch.setattr("secrets.token_bytes", lambda count: b"k" * count)
    limits = SignupLimits()
    limits.try_client(b"192.0.2.1", 5, 0.0)
    assert limits.clients == {
        hashlib.blake2b(bytes([192, 0, 2]), key=b"k" * 16, digest_size=12).digest()}


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 900)), max_size=60), st.integers(1, 6))
def test_no_hour_sees_more_than_twice_the_limit(events, per_hour):
    """A burst and a full refill is the most that fits into any hour, whoever asks when."""
    limits, now, passed = SignupLimits(), 0.0, {}
    for network, pause in events:
        now += pause
        if limits.try_client(b"192.0.%d.1" % network, per_hour, now):
            passed.setdefault(network, []).append(now)
    for times in passed.values():
        for start in times:
            assert sum(start <= at < start + 3600 for at in times) <= 2 * per_hour
