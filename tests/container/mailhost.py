"""A machine that is a mail host: what its admin and its users do."""

import imaplib
import re
import shutil
import smtplib
import ssl
import textwrap
from pathlib import Path

from container.machine import TREE, Machine
from rig import stock
from rig.clients import logged_in
from rig.until import until

CHAT_DOMAIN = "chat.example.org"
INI = "/etc/chatmaild/chatmaild.ini"

# The machine that runs the tests may be busy and small; accounts are to be made all the same.
_BUSY = {"max_load_1m": "1000", "min_available_memory": "1M", "min_free_disk_space": "1M",
         "min_free_inodes": "100"}


def sh_blocks(document: str) -> list[str]:
    """The blocks of a document of ours that are there to be run, in order."""
    return [textwrap.dedent(block) for block in re.findall(
        r"^ *```sh\n(.*?)^ *```$", (TREE / document).read_text(), re.MULTILINE | re.DOTALL)]


class MailHost(Machine):
    """Postfix and Dovecot for the ordinary domain example.org; chat once it is installed."""

    # -- the admin ---------------------------------------------------------------------------

    def set_up_ordinary_mail(self) -> None:
        self.run("systemctl", "stop", "postfix", "dovecot")
        self.python("from rig import stock; stock.write()")
        self.run("systemctl", "start", "postfix", "dovecot")

    def install(self, package: Path | str, domain: str = "", *options: str) -> str:
        """``apt install`` of a file, or of a package by name; the answer to its question is
        `domain`. Returns the output."""
        self.run("debconf-set-selections", text=f"chatmaild chatmaild/mail_domains string {domain}")
        if isinstance(package, Path):
            shutil.copy(package, self.path("/root"))
            package = f"/root/{package.name}"
        done = self.run("apt-get", "install", "--yes", "--quiet", *options, package, seconds=900)
        return done.stdout + done.stderr

    def follow_readme(self) -> None:
        """Run what README.md tells root to run, as it stands there, in one shell."""
        self.run("sh", "-exc", "".join(sh_blocks("README.md")))

    def allow_accounts_while_busy(self) -> None:
        text = self.path(INI).read_text()
        for key, value in _BUSY.items():
            text, count = re.subn(rf"^#{key} =.*", f"{key} = {value}", text, flags=re.MULTILINE)
            assert count == 1, key
        self.path(INI).write_text(text)
        self.shell("systemctl reload 'chatmaild-*.service'")

    def set_ini(self, key: str, value: str) -> None:
        text = self.path(INI).read_text()
        new, count = re.subn(rf"^#?{key} =.*", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1, key
        self.path(INI).write_text(new)

    # -- the users ---------------------------------------------------------------------------

    def tls(self) -> ssl.SSLContext:
        """Trusts the host's own certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self.path(str(stock.CERTIFICATE))))

    def imap(self, user: str, password: str) -> imaplib.IMAP4_SSL:
        """A logged-in connection. Raises `imaplib.IMAP4.error` if refused."""
        with self.network():
            client = imaplib.IMAP4_SSL("localhost", 993, ssl_context=self.tls(), timeout=60)
        return logged_in(client, user, password)

    def smtp(self, user: str, password: str) -> smtplib.SMTP_SSL:
        """A logged-in connection to submission. Raises `smtplib.SMTPException` if refused."""
        with self.network():
            client = smtplib.SMTP_SSL("localhost", 465, context=self.tls(), timeout=60,
                                      local_hostname="client.example.net")
        return logged_in(client, user, password)

    def deliver_on_port_25(self, sender: str, recipient: str, message: bytes) -> None:
        with self.network():
            client = smtplib.SMTP("localhost", 25, timeout=60, local_hostname="mx.example.net")
        with client:
            client.sendmail(sender, [recipient], message)

    def mail_of(self, imap: imaplib.IMAP4, count: int = 1) -> list[bytes]:
        """The messages of INBOX, once there are at least `count`."""
        def numbers():
            imap.select()
            found = imap.search(None, "ALL")[1][0].split()
            return found if len(found) >= count else None

        return [imap.fetch(number.decode(), "(BODY.PEEK[])")[1][0][1]
                for number in until(numbers, f"{count} messages; the log ends:\n{self.log()}")]

    def log(self, lines: int = 20) -> str:
        """The end of what Postfix, Dovecot and chatmaild logged."""
        return self.run("sh", "-c", f"tail -qn {lines} /var/log/mail.log /var/log/dovecot.log; "
                        f"journalctl --no-pager -n {lines} -u 'chatmaild*'", check=False).stdout
