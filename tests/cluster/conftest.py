"""Two hosts with one chat domain, a PostgreSQL and its standby, in a network of their own.

    sudo make test-cluster
"""

import os

import pytest
from cluster import packetfilter
from cluster.clients import NEWCOMER, Clients
from cluster.cluster import started
from network import phones
from network.hosts import RemoteHost, add_logs, missing_programs
from network.sites import PHONES
from pushgateway import Gateway

RUNNING: dict[str, RemoteHost] = {}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.network)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if missing := missing_programs():
        text = f"needs {' '.join(missing)}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    phones.packages("client")       # while there is a world to get it from
    nft = packetfilter.nft()
    directory = tmp_path_factory.mktemp("cluster")
    directory.chmod(0o755)
    with started(directory) as cluster:
        RUNNING.update({host.site.key: host for host in (cluster.left, cluster.right)})
        cluster.of_the_machines_release.has_nft(nft)
        yield cluster
        RUNNING.clear()


@pytest.fixture
def connect(cluster):
    """Clients of the two hosts, which make accounts again, whatever the test before broke."""
    clients = Clients(cluster.authority)
    for host in (cluster.left, cluster.right):
        clients.person(host, NEWCOMER)
    return clients


@pytest.fixture
def gateway(cluster):
    """Where both hosts send notifications."""
    gateway = Gateway(PHONES)
    for host in (cluster.left, cluster.right):
        host.ring_by(gateway.url)
    yield gateway
    gateway.shutdown()
    gateway.server_close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the hosts logged."""
    add_logs((yield).get_result(), RUNNING.values())
