"""Tests with several hosts in a network of their own, which the test process joins.

    sudo /usr/bin/python3 -m pytest tests/network
"""

import os

import pytest
from network import phones, world
from network.hosts import RemoteHost, add_logs, missing_programs, running
from network.sites import ONE, PLAIN, TWO

RUNNING: dict[str, RemoteHost] = {}
"""The hosts that run, for whoever looks at their logs."""
EXPECTED = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.network)


@pytest.fixture(scope="session")
def directory(request, tmp_path_factory):
    """We are in the network from here on."""
    if missing := missing_programs():
        text = f"needs {' '.join(missing)}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    old = any("old_core" in item.fixturenames for item in request.session.items)
    for kind in phones.KINDS if old else phones.KINDS[:1]:
        phones.packages(kind)       # while there is a world to get it from
    directory = tmp_path_factory.mktemp("network")
    directory.chmod(0o755)
    world.enter(directory)
    return directory


@pytest.fixture(scope="session")
def hosts(directory):
    """All of them, by name, up and running."""
    with running(directory, [ONE, TWO, PLAIN]) as found:
        RUNNING.update(found)
        yield found
        RUNNING.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the hosts logged."""
    add_logs((yield).get_result(), RUNNING.values())


@pytest.fixture(autouse=True)
def nothing_refused(request):
    """Nothing genuine is refused anywhere: whatever a host logged as refused or in trouble fails
    a test, but for the lines that it says it `expected`."""
    for host in RUNNING.values():
        host.refusals()
    expected = request.node.stash[EXPECTED] = []
    yield
    found = [f"{host.site.name} {line}" for host in RUNNING.values() for line in host.refusals()]
    strange = [line for line in found if not any(words in line for words in expected)]
    assert not strange, "\n".join(strange)
    missing = [words for words in expected if not any(words in line for line in found)]
    assert not missing, f"not logged: {missing}; but {found}"


@pytest.fixture
def expect(request):
    """Lines with these words are to be in the logs of trouble when the test has ended."""
    return lambda *words: request.node.stash[EXPECTED].extend(words)


@pytest.fixture
def one(hosts):
    return hosts["one"]


@pytest.fixture
def two(hosts):
    return hosts["two"]


@pytest.fixture
def plain(hosts):
    return hosts["plain"]


@pytest.fixture(scope="session")
def core(directory):
    with phones.core(directory) as core:
        yield core


@pytest.fixture(scope="session", params=phones.KINDS[1:])
def old_core(directory, request):
    with phones.core(directory, request.param) as core:
        yield core
