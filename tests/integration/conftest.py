"""Integration tests run inside a private host: ``sudo tests/rig/enter -- pytest FILE``."""

import os

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def running_host():
    """One host for all tests that do not change its configuration."""
    if "CHATMAILD_RIG" not in os.environ:
        text = "needs a private host: sudo tests/rig/enter -- pytest ..."
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    from rig.host import Host
    host = Host()
    host.start()
    yield host
    host.stop()


@pytest.fixture
def host(running_host):
    """The host, with every service of ours running before and after the test."""
    yield running_host
    for service in running_host.services.values():
        if not service.running:
            service.start()
