"""What a service and its manager tell each other."""

import pytest

from chatmaild.daemon import systemd


@pytest.mark.parametrize("environment, seconds", [
    ({}, None), ({"WATCHDOG_USEC": "60000000"}, 30), ({"WATCHDOG_USEC": "rubbish"}, None),
    ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
])
def test_feeds_the_watchdog_twice_as_often_as_asked(monkeypatch, environment, seconds):
    for key in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert systemd.watchdog_interval() == seconds
