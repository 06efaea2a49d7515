"""The world that the hosts are in: a wire, a name server and an authority for certificates.

The test process itself goes there: its mounts and its network are its own from then on, so nothing
of it remains when the process ends, however it ends. Phones and strangers are its children.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dnsservers
from network.sites import NETWORK, NETWORK6, PHONES, PHONES6, RESOLVER, RESOLVER6, NetworkSite, zone
from rig.machine import CLONE_NEWNET, CLONE_NEWNS, unshare
from rig.until import until

WIRE = "wire"
WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""In front of a command: it ends when the test process does."""


def enter(directory: Path) -> None:
    """Put this process into a network that holds nothing but the wire, with names of its own."""
    unshare(CLONE_NEWNS | CLONE_NEWNET)
    _run("mount", "--make-rprivate", "/")
    for name, text in {"hosts": "127.0.0.1 localhost\n::1 localhost\n",
                       "resolv.conf": f"nameserver {RESOLVER}\n"}.items():
        (directory / name).write_text(text)
        _run("mount", "--bind", directory / name, (Path("/etc") / name).resolve())
    _run("ip", "link", "set", "lo", "up")
    # an address of its own, or it takes another one whenever a host is plugged in or out
    _run("ip", "link", "add", "name", WIRE, "address", "02:00:00:00:00:01", "type", "bridge")
    for address in (f"{PHONES}/{NETWORK}", f"{RESOLVER}/{NETWORK}"):
        _run("ip", "address", "add", address, "dev", WIRE)
    for address in (f"{RESOLVER6}/{NETWORK6}", f"{PHONES6}/{NETWORK6}"):
        _run("ip", "address", "add", address, "dev", WIRE, "nodad")
    _run("ip", "link", "set", WIRE, "up")


@contextlib.contextmanager
def name_server(directory: Path, sites: list[NetworkSite], keys: dict[str, str]
                ) -> Iterator[None]:
    """Knot answers for everything there is; what it does not know does not exist."""
    conf = dnsservers.configure_knot(directory, ".", zone(sites, keys),
                                     f"{RESOLVER}@53", f"{RESOLVER6}@53")
    with subprocess.Popen([*WITH_US, dnsservers.KNOT, "-c", conf]) as process:
        try:
            until(lambda: process.poll() is not None or _answers(), "Knot to answer")
            assert process.poll() is None, "Knot does not start"
            yield
        finally:
            process.kill()


def _answers() -> bool:
    try:
        return bool(dns.query.udp(dns.message.make_query(".", "SOA"), RESOLVER, 1).answer)
    except (OSError, dns.exception.DNSException):
        return False


class Authority:
    """It makes certificates that the hosts of the network trust."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._key, self._certificate = directory / "ca.key", directory / "ca.pem"
        _run("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-days", "30", "-subj", "/CN=Authority of the tests",
             "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign",
             "-keyout", self._key, "-out", self._certificate)

    @property
    def certificate(self) -> str:
        return self._certificate.read_text()

    def issue(self, site: NetworkSite) -> tuple[str, str]:
        """Certificate (with the authority's own) and key for all names and addresses of a host."""
        certificate, key = self.certify(site.key, [
            *(f"DNS:{name}" for name in site.names), f"IP:{site.address}", f"IP:{site.address6}",
            "DNS:localhost", "IP:127.0.0.1"])
        return certificate.read_text() + self.certificate, key.read_text()

    def certify(self, name: str, alternatives: list[str], days: int = 30) -> tuple[Path, Path]:
        """Certificate and key, as files of that name, for what openssl(1) calls alternatives.

        It ends after so many days; with -1 it has ended.
        """
        key, request, certificate = (self._directory / f"{name}.{end}"
                                     for end in ("key", "csr", "pem"))
        _run("openssl", "req", "-nodes", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}",
             "-addext", f"subjectAltName={','.join(alternatives)}",
             "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", request)
        _run("openssl", "x509", "-req", "-in", request, "-copy_extensions", "copyall",
             "-CA", self._certificate, "-CAkey", self._key, "-days", str(days),
             "-out", certificate)
        return certificate, key


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}"
