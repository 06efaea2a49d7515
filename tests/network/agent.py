"""Inside a host: sets it up, and does what the tests ask for.

    python3 -m network.agent SITE DESCRIPTOR

Each call is (method of `NetworkHost`, arguments), each answer (good, value or traceback).
"""

import os
import re
import shutil
import subprocess
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from network.sites import SELECTOR, SITES, NetworkSite
from rig import stock
from rig.host import PASSWORD, Host
from rig.until import until

AUTHORITY = Path("/etc/ssl/certs/test-authority.pem")
MILTER = Path("/var/spool/postfix/opendkim/opendkim.sock")


@dataclass(frozen=True)
class Kit:
    """What the world gives a host: TLS, and a private DKIM key for each of its domains."""

    authority: str
    certificate: str
    key: str
    dkim_keys: dict[str, str]


_TROUBLE = {
    "mail.log": re.compile(r"reject: |milter-reject|status=(bounced|deferred|expired)"
                           r"| (warning|error|fatal|panic): "),
    "dovecot.log": re.compile(r"(Error|Fatal|Panic): "),
}
_TROUBLE_OF_OURS = re.compile(r" (refuse|defer) reason=|would-refuse="
                              r"| (WARNING|ERROR|CRITICAL) |Traceback")


class NetworkHost(Host):
    """A mail host that finds others by DNS, and signs."""

    site: NetworkSite

    def __init__(self, site: NetworkSite):
        super().__init__(site, alone=False)
        self._seen: dict[str, int] = {}

    def begin(self, kit: Kit) -> None:
        """Set everything up and start it; all is ready when this returns."""
        stock.write(self.site, alone=False)
        stock.CERTIFICATE.write_text(kit.certificate)
        stock.KEY.write_text(kit.key)
        AUTHORITY.write_text(kit.authority)
        milter = f"unix:{MILTER.relative_to('/var/spool/postfix')}"
        stock.postconf("-e", {
            "smtp_tls_security_level": "may", "smtp_tls_CAfile": str(AUTHORITY),
            "smtp_tls_loglevel": "1",
            "smtpd_milters": milter, "non_smtpd_milters": milter,
            "internal_mail_filter_classes": "bounce", "milter_default_action": "tempfail",
            # what has to wait waits for seconds, not for minutes
            "queue_run_delay": "3s", "minimal_backoff_time": "3s", "maximal_backoff_time": "10s"})
        self._start_opendkim(kit.dkim_keys)
        self.serve(bool(self.site.chat_domain))
        if self.site.chat_domain:   # all phones come from one address
            self.configure(self.ini.read_text().replace(
                "\n#max_client_signups_per_hour = 30", "\nmax_client_signups_per_hour = 1000"))

    # -- people ------------------------------------------------------------------------------

    def takes_cleartext(self, address: str) -> None:
        self.chatmaild("accounts", "set", address, "--incoming-cleartext", "yes")

    def take_messages_of(self, octets: int) -> None:
        """Raise both limits, Postfix's and ours."""
        stock.postconf("-e", {"message_size_limit": str(octets)})
        self.reload_postfix()
        self.configure(re.sub("^#?max_message_size = .*", f"max_message_size = {octets}",
                              self.ini.read_text(), flags=re.MULTILINE))

    def submit(self, user: str, password: str, sender: str, recipients: list[str],
               message: bytes) -> None:
        """Send as a user of this host; the message is accepted when this returns."""
        with self.smtp(user, password) as smtp:
            smtp.sendmail(sender, recipients, message)

    def inbox(self, address: str, words: str) -> bytes:
        """The message of a chat user that has these words, once it is there."""
        def found() -> bytes | None:
            with self.imap(address, PASSWORD) as imap:
                imap.select()
                for number in imap.search(None, "ALL")[1][0].split():
                    message = imap.fetch(number.decode(), "(BODY.PEEK[])")[1][0][1]
                    if words.encode() in message:
                        return message
            return None
        return until(found, f"{words!r} in the mailbox of {address}", 120, pause=0.3)

    def size_of_inbox(self, address: str) -> int:
        with self.imap(address, PASSWORD) as imap:
            return int(imap.select()[1][0])

    def spool(self, user: str, words: str) -> bytes:
        """What the mailbox of an ordinary user holds, once it has these words."""
        path = Path("/var/mail") / user
        return until(lambda: path.exists() and words.encode() in path.read_bytes()
                     and path.read_bytes(), f"{words!r} in the mailbox of {user}", 120, pause=0.1)

    def alias(self, name: str, target: str) -> None:
        """Mail to the ordinary address `name` goes there: an address, or "|command"."""
        with open("/etc/aliases", "a") as aliases:
            aliases.write(f'{name}: "{target}"\n')
        self.run("newaliases")
        self.reload_postfix()       # smtpd looks into the table that it opened before

    def program(self, name: str, text: str) -> str:
        """Write an executable that anybody may run; its path."""
        path = Path("/usr/local/bin") / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    # -- what it says ------------------------------------------------------------------------

    def refusals(self) -> list[str]:
        """What Postfix or the filters refused, deferred or could not do, and every error of ours,
        since the last call: a line each, with the log's name in front."""
        found = []
        for name, text in self.logs().items():
            fresh = text[self._seen.get(name, 0):]
            fresh = fresh[:fresh.rfind("\n") + 1]
            self._seen[name] = self._seen.get(name, 0) + len(fresh)
            pattern = _TROUBLE.get(name, _TROUBLE_OF_OURS)
            found += [f"{name}: {line}" for line in fresh.splitlines() if pattern.search(line)]
        return found

    def _start_opendkim(self, keys: dict[str, str]) -> None:
        directory = Path("/etc/dkimkeys")
        directory.mkdir(exist_ok=True)
        for domain, key in keys.items():
            path = directory / domain
            path.write_text(key)
            path.chmod(0o600)
            shutil.chown(path, "opendkim", "opendkim")
        tables = {
            "key.table": "".join(f"{domain} {domain}:{SELECTOR}:{directory}/{domain}\n"
                                 for domain in keys),
            "signing.table": "".join(f"*@{domain} {domain}\n" for domain in keys)
            + f"*@{self.site.name} {self.site.domain}\n"}
        for name, text in tables.items():
            (directory / name).write_text(text)
        configuration = Path("/etc/opendkim.conf")
        configuration.write_text(f"""\
Mode sv
KeyTable refile:{directory}/key.table
SigningTable refile:{directory}/signing.table
Canonicalization relaxed/simple
OversignHeaders From
AuthservID {self.site.name}
Socket local:{MILTER}
UserID opendkim:postfix
UMask 007
SyslogSuccess yes
""")
        MILTER.parent.mkdir()
        shutil.chown(MILTER.parent, "opendkim", "postfix")
        MILTER.parent.chmod(0o750)
        subprocess.Popen(["/usr/sbin/opendkim", "-f", "-x", configuration])
        until(MILTER.exists, "OpenDKIM to listen")


def main(kind: type[NetworkHost] = NetworkHost) -> None:
    name, descriptor = sys.argv[1:]
    host = kind(SITES[name])
    calls = Connection(int(descriptor))
    os.set_inheritable(int(descriptor), False)
    while True:
        try:
            method, arguments, options = calls.recv()
        except EOFError:
            return
        try:
            answer = True, getattr(host, method)(*arguments, **options)
        except Exception:   # whatever it is, the test is told
            answer = False, traceback.format_exc()
        calls.send(answer)


if __name__ == "__main__":
    main()
