"""Inside one of several hosts that serve the same chat domain: see `network.agent`.

    python3 -m cluster.agent SITE DESCRIPTOR
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from network.agent import AUTHORITY, NetworkHost, main
from rig import dovecot, postfix, processes
from rig.debian import own_suite
from rig.unpacked import unpacked
from rig.until import until
from rig.wiring import sh_blocks

_TRUST = {"bookworm": "ssl_ca = <{}\nssl_require_crl = no\n", "trixie": "ssl_client_ca_file = {}\n"}
"""The host's own setting for Dovecot, which stays as it is; see `wire` for Postfix."""


class ClusterHost(NetworkHost):
    """A host that was alone until `join`."""

    def join(self, databases: list[str]) -> None:
        """Become one of the hosts of the chat domain, by the lines of doc/several-hosts.md."""
        connection = Path("/etc/chatmaild/directory.conf")
        connection.write_text(f"host={','.join(databases)} dbname=chatmaild user=chatmaild "
                              f"sslmode=verify-full sslrootcert={AUTHORITY}\n")
        shutil.chown(connection, "root", "_chatmaild")
        connection.chmod(0o640)
        self.configure(self.ini.read_text().replace("\n#directory =", f"\ndirectory = {connection}")
                       .replace("\n#node =", f"\nnode = {self.site.name}"))
        self.chatmaild("directory", "join", self.site.address)
        self.chatmaild("directory", "import")

    def serve_ssh(self) -> None:
        """Let root in by ssh, by the keys of `admit`."""
        program = Path("/usr/sbin/sshd")
        if not program.exists():
            shutil.copy(unpacked("openssh-server") / "usr/sbin/sshd", program)
            self.run("useradd", "--system", "sshd")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.run("ssh-keygen", "-A")
        self.run(program, "-f", "/dev/null")
        until(lambda: self.run("ss", "-Hltn", "sport = 22").stdout, "sshd to listen")

    def make_key(self, other: str) -> str:
        """Make the key for moves to the host `other`, by doc/several-hosts.md; returns the line
        that has to go there."""
        block, = sh_blocks("doc/several-hosts.md")
        script = re.sub("^other=.*", f"other={other}", block, flags=re.MULTILINE)
        return self.run("sh", "-exc", script).stdout.splitlines()[-1]

    def admit(self, line: str) -> None:
        """Whoever has the key in this line may do what it says."""
        directory = Path("/root/.ssh")
        directory.mkdir(0o700, exist_ok=True)
        (directory / "authorized_keys").write_text(f"{line}\n")

    def ask_of(self, node: str, *command: str) -> tuple[int, str]:
        """Exit code and output of a command that the key for moves is to run on another host."""
        done = self.run("runuser", "-u", "_chatmaild", "--", "ssh", "-l", "root", node, *command,
                        check=False)
        return done.returncode, done.stdout

    def move(self, address: str, node: str) -> None:
        """Returns when the account lives on the host `node`."""
        self.chatmaild("directory", "move", address, node)

    def drain(self, *arguments: str) -> None:
        """Do what `chatmaild directory drain` does with these."""
        self.chatmaild("directory", "drain", *arguments)

    def wire(self) -> None:
        """Take the other hosts in."""
        self._write_trust(str(AUTHORITY))
        self.run("postconf", "-e", f"lmtp_tls_CAfile={AUTHORITY}")
        self.chatmaild("wire", "--apply")
        until(lambda: self.run("ss", "-Hltn", f"src {self.site.address}:24").stdout,
              "Dovecot to listen for the other hosts")

    def _write_trust(self, authorities: str) -> None:
        Path("/etc/dovecot/conf.d/20-authority.conf").write_text(
            _TRUST[own_suite()].format(authorities))

    def trust_in_dovecot(self, authorities: str = str(AUTHORITY)) -> None:
        """Logins are passed on to whoever these authorities have certified, soon."""
        self._write_trust(authorities)
        self.run("doveadm", "reload")

    def findings(self, code: str, authorities: str = str(AUTHORITY)) -> list[str]:
        """What is bad by `chatmaild check`, of findings whose code begins so."""
        self.run("postconf", "-e", f"lmtp_tls_CAfile={authorities}")
        found = json.loads(self.chatmaild("check", "--json", check=False).stdout)["findings"]
        return [f"{each['place']}: {each['text']}" for each in found
                if each["code"].startswith(code) and each["level"] != "ok"]

    def has_nft(self, script: str) -> None:
        """Its nft(8) is that shell script."""
        path = Path("/usr/sbin/nft")
        path.write_text(script)
        path.chmod(0o755)

    def filter_packets(self, rules: str) -> None:
        """These rules of nftables hold from now on."""
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def checked(self, place: str) -> str:
        """What `chatmaild check` says of that place, good or bad."""
        done = self.chatmaild("check", "--json", check=False)
        return " ".join(each["text"] for each in json.loads(done.stdout)["findings"]
                        if each["place"] == place)

    def status_by(self, authorities: str) -> str:
        """What `directory status` complains of if these authorities count for the database."""
        text = self.ini.read_text()
        connection = re.search("^directory = (.*)", text, re.MULTILINE)[1]
        other, ini = Path("/etc/chatmaild/other.conf"), Path("/etc/chatmaild/other.ini")
        other.write_text(Path(connection).read_text().replace(str(AUTHORITY), authorities))
        shutil.copy(self.ini, ini)
        ini.write_text(text.replace(connection, str(other)))
        shutil.chown(other, "root", "_chatmaild")
        done = self.chatmaild("-c", ini, "directory", "status", check=False)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def move_twice(self, address: str, node: str) -> bool:
        """Move it by two commands at a time; again if both gave way. Whether one said it did."""
        command = ["chatmaild", "directory", "move", address, node]
        both = [subprocess.Popen(command) for _ in range(2)]
        codes = [process.wait() for process in both]
        return 0 in codes or subprocess.run(command).returncode == 0

    def freeze_dovecot(self) -> None:
        """All of Dovecot stops, and still seems to listen."""
        self._frozen = processes.running(*dovecot.PROGRAMS)
        for process in self._frozen:
            process.signal(signal.SIGSTOP)

    def thaw_dovecot(self) -> None:
        for process in self._frozen:
            process.signal(signal.SIGCONT)

    def lift_the_rate(self) -> None:
        """Everybody may send many thousand messages a minute, and at once."""
        self.configure(re.sub("^#?(max_user_send_per_minute|max_user_send_burst_size) = .*",
                              r"\1 = 60000", self.ini.read_text(), flags=re.MULTILINE))

    def ask_for_invitations(self, ask: bool) -> None:
        """Only the invited get an account; or everybody does."""
        self.configure(re.sub("^#?signup = .*", f"signup = {'invite' if ask else 'open'}",
                              self.ini.read_text(), flags=re.MULTILINE))

    def invitation(self) -> tuple[str, str]:
        """An address and a password that make an account of it, once."""
        link = self.chatmaild("invite", "create").stdout.strip()
        address, _, values = link.removeprefix("dclogin:").partition("?")
        return address, parse_qs(values)["p"][0]

    def ring_by(self, gateway: str) -> None:
        """Notifications go to the push gateway at this URL."""
        text = re.sub("^#?push_gateway = .*", f"push_gateway = {gateway}", self.ini.read_text(),
                      flags=re.MULTILINE)
        self.configure(text)

    def memory_of(self, name: str) -> int:
        """Octets that this service of ours holds for itself alone, shared ones by their part."""
        process = self.services[name].process
        assert process
        return _memory(process.pid)

    def memory_of_dovecot(self) -> int:
        return _of_all(_memory, *dovecot.PROGRAMS)

    def work_of(self, *programs: str) -> float:
        """Seconds of CPU that these took so far, and the children that they have buried."""
        return _of_all(_ticks, *programs) / os.sysconf("SC_CLK_TCK")

    def lose_power(self) -> None:
        """All servers and services are killed at once."""
        postfix.kill()
        dovecot.kill()
        for service in self.services.values():
            service.end()

    def boot(self) -> None:
        """They start as after `lose_power`."""
        for service in self.services.values():
            service.start()
        self.start_dovecot()
        self.start_postfix()

    def submit_all(self, user: str, password: str, sender: str, recipients: list[str],
                   messages: list[bytes]) -> None:
        """As `submit`, in one session."""
        with self.smtp(user, password) as smtp:
            for message in messages:
                smtp.sendmail(sender, recipients, message)

    def try_again(self) -> None:
        """Postfix tries at once to deliver what is in its queue."""
        self.run("postqueue", "-f")

    def waiting(self) -> list[str]:
        """What is in Postfix's queue, a line for each recipient."""
        return postfix.waiting()

    def network_card(self) -> str:
        """Its address, by which others on the wire know it."""
        return Path("/sys/class/net/world/address").read_text().strip()

    def never_doubts(self, address: str, card: str) -> None:
        """It sends packets for this address whether somebody takes them or not."""
        self.run("ip", "neighbour", "replace", address, "lladdr", card, "nud", "permanent", "dev",
                 "world")

    def trust_in_postfix(self, authorities: str = str(AUTHORITY)) -> None:
        """Whoever these authorities have certified gets mail."""
        self.run("postconf", "-e", f"lmtp_tls_CAfile={authorities}")
        self.reload_postfix()

    def lead(self, ways: dict[str, str]) -> None:
        """Mail for these recipients goes to the hosts at these addresses; with none as before."""
        own = re.sub(r"^inline:{.*}, ", "", self.run("postconf", "-h", "transport_maps").stdout)
        pairs = " ".join(f"{{ {recipient} = chat-node:inet:[{address}]:24 }}"
                         for recipient, address in ways.items())
        self.run("postconf", "-e", "transport_maps = "
                 + (f"inline:{{ {pairs} }}, " if ways else "") + own.strip())
        self.reload_postfix()

    def people(self) -> set[str]:
        """The addresses that have a mailbox here."""
        return {path.parent.name for path in self.mailboxes.glob("*/*/password")}

    def reconcile(self) -> dict[str, list[str]]:
        """What `chatmaild directory reconcile` found amiss."""
        done = self.chatmaild("directory", "reconcile", "--json", check=False)
        return {name: found for name, found in json.loads(done.stdout).items()
                if found and isinstance(found, list)}

    def messages(self, address: str) -> int:
        return sum(len(os.listdir(self.mailbox(address) / name)) for name in ("new", "cur"))

    def await_messages(self, address: str, count: int) -> None:
        """Returns when so many are on the disk."""
        until(lambda: self.messages(address) >= count, f"{count} messages", 120)

    def has_mailbox(self, address: str) -> bool:
        return (self.mailbox(address) / "password").exists()

    def listing(self, address: str) -> list[str]:
        """The names of all messages of an account, with UIDs and flags as Dovecot has them."""
        done = self.run("doveadm", "-f", "flow", "fetch", "-u", address, "uid flags hdr.message-id",
                        "all")
        return sorted(done.stdout.splitlines())


def _of_all(figure: Callable[[int], int], *programs: str) -> int:
    """The sum over all processes of these programs, some of which may be ending."""
    total = 0
    for process in processes.running(*programs):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += figure(process.pid)
    return total


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def _memory(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)[1]) * 1024


if __name__ == "__main__":
    main(ClusterHost)
