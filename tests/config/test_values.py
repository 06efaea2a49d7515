"""The values of keys that take more than a word."""

import ipaddress
from pathlib import Path

import pytest

from chatmaild.config import inifile, values
from chatmaild.errors import ConfigError


def test_networks_as_in_main_cf():
    found = values.networks("127.0.0.0/8, [::1]/128 [2001:db8::]/32 192.0.2.7")
    assert ipaddress.ip_address("127.4.5.6") in found[0]
    assert ipaddress.ip_address("2001:db8:1::5") in found[2]
    assert ipaddress.ip_address("192.0.2.7") in found[3]
    assert values.networks("") == ()


@pytest.mark.parametrize("text", [
    "192.0.2.1/24", "hash:/etc/postfix/net", "!10.0.0.1", "[::1", "x/8"])
def test_no_networks(text):
    with pytest.raises(ValueError, match="is not a network"):
        values.networks(text)


def test_servers():
    assert values.servers("127.0.0.1 ::1@5353 [2001:db8::1]") == (
        ("127.0.0.1", 53), ("::1", 5353), ("2001:db8::1", 53))


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1:53", "127.0.0.1@", "::1@0", "::1@70000"])
def test_no_servers(text):
    with pytest.raises(ValueError, match="is not an address|port must"):
        values.servers(text)


def test_a_verifier_needs_a_name():
    raw = b"[chatmaild]\nincoming_authenticity = authentication-results-log\n"
    with pytest.raises(ConfigError, match="authserv_id must say"):
        inifile.parse(raw, Path("test.ini"))
    found = inifile.parse(raw + b"authserv_id = mx.example\n", Path("test.ini"))
    assert found.authserv_id == "mx.example"
