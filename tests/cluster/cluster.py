"""Two hosts with one chat domain, a PostgreSQL and its standby, in a network of their own."""

import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import postgresql
from cluster.clients import NEWCOMER, STRANGER
from network import hosts, world
from network.hosts import RemoteHost
from network.sites import LEFT, PHONES, RESOLVER, RIGHT, NetworkSite
from rig import debian
from rig.unpacked import unpacked

from chatmaild.accounts import directoryschema

DATABASES = [RESOLVER, PHONES]
"""Where the primary listens, and the standby; by TLS only."""


@dataclass
class Cluster:
    left: RemoteHost
    right: RemoteHost
    primary: postgresql.Server
    standby: postgresql.Server
    authority: Path
    """The certificate that clients trust."""
    certify: Callable[..., tuple[Path, Path]]
    """Has that authority sign, see `world.Authority`."""
    single: RemoteHost | None
    """A host with a chat domain of its own, and no directory."""

    @property
    def of_the_machines_release(self) -> RemoteHost:
        """The host that runs programs of this very machine."""
        return self.left if self.left.site.suite == debian.own_suite() else self.right

    @contextlib.contextmanager
    def silent_directory(self) -> Iterator[None]:
        """Both databases take questions, and answer none."""
        with self.primary.hanging(), self.standby.hanging():
            yield

    # What may happen to the host on the right.

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Dovecot takes connections, and says nothing."""
        self.right.freeze_dovecot()
        try:
            yield
        finally:
            self.right.thaw_dovecot()

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """Packets to it vanish."""
        self.left.never_doubts(self.right.site.address, self.right.network_card())
        wire = ["ip", "link", "set", self.right.site.key]
        subprocess.run([*wire, "down"], check=True)
        try:
            yield
        finally:
            subprocess.run([*wire, "up"], check=True)

    @contextlib.contextmanager
    def without_power(self) -> Iterator[None]:
        """Nothing runs there, and connections are refused."""
        self.right.lose_power()
        try:
            yield
        finally:
            self.right.boot()


@contextlib.contextmanager
def started(directory: Path, pair: Sequence[NetworkSite] = (LEFT, RIGHT),
            single: NetworkSite | None = None) -> Iterator[Cluster]:
    """All of it, up and ready; this process is in the network from then on."""
    sites = [*pair, *([single] if single else [])]
    for site in sites:
        debian.cluster_root(site.suite)     # while there is a world to get it from
    if not Path("/usr/sbin/sshd").exists():
        for package in debian.CLUSTER_HOST:
            unpacked(package)
    world.enter(directory)
    for source in (STRANGER, NEWCOMER):
        subprocess.run(["ip", "address", "add", f"{source}/24", "dev", world.WIRE], check=True)
    authority = world.Authority(directory)
    tls = authority.certify("database", [f"IP:{address}" for address in DATABASES])
    with (postgresql.server(listen=DATABASES[0], tls=tls) as primary,
          postgresql.server(primary, listen=DATABASES[1]) as standby,
          hosts.running(directory, sites, authority) as running):
        joined = [running[site.key] for site in pair]
        primary.wait_for_standby()
        directoryschema.init(primary.conninfo("postgres"))
        _for_all(joined, "join", DATABASES)
        _for_all(joined, "wire")        # once all are in the directory
        _for_all(joined, "serve_ssh")
        for host, other in itertools.permutations(joined, 2):
            other.admit(host.make_key(other.site.name))
        troubles = _for_all(joined, "findings", "directory")
        assert all("no rule of a packet filter" in trouble and not more
                   for trouble, *more in troubles), troubles
        yield Cluster(*joined, primary, standby, directory / "ca.pem", authority.certify,
                      running[single.key] if single else None)


def _for_all(joined: list[RemoteHost], method: str, *arguments: object) -> list[object]:
    """What `method` gives on each host; it runs on all at a time."""
    for host in joined:
        host.ask(method, *arguments)
    return [host.answer() for host in joined]
