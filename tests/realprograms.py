"""PGP/MIME messages of mail programs that Debian has, made by the programs themselves."""

import os
import pty
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.encoders import encode_7or8bit
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from pathlib import Path

from openpgpmessages import crlf, gpg_symmetric

SENDER = "alice@chat.test"
SECONDS = 180

MUTTRC = """\
set from = "{sender}"
set realname = "Alice"
set sendmail = "{home}/keep"
set editor = "true"
set abort_unmodified = no
set crypt_use_gpgme = yes
set crypt_autoencrypt = yes
set crypt_opportunistic_encrypt = no
set copy = no
set folder = {home}
set spoolfile = {home}/inbox
set header_cache = ""
"""

MIME_LITE = r"""
use MIME::Lite;
my $armored = do { local $/; <STDIN> };
my $message = MIME::Lite->new(
    From => 'alice@chat.test', To => 'bob@example.org', Subject => '...',
    Type => 'multipart/encrypted; protocol="application/pgp-encrypted"');
$message->attach(Type => 'application/pgp-encrypted', Data => "Version: 1\n", Encoding => '7bit');
$message->attach(Type => 'application/octet-stream', Data => $armored, Encoding => '7bit',
                 Filename => 'encrypted.asc');
print $message->as_string;
"""


class Missing(Exception):
    """A program is not installed."""


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mua") as name:
        try:
            yield Path(name)
        finally:
            subprocess.run(["gpgconf", "--homedir", name, "--kill", "all"], check=False)


def mutt(count: int) -> list[bytes]:
    """Messages that mutt encrypts and hands to sendmail, `count` of them."""
    if not shutil.which("mutt"):
        raise Missing("mutt")
    with _home() as home:
        subprocess.run(["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "",
                        "--quick-gen-key", SENDER, "future-default"], check=True,
                       stderr=subprocess.DEVNULL)
        (home / "muttrc").write_text(MUTTRC.format(sender=SENDER, home=home))
        (home / "body").write_text("Hello\n")
        keep = home / "keep"
        keep.write_text(f"#!/bin/sh\ncat >{home}/kept\n")
        keep.chmod(0o755)
        return [_mutt_once(home) for _ in range(count)]


def _mutt_once(home: Path) -> bytes:
    command = ["mutt", "-n", "-F", str(home / "muttrc"), "-s", "Hello", "-i", str(home / "body"),
               SENDER]
    child, terminal = pty.fork()
    if not child:
        os.environ.update(GNUPGHOME=str(home), HOME=str(home), TERM="vt100", LC_ALL="C")
        os.execvp(command[0], command)
    shown, answers = b"", {b"To: ": b"\r", b"Subject: ": b"\r", b"y:Send": b"y"}
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                shown += os.read(terminal, 4096)
            except OSError:     # it ended
                break
            for question in [question for question in answers if question in shown]:
                os.write(terminal, answers.pop(question))
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    kept = home / "kept"
    assert kept.exists(), shown[-2000:]
    return kept.read_bytes()


def mime_lite(count: int) -> list[bytes]:
    """Perl's MIME::Lite."""
    if subprocess.run(["perl", "-MMIME::Lite", "-e", "1"], stderr=subprocess.DEVNULL).returncode:
        raise Missing("libmime-lite-perl")
    return [subprocess.run(["perl", "-e", MIME_LITE], input=gpg_symmetric(300), check=True,
                           stdout=subprocess.PIPE).stdout for _ in range(count)]


def python(count: int) -> list[bytes]:
    """The standard library, as bots use it."""
    found = []
    for _ in range(count):
        message = MIMEMultipart("encrypted", protocol="application/pgp-encrypted")
        message["From"], message["To"], message["Subject"] = SENDER, "bob@example.org", "..."
        message.attach(MIMEApplication("Version: 1\n", "pgp-encrypted", encode_7or8bit))
        message.attach(MIMEApplication(gpg_symmetric(300).decode(), "octet-stream", encode_7or8bit,
                                       name="encrypted.asc"))
        found.append(bytes(message))
    return found


PROGRAMS = {"mutt": mutt, "MIME::Lite": mime_lite, "Python": python}
OUTGOING = ("mutt", "Python")
"""Those that people submit with."""


def split(message: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and body as a milter sees them."""
    head, _, body = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    parsed = message_from_bytes(head + b"\n\n")
    return [(name, value.encode("utf-8", "surrogateescape")) for name, value in parsed.items()], (
        crlf(body))
