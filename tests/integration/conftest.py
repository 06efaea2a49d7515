"""Integration tests run inside a private host: ``sudo tests/rig/enter -- pytest FILE``.

One host serves all of them. It is compared before and after each test and each module: one that
leaves it changed fails by name, and the host is restored, so that no other test fails instead.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rig import parting


def pytest_addoption(parser):
    parser.addoption("--part", default="1/1", metavar="K/N",
                     help="of N hosts that share the modules, those of the K-th")


def pytest_collection_modifyitems(config, items):
    ours = [item for item in items if item.path.is_relative_to(os.path.dirname(__file__))]
    for item in ours:
        item.add_marker(pytest.mark.integration)
    part, of = map(int, config.getoption("--part", "1/1").split("/"))
    elsewhere = parting.elsewhere([item.path.name for item in ours], part, of)
    gone = [item for item in ours if item.path.name in elsewhere]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session")
def running_host():
    """The one host, for fixtures; tests ask for `host`."""
    if "CHATMAILD_RIG" not in os.environ:
        text = "needs a private host: sudo tests/rig/enter -- pytest ..."
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    from rig.host import Host
    host = Host()
    host.start()
    yield host
    host.stop()


@pytest.fixture(scope="session")
def guard(running_host, request):
    from rig.guard import Guard
    return Guard(running_host, request.config)


@pytest.fixture(scope="module", autouse=True)
def sound_after_module(request):
    """Fixtures of the module put back what they changed."""
    users = [item for item in request.session.items if item.path == request.path
             and "running_host" in item.fixturenames]
    if not users:
        yield
        return
    clients = None
    if any("core" in item.fixturenames for item in users):
        clients = request.getfixturevalue("core")   # which is there for the modules after this one
    with request.getfixturevalue("guard").module():
        yield
        if clients:     # or they would go on sending receipts, which wait where Dovecot is down
            clients.stop_io()


@pytest.fixture(autouse=True)
def sound_after_test(request):
    """The test left the host as it found it, which is what fixtures of its module made of it."""
    if "running_host" not in request.fixturenames:
        yield
        return
    with request.getfixturevalue("guard").test(request.node):
        yield


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
    done = subprocess.run([Path(__file__).parents[1] / "rig/venv", "client"], text=True,
                          capture_output=True)
    venv = done.stdout.strip()
    if done.returncode:     # there is no network in here to get it by
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
