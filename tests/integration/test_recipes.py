"""The recipes of doc/recipes.md and doc/backup.md, as they stand."""

import contextlib
import socket
import threading
from pathlib import Path

import chatmessages
import pytest
from rig.files import kept, replace
from rig.host import PASSWORD
from rig.until import until
from rig.wiring import sh_blocks

FILES = Path("/etc/postfix/chat_tls_policy"), Path("/etc/postfix/chat_partners")
STRANGER = "alice@sender.example"


@pytest.fixture(scope="module", autouse=True)
def recipes(running_host):
    """All of them at once, and TLS demanded of strangers."""
    ini = running_host.ini.read_text()
    with kept("/etc/postfix/main.cf", "/etc/postfix/master.cf"):
        running_host.run("sh", "-exc", "".join(sh_blocks("doc/recipes.md")))
        running_host.run("postconf", "-P", "chat-smtp/unix/smtp_tcp_port=2525")
        replace(FILES[1], "bad.example REJECT not with us\n")
        running_host.reload_postfix()
        running_host.configure(ini.replace("\n#incoming_tls = may", "\nincoming_tls = require"))
        yield
    for path in FILES:
        path.unlink()
    running_host.reload_postfix()
    running_host.configure(ini)


def rcpt(host, recipient, sender=STRANGER, tls=False):
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.ehlo()
        if tls:
            smtp.starttls()
            smtp.ehlo()
        smtp.mail(sender)
        return smtp.rcpt(recipient)[0]


def test_strangers_come_to_chat_over_tls_and_to_others_as_they_like(host, person):
    assert rcpt(host, person) == 530
    assert rcpt(host, person, tls=True) == 250
    assert rcpt(host, "bob@example.org") == 250


def test_the_list_of_partners_holds_both_ways_and_for_chat_alone(host, person):
    assert rcpt(host, person, "mallory@bad.example", tls=True) == 554
    assert rcpt(host, "bob@example.org", "mallory@bad.example") == 250
    with host.smtp(person, PASSWORD) as smtp:
        smtp.mail(person)
        assert smtp.rcpt("mallory@bad.example")[0] == 554
        assert smtp.rcpt("x@[127.0.0.77]")[0] == 250


class WithoutTls:
    """An SMTP server that offers no TLS; `heard` is what was said to it."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.77", 2525))
        self.heard = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(ConnectionError), client, client.makefile("rwb") as lines:
                lines.write(b"220 plain.example ESMTP\r\n")
                lines.flush()
                for line in lines:
                    self.heard.append(line[:4].upper())
                    lines.write(b"250 plain.example\r\n")
                    lines.flush()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)       # accept(2) in the thread ends
        self._listener.close()


def test_mail_of_chat_users_waits_where_there_is_no_tls(host, person):
    server = WithoutTls()
    try:
        with host.smtp(person, PASSWORD) as smtp:
            smtp.sendmail(person, ["x@[127.0.0.77]"],
                          chatmessages.encrypted(person, "x@[127.0.0.77]", "hello"))
        host.wait_for_log("TLS is required, but was not offered")
        assert b"MAIL" not in server.heard
    finally:
        server.close()
        host.run("postsuper", "-d", "ALL")
    until(lambda: "empty" in host.run("postqueue", "-p").stdout, "an empty queue")


def test_an_account_comes_back_from_the_backup(host, person):
    back_up, restore = sh_blocks("doc/backup.md")
    host.run("sh", "-exc", back_up)
    try:
        host.chatmaild("accounts", "delete", "--yes", "--block", person)
        host.run("rm", "-r", host.mailbox(person))
        host.run("sh", "-exc", restore)
        host.imap(person, PASSWORD).logout()
        host.run("mkdir", "/root/restored")
        host.run("tar", "-C", "/root/restored", "-xf", "/root/chatmaild-backup.tar")
        home = host.mailbox(person)
        host.chatmaild("accounts", "delete", "--yes", person)
        host.chatmaild("accounts", "import", f"/root/restored{home}")
        host.imap(person, PASSWORD).logout()
    finally:
        host.run("rm", "-rf", "/root/restored", "/root/chatmaild-backup.tar")
