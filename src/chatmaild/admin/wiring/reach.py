"""What of the host's keeps Postfix from asking our filters at all: lines that only people mend."""

import re
from collections.abc import Iterator

from chatmaild.admin.servers.postconf import Service
from chatmaild.admin.wiring.observation import Host
from chatmaild.admin.wiring.steps import Obstacle

QUEUE = "/var/spool/postfix"
"""Where the units of our filters put their sockets, in the folder chatmaild."""

HINDERING = {
    "no_milters": "no filter is asked here",
    "no_header_body_checks": "the Received line with the address of a chat user's device stays, "
                             "and that of others names their login",
}
"""Words of receive_override_options, and what they do to submissions."""


def sockets(host: Host) -> Iterator[Obstacle]:
    """Find a queue directory without our sockets: each message would be put off with 451."""
    queue = host.postfix.get("queue_directory") or QUEUE
    if queue == QUEUE or host.has_sockets:
        return
    lines = "".join(f"\nsystemctl edit chatmaild-{name}.socket, with\n  [Socket]\n  ListenStream=\n"
                    f"  ListenStream={queue}/chatmaild/{name}.sock"
                    for name in ("filtermail", "filtermail-incoming"))
    yield Obstacle(f"{host.main_cf}: queue_directory",
                   f"is {queue}, where the sockets of our filters are not: Postfix would put off "
                   "all mail", f"have systemd make them there:{lines}\n"
                   "systemctl restart chatmaild-filtermail.socket chatmaild-filtermail-incoming."
                   "socket")


def options(host: Host) -> Iterator[Obstacle]:
    """Find an option that Postfix understands, but postconf(1), with which we edit, does not."""
    match = re.search(r"^(?!#).*\s(-o[^\s{]\S*)", host.files.get(host.master_cf, ""), re.MULTILINE)
    if match:
        yield Obstacle(host.master_cf, f"{match[1]}: postconf misreads an option that follows -o "
                       "without a blank", f"-o {match[1].removeprefix('-o')}")


def overrides(host: Host, service: Service, has_logins: bool) -> Iterator[Obstacle]:
    """Find settings by which `service` evades our filter, or shows it no more than commands.

    `has_logins`: whether clients log in there, whose Received line a header check takes out.
    """
    place = f"{host.master_cf}: {service.name}"
    words = host.postfix.words("receive_override_options", service)
    for word, effect in HINDERING.items():
        if word in words and (has_logins or word == "no_milters"):
            left = ",".join(word for word in words if word not in HINDERING)
            yield Obstacle(place, f"receive_override_options has {word}: {effect}",
                           f"postconf -P '{service.name}/receive_override_options={left}'")
    proxy = host.postfix.get("smtpd_proxy_filter", service)
    if proxy:
        yield Obstacle(place, f"smtpd_proxy_filter = {proxy}: Postfix then shows milters neither "
                       "headers nor body", f"postconf -P {service.name}/smtpd_proxy_filter=, and "
                       "have that filter asked by content_filter, or as a milter")
