"""Integration tests run inside a private host: ``sudo tests/rig/enter -- pytest FILE``."""

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def person(host):
    """The address of a chat user who has logged in once."""
    return host.new_person()


@pytest.fixture(scope="session")
def client_packages():
    """Where the packages of the real client are."""
    venv = subprocess.run([Path(__file__).parents[1] / "rig/venv", "client"], text=True,
                          check=False, stdout=subprocess.PIPE).stdout.strip()
    if not venv:
        text = "needs the Delta Chat core: sudo tests/rig/venv client"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    packages, = Path(venv).glob("lib/python3*/site-packages")
    return packages


@pytest.fixture(scope="session")
def core(client_packages, tmp_path_factory):
    """A running deltachat-rpc-server."""
    sys.path.append(str(client_packages))
    from deltachat_rpc_client import DeltaChat, Rpc
    directory = tmp_path_factory.mktemp("deltachat") / "accounts"
    with Rpc(str(directory), client_packages / "deltachat_rpc_server/deltachat-rpc-server") as rpc:
        yield DeltaChat(rpc)
