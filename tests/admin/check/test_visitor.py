"""Where `check --live` connects to."""

import pytest

from chatmaild.admin.check import visitor


@pytest.mark.parametrize("host, listens_at, expected", [
    ("localhost", "", "localhost"),
    ("localhost", "*, ::", "localhost"),
    ("localhost", "all", "localhost"),
    ("localhost", "192.0.2.1 127.0.0.1", "localhost"),
    ("localhost", "192.0.2.1, 2001:db8::1", "192.0.2.1"),
    ("localhost", "[2001:db8::1]", "2001:db8::1"),
    ("localhost", "mail.example.org", "mail.example.org"),
    ("chat.example.org", "192.0.2.1", "chat.example.org"),
])
def test_the_server_may_listen_elsewhere_than_at_loopback(host, listens_at, expected):
    assert visitor.nearest(host, listens_at) == expected
