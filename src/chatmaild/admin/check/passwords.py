"""Does a setting for finding faults write the passwords of chat users to a log?"""

from collections.abc import Iterator

from chatmaild.admin.check.findings import Finding, warning
from chatmaild.admin.servers.doveconf import Dovecot
from chatmaild.admin.servers.postconf import Postfix

CODE = "passwords-logged"


def of_dovecot(dovecot: Dovecot) -> Iterator[Finding]:
    """Yield a warning for each setting of Dovecot that writes passwords."""
    if dovecot.get("auth_debug_passwords") == "yes":
        yield warning(CODE, f"{dovecot.path}: auth_debug_passwords",
                      "writes everybody's password to the log", "auth_debug_passwords = no")
    if dovecot.get("auth_verbose_passwords", "no") != "no":
        yield warning(CODE, f"{dovecot.path}: auth_verbose_passwords",
                      "writes mistyped passwords to the log", "auth_verbose_passwords = no")


def of_postfix(postfix: Postfix) -> Iterator[Finding]:
    """Yield a warning for each service of Postfix that logs whole sessions, with their AUTH."""
    for service in postfix.submission_servers():
        place = f"{postfix.directory}/master.cf: {service.name}"
        if service.is_verbose:
            yield warning(CODE, place, "with -v it writes everybody's password to the log",
                          "take -v out, then: postfix reload")
        elif clients := postfix.get("debug_peer_list", service):
            yield warning(CODE, place, "debug_peer_list has it write the passwords of whoever "
                          f"connects from {clients} to the log", "debug_peer_list =")
