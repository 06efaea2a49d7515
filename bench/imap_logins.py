#!/usr/bin/python3
"""Whole IMAP logins a second through Dovecot: our Lua file against a passwd-file.

    sudo tests/rig/enter [--suite trixie] -- bench/imap_logins.py [--rounds 5] [--seconds 4]

Both on the same Dovecot in the private host, with the same hash scheme and the same userdb
fields: the passwd-file gives its users what `doveadm user` says of a chat user. They are measured
in turns; the ratio of the medians is ours over the passwd-file's.
"""

import argparse
import imaplib
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from rig.host import Host  # noqa: E402

USERS = 100
PASSWORD = "a password of the bench"
PLAIN_DOMAIN = "plain.example"
CONF = {
    "2.3": "passdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n"
           "userdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n",
    "2.4": "passdb passwd-file {\n  passwd_file_path = /etc/dovecot/users\n}\n"
           "userdb passwd-file {\n  passwd_file_path = /etc/dovecot/users\n}\n",
}
OWN = ("uid", "gid", "home", "user")


def chat_user(host: Host, number: int) -> str:
    return f"user{number:05d}@{host.chat_domain}"


def write_passwd_file(host: Host, release: str) -> None:
    """One line for each chat user, in another domain, with the same hash and fields."""
    lines = []
    service = "service=imap" if release == "2.3" else "protocol=imap"
    for number in range(USERS):
        address = chat_user(host, number)
        hashed = (host.mailbox(address) / "password").read_text().strip()
        fields = dict(line.split("\t", 1) for line in subprocess.run(
            ["doveadm", "user", "-x", service, address], check=True, text=True,
            stdout=subprocess.PIPE).stdout.splitlines()[1:] if "\t" in line)
        fields["mail_plugins"] = fields["mail_plugins"].replace(" ", ",")
        extra = " ".join(f"userdb_{key}={value}" for key, value in fields.items()
                         if key not in OWN and " " not in value)     # blanks cannot stand there
        lines.append(f"user{number:05d}@{PLAIN_DOMAIN}:{hashed}:{fields['uid']}:{fields['gid']}::"
                     f"{fields['home']}::{extra}\n")
    Path("/etc/dovecot/users").write_text("".join(lines))


def logins(host: Host, domain: str, clients: int, seconds: float) -> float:
    """Logins a second of `clients` threads, each with users of its own."""
    counts = [0] * clients
    end = time.monotonic() + seconds

    def client(index: int) -> None:
        while time.monotonic() < end:
            number = index + clients * (counts[index] % (USERS // clients))
            imap = imaplib.IMAP4("127.0.0.1")
            imap.login(f"user{number:05d}@{domain}", PASSWORD)
            imap.logout()
            counts[index] += 1

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--clients", type=int, default=4)
    args = parser.parse_args()
    host = Host()
    host.start()
    try:
        release = ".".join(host.run("dovecot", "--version").stdout.split(".")[:2])
        Path("/etc/dovecot/conf.d/06-bench.conf").write_text(
            CONF[release] + "disable_plaintext_auth = no\n" if release == "2.3"
            else CONF[release] + "auth_allow_cleartext = yes\n")
        Path("/etc/dovecot/users").touch()
        host.restart_dovecot()
        for number in range(USERS):
            imap = imaplib.IMAP4("127.0.0.1")
            imap.login(chat_user(host, number), PASSWORD)
            imap.logout()
        write_passwd_file(host, release)
        rates: dict[str, list[float]] = {host.chat_domain: [], PLAIN_DOMAIN: []}
        for domain in rates:
            logins(host, domain, args.clients, 1)
        for _ in range(args.rounds):
            for domain, found in rates.items():
                found.append(logins(host, domain, args.clients, args.seconds))
        ours, plain = (statistics.median(found) for found in rates.values())
        print(f"Dovecot {release}: {ours:.0f} logins/s of chat users, {plain:.0f} of a "
              f"passwd-file, ratio {ours / plain:.2f}")
    finally:
        host.stop()


if __name__ == "__main__":
    main()
