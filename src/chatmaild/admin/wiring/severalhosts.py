"""Joins this host to the others that have its chat domains: see several-hosts.md.

Dovecot believes the other hosts about where a client comes from, and takes mail from them. Postfix
asks us where an account lives, and our services reach the directory.
"""

import re
from collections.abc import Iterator

from chatmaild.accounts.directoryrows import Node
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import HOMES
from chatmaild.admin.wiring import dovecot, listeners
from chatmaild.admin.wiring.changes import Changes
from chatmaild.admin.wiring.observation import HOSTS_FILE, NETWORK_UNITS, Host
from chatmaild.admin.wiring.steps import Kind, Obstacle, Step, same_settings
from chatmaild.config.config import Config

LMTP_PORT = "24"
LISTENER = "chatmaild-hosts"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Who may have signed the certificates of the other hosts, unless the host says otherwise."""

SERVICE = "chat-node/unix"
"""The service of master.cf that leads to the other hosts."""

PROXY = "chat-node-tls"
"""The service that holds their TLS connections, so that many messages go through one. Unlike
Postfix's own tlsproxy it is in no chroot, where the authorities' file would be missing."""

NO_ADDRESS = ("is no address of this host now, and a Dovecot that cannot listen does not start, "
              "for ordinary users neither")
JOIN_AGAIN = "bring its interface up, or: chatmaild directory join IP, with the right one"

CLIENT_CERTIFICATES = ("lmtp_tls_chain_files", "lmtp_tls_cert_file", "lmtp_tls_eccert_file")
"""Certificates of the host that LMTP shows. The proxy could not read their keys as root does."""

_NETWORK = """\
# Written by chatmaild wire: the directory is on another host.
[Service]
PrivateNetwork=no
IPAddressDeny=
RestrictAddressFamilies=AF_INET AF_INET6
"""
_HOMES = """\
# Written by chatmaild wire: Postfix asks us which accounts of these domains live on other hosts.
memcache = unix:chatmaild/homes.sock
domain = {}
timeout = 2
max_try = 1
"""
_CURES = ("directory-transport", "directory-tls", "directory-connections", "directory-lmtp",
          "directory-trusted")
_WAY = "the way to the other hosts of the chat domain"


def plan(host: Host, config: Config) -> Iterator[Step | Obstacle]:
    """Plan for a host with a directory; nothing for a host that is alone.

    What needs to know the other hosts is left out while the directory does not answer.
    """
    if config.directory is None:
        return
    if host.known.trouble:
        yield Obstacle(str(config.directory), f"the directory does not say which hosts there are: "
                       f"{host.known.trouble}", "mend that; what follows from it comes then")
        yield from _table(host, config)
        yield from _units(host)
        return
    own = next((node for node in host.known.nodes if node.name == config.node), None)
    if own is None:
        yield Obstacle(f"{config.path}: node", f"{config.node} is not in the directory yet",
                       "chatmaild directory join IP")
        return
    if not (host.known.is_here or listens(host.dovecot, own.ip)):
        yield Obstacle(f"{config.node}, {own.ip} in the directory", NO_ADDRESS, JOIN_AGAIN)
        return
    yield from _table(host, config)
    yield from _dovecot(host, own)
    yield from _postfix(Changes(host))
    yield from _units(host)


def _table(host: Host, config: Config) -> Iterator[Step]:
    path = f"{host.postfix.directory}/{HOMES}"
    was = host.files.get(path)
    now = _HOMES.format(", ".join(config.mail_domains))
    if was is None or not same_settings(was, now):
        yield Step(Kind.FILE, path, "", was, now, "Postfix asks where an account lives",
                   ("directory-transport",))


# ---- Dovecot ------------------------------------------------------------------------------------

def _dovecot(host: Host, own: Node) -> Iterator[Step | Obstacle]:
    path = dovecot.late_path(host, HOSTS_FILE)
    ours = host.files.get(path)
    parts = [*_trusted(host, ours or "", own), *_authorities(host, ours or ""),
             *_listener(host, own)]
    if not parts and ours is None:
        return
    text = "\n".join(["# Written by chatmaild wire; chatmaild unwire takes it away.\n", *parts])
    if text != ours:
        yield Step(Kind.FILE, path, "", ours, text, "the other hosts of the chat domain", _CURES)
    else:
        yield from _overridden(host, path, own)
    yield from dovecot.loads(host, "last", path, True, _CURES)


def _overridden(host: Host, path: str, own: Node) -> Iterator[Obstacle]:
    """Find a line of the host that takes back what our file says."""
    name = "login_trusted_networks"
    holds = host.dovecot.get(name).replace(",", " ").split()
    if missing := sorted(node.ip for node in host.known.nodes
                         if node != own and node.ip not in holds):
        yield Obstacle(f"{host.dovecot.path}: {name}", f"is set after {path}, without other hosts",
                       f"add there: {' '.join(missing)}")


def _before(host: Host, ours: str, name: str) -> str:
    """Return what the host itself has for `name`: our file says so where it sets that as well."""
    if match := re.search(rf"^# the host's own {name}: (.*)$", ours, re.MULTILINE):
        return match[1]
    if re.search(rf"^{name} =", ours, re.MULTILINE):
        return ""
    group, _, key = name.partition("_client_")      # how doveconf of 2.4 shows ssl_client_...
    return host.dovecot.get(name) or host.dovecot.tree.block(f"{group}_client").get(key)


def _trusted(host: Host, ours: str, own: Node) -> Iterator[str]:
    name = "login_trusted_networks"
    before = _before(host, ours, name)
    words = before.replace(",", " ").split()
    missing = sorted(node.ip for node in host.known.nodes if node != own and node.ip not in words)
    if missing:
        yield ("# Their word on where a client comes from counts here.\n"
               + (f"# the host's own {name}: {before}\n" if before else "")
               + f"{name} = {' '.join([*words, *missing])}\n")


def _authorities(host: Host, ours: str) -> Iterator[str]:
    """Verify the other hosts' certificates; on 2.3 ssl_client_ca_file does not hold for logins."""
    names = ("ssl_ca",) if host.dovecot.is_23 else ("ssl_client_ca_file", "ssl_client_ca_dir")
    if any(_before(host, ours, name) for name in names):
        return
    yield "# Who signs the certificates of the other hosts.\n" + (
        f"ssl_ca = <{AUTHORITIES}\nssl_require_crl = no\n" if host.dovecot.is_23 else
        f"ssl_client_ca_file = {AUTHORITIES}\n")


def _listener(host: Host, own: Node) -> Iterator[str]:
    key = "address" if host.dovecot.is_23 else "listen"
    block = (f"# Mail that came to another host. Keep everybody else away from this port.\n"
             f"service lmtp {{\n  inet_listener {LISTENER} {{\n    {key} = {own.ip}\n"
             f"    port = {LMTP_PORT}\n  }}\n}}\n")
    if not listens(host.dovecot, own.ip):
        yield block


def listens(server: Dovecot, ip: str) -> bool:
    """Whether a listener of the host's own takes what comes to `ip` from other hosts."""
    return any({ip, "*", "::"} & set(listeners.addresses(server, listener))
               for listener in server.service("lmtp").all("inet_listener")
               if listener.get("port") == LMTP_PORT and listener.name != LISTENER)


# ---- Postfix and systemd ------------------------------------------------------------------------

def _postfix(changes: Changes) -> Iterator[Step]:
    host = changes.host
    yield from changes.service(
        SERVICE, f"chat-node unix - - {host.chroot('lmtp/unix')} - - lmtp", _WAY, _CURES)
    wanted = {"lmtp_connect_timeout": "5s", "lmtp_tls_security_level": "secure"}
    if not host.raw("lmtp_tls_CAfile"):
        wanted["lmtp_tls_CAfile"] = AUTHORITIES
    if not any(host.raw(name, SERVICE) for name in CLIENT_CERTIFICATES):
        wanted |= {"lmtp_tls_connection_reuse": "yes", "tlsproxy_service_name": PROXY,
                   "lmtp_connection_cache_destinations": "static:all"}
        yield from _proxy(changes)
    yield from _options(changes, SERVICE, wanted)
    name = "lmtp_tls_secure_cert_match"
    names = {node.name for node in host.known.nodes}
    if not names <= set(host.options.get(SERVICE, {}).get(name, "").split(":")):
        yield from changes.option(SERVICE, name, ":".join(sorted(names)), _WAY, _CURES)


def _proxy(changes: Changes) -> Iterator[Step]:
    """Plan for the proxy, which lives long: it warns at each start that an LMTP client asks it."""
    name = f"{PROXY}/unix"
    yield from changes.service(name, f"{PROXY} unix - - n - 0 tlsproxy", _WAY, _CURES)
    yield from _options(changes, name, {"tlsproxy_client_security_level": "secure",
                                        "max_idle": "1d"})


def _options(changes: Changes, service: str, wanted: dict[str, str]) -> Iterator[Step]:
    """Set options that the service does not have yet, whatever their value."""
    for name, value in wanted.items():
        if name not in changes.host.options.get(service, {}):
            yield from changes.option(service, name, value, _WAY, _CURES)


def _units(host: Host) -> Iterator[Step]:
    settings = _NETWORK.splitlines()[2:]
    for path in NETWORK_UNITS:
        was = host.files.get(path)
        if was is None or not all(line in was.splitlines() for line in settings):
            yield Step(Kind.FILE, path, "", was, _NETWORK, "our services reach the directory")
