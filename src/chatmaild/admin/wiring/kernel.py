"""Raises a limit of the kernel: all chat users share one uid, so one limit of inotify(7)."""

from collections.abc import Iterator

from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.wiring.observation import SYSCTL, Host
from chatmaild.admin.wiring.steps import Kind, Step, same_settings

SPARE = 256
"""Instances beside those of IMAP sessions."""


def wanted(dovecot: Dovecot) -> int:
    """Return how many inotify instances Dovecot's ``service imap`` needs: one a session."""
    service = dovecot.service("imap")
    return service.limit("process_limit", "1024") * service.limit("client_limit", "1") + SPARE


def plan(host: Host) -> Iterator[Step]:
    """Plan a file for sysctl(8), unless the host grants enough already."""
    instances = wanted(host.dovecot)
    text = ("# Written by chatmaild wire. Chat users share one uid; with fewer, mail is late.\n"
            f"fs.inotify.max_user_instances = {instances}\n")
    was = host.files.get(SYSCTL)
    if was is None:
        if host.inotify is None or host.inotify >= instances:
            return
    elif same_settings(was, text):
        return
    yield Step(Kind.FILE, SYSCTL, "", was, text,
               f"a waiting IMAP session takes one; the kernel grants {host.inotify}", ("inotify",))
