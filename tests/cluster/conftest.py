"""Two hosts with one chat domain, a PostgreSQL and its standby, in a network of their own.

    sudo make test-cluster
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import dkimkit
import postgresql
import pytest
from network import world
from network.agent import Kit
from network.hosts import RemoteHost
from network.sites import LEFT, PHONES, RESOLVER, RIGHT
from rig import debian

from chatmaild.accounts import directoryschema

RUNNING: dict[str, RemoteHost] = {}
DATABASES = [RESOLVER, PHONES]
"""Where the primary listens, and the standby."""
STRANGER = "192.0.2.66"
"""Where wrong passwords come from: Dovecot slows such an address down."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.network)


@dataclass
class Cluster:
    left: RemoteHost
    right: RemoteHost
    primary: postgresql.Server
    standby: postgresql.Server
    authority: Path
    """The certificate that clients trust."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    missing = [program for program in ("knotd", "opendkim", "mmdebstrap", "ip", "setpriv")
               if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")]
    if os.geteuid() or missing:
        text = f"needs root and {' '.join(missing) or 'nothing else'}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    sites = [LEFT, RIGHT]
    for site in sites:
        debian.cluster_root(site.suite)     # while there is a world to get it from
    directory = tmp_path_factory.mktemp("cluster")
    directory.chmod(0o755)
    world.enter(directory)
    subprocess.run(["ip", "address", "add", f"{STRANGER}/24", "dev", world.WIRE], check=True)
    authority = world.Authority(directory)
    signers = {domain: dkimkit.rsa() for site in sites for domain in site.domains}
    records = {domain: signer.record.decode() for domain, signer in signers.items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(world.name_server(directory, sites, records))
        primary = stack.enter_context(postgresql.server(listen=DATABASES[0]))
        directoryschema.init(primary.conninfo("postgres"))
        standby = stack.enter_context(postgresql.server(primary, listen=DATABASES[1]))
        for site in sites:
            host = RUNNING[site.key] = RemoteHost(site, directory / f"{site.key}.console")
            stack.callback(host.end)
            certificate, key = authority.issue(site)
            host.begin(Kit(authority.certificate, certificate, key, {
                domain: signers[domain].private.decode() for domain in site.domains}))
        for host in RUNNING.values():
            host.answer()
            host.ask("join", DATABASES)
        for host in RUNNING.values():
            host.answer()
        for host in RUNNING.values():       # once all are in the directory
            host.ask("wire")
        for host in RUNNING.values():
            assert host.answer() == []
        yield Cluster(RUNNING["left"], RUNNING["right"], primary, standby, directory / "ca.pem")
        RUNNING.clear()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what the hosts logged."""
    report = (yield).get_result()
    if report.failed:
        for host in RUNNING.values():
            with contextlib.suppress(Exception):
                report.sections.append((f"log of {host.site.name}", host.log_tail(60)))
