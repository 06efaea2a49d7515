"""``make demo``: the main job, shown on a private host, one line a step with the server's words."""

import os
import platform
import smtplib
import sys
import time
from collections.abc import Callable, Iterator
from imaplib import IMAP4
from pathlib import Path
from urllib.parse import quote

TREE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "src"), str(TREE / "tests")]

import chatmessages  # noqa: E402
from rig.host import Host  # noqa: E402
from rig.machine import OUTSIDE, REACHABLE  # noqa: E402
from rig.steps import Unexpected, expect, show  # noqa: E402
from rig.stock import ORDINARY_USERS  # noqa: E402

from chatmaild import __version__  # noqa: E402

PASSWORD = "a password nobody knew"
WORDS = "Meet me under the clock at noon"
ALICE, BOB = "alice@example.org", "bob@example.org"


class Demo:
    """The steps, in order. Each returns the server's own reply or raises `Unexpected`."""

    def __init__(self, host: Host):
        self.host = host
        self.anna = f"anna5demo@{host.chat_domain}"
        self.bert = f"bert7demo@{host.chat_domain}"

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "a new address logs in over IMAP, and exists", self.new_over_imap
        yield "a new address logs in over SMTP, and exists", self.new_over_smtp
        yield "an encrypted message is accepted", self.send_encrypted
        yield "and is read over IMAP, decrypted", self.read
        yield "the same words in clear are refused", self.send_clear
        yield "a forged From is refused", self.send_forged
        yield "a wrong password is refused", self.wrong_password
        yield "an ordinary user sends in clear as ever", self.ordinary_sends
        yield "and the other one reads it", self.ordinary_reads
        yield "a message of 21 days is gone after expire", self.expire

    def new_over_imap(self) -> str:
        expect(not self.host.mailbox(self.anna).exists(), "the account existed before")
        with self.host.imap_connection() as imap:
            status, [text] = imap.login(self.anna, PASSWORD)
        expect(self.host.mailbox(self.anna).is_dir(), "there is no account")
        return f"{status} {text.decode().rpartition('] ')[2]}"

    def new_over_smtp(self) -> str:
        expect(not self.host.mailbox(self.bert).exists(), "the account existed before")
        with self.host.smtp() as smtp:
            reply = smtp.login(self.bert, PASSWORD)
        expect(self.host.mailbox(self.bert).is_dir(), "there is no account")
        return _reply(*reply)

    def send_encrypted(self) -> str:
        return self._send(self.anna, chatmessages.encrypted(self.anna, self.bert, WORDS), 250)

    def read(self) -> str:
        with self.host.imap(self.bert, PASSWORD) as imap:
            [message] = self.host.wait_for_mail(imap)
        words = chatmessages.decrypted(message, self.bert)
        expect(words == WORDS and WORDS.encode() not in message, "the message is another one")
        return f'OK, "{words}"'

    def send_clear(self) -> str:
        return self._send(self.anna, chatmessages.cleartext(self.anna, self.bert, WORDS), 523)

    def send_forged(self) -> str:
        return self._send(self.anna, chatmessages.encrypted(self.bert, self.bert, WORDS), 554)

    def wrong_password(self) -> str:
        try:
            self.host.imap(self.anna, "no idea", source="127.0.0.2")
        except IMAP4.error as error:
            return "NO " + str(error.args[0]).removeprefix("b'").removesuffix("'")
        raise Unexpected("it was let in")

    def ordinary_sends(self) -> str:
        with self.host.smtp("alice", ORDINARY_USERS["alice"]) as smtp:
            return _transaction(smtp, ALICE, BOB, chatmessages.cleartext(ALICE, BOB, WORDS), 250)

    def ordinary_reads(self) -> str:
        with self.host.imap("bob", ORDINARY_USERS["bob"]) as imap:
            [message] = self.host.wait_for_mail(imap)
        expect(WORDS.encode() in message, "the message is another one")
        return f'OK, "{WORDS}"'

    def expire(self) -> str:
        later = str(int(time.time()) + 21 * 86400)
        with self.host.imap(self.bert, PASSWORD) as imap:
            before = len(self.host.wait_for_mail(imap))
            self.host.chatmaild("expire", "--now", later, user="_chatmaild")
            imap.select()
            after = len(imap.search(None, "ALL")[1][0].split())
        expect((before, after) == (1, 0), f"{before} message(s) before, {after} after")
        return f"{before} message before, {after} after"

    def _send(self, sender: str, message: bytes, expected: int) -> str:
        with self.host.smtp(sender, PASSWORD) as smtp:
            return _transaction(smtp, sender, self.bert, message, expected)


def _transaction(smtp: smtplib.SMTP, sender: str, to: str, message: bytes, expected: int) -> str:
    for reply in (smtp.mail(sender), smtp.rcpt(to), smtp.data(message)):
        if reply[0] != 250:
            break
    expect(reply[0] == expected, f"{_reply(*reply)} (expected {expected})")
    return _reply(*reply)


def _reply(code: int, text: bytes) -> str:
    return f"{code} {text.decode()}"


def _how_to_connect(demo: Demo) -> None:
    where = f"ih={REACHABLE}&ip=993&is=ssl&sh={REACHABLE}&sp=465&ss=ssl&ic=3"
    link = f"dclogin:{demo.anna}?p={quote(PASSWORD)}&v=1&{where}"
    print(f"""
It is left running, reachable from this machine ({OUTSIDE}) only:

  IMAP {REACHABLE}:993, SMTP {REACHABLE}:465 (TLS, self-signed certificate)
  any new address of nine letters or digits @{demo.host.chat_domain}, with any password from nine
  characters on

  openssl s_client -quiet -crlf -connect {REACHABLE}:993
  {link}

Stop it: sudo make demo-stop""")


def main() -> int:
    started = time.monotonic()
    host = Host()
    release = platform.freedesktop_os_release()["PRETTY_NAME"]
    print(f"\nchatmaild {__version__} on a private {release}", flush=True)
    host.start()
    postfix = host.run("postconf", "-h", "mail_version").stdout.strip()
    dovecot = host.run("dovecot", "--version").stdout.split()[0]
    print(f"Postfix {postfix} and Dovecot {dovecot} were set up, and wired by the commands of "
          f"README.md, in {time.monotonic() - started:.1f} s\n", flush=True)
    demo = Demo(host)
    results = [show(*step) for step in demo.steps()]
    print(f"\n{sum(results)} of {len(results)} as expected, in "
          f"{time.monotonic() - started:.1f} s.", flush=True)
    if not all(results):
        print(host.log_tail(), file=sys.stderr)
        return 1
    if os.environ.get("KEEP") == "1":
        _how_to_connect(demo)
    else:
        host.stop()
        print("Everything has ended; nothing is left behind.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
