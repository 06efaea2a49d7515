"""Do our services answer, as the users that Postfix and Dovecot ask as?"""

import contextlib
import dataclasses
import grp
import os
import socket
import threading
from pathlib import Path

import pytest
from captured import CONFIG, bad, postfix, with_option, with_parameters

from chatmaild.admin.check import hostfiles, sockets
from chatmaild.admin.check.hostfiles import Identity
from chatmaild.admin.check.sockets import MILTER_QUESTION, Door, Question, dict_question
from chatmaild.config import inifile

ME = Identity("me", os.geteuid(), os.getegid(), frozenset({os.getegid()}))
NOBODY = Identity("nobody", 65534, 65534, frozenset({65534}))

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@contextlib.contextmanager
def server(path, answer):
    """Takes one connection and gives `answer`; None: says nothing until the client leaves."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer) if answer is not None else connection.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with socket.socket(socket.AF_UNIX) as last, contextlib.suppress(OSError):
            last.connect(str(path))
        thread.join()
        listener.close()


def judged(door, ask=sockets.ask_as):
    return sockets.judge(door, ask).code


@pytest.fixture
def door(tmp_path):
    return Door("doveauth", str(tmp_path / "doveauth.sock"), ME, dict_question("auth", "shared/x"))


@pytest.mark.parametrize("answer, code", [
    (b"N\n", "socket"),
    (b"O{}\n", "socket"),
    (b"F\tbroken\n", "service-ill"),
    (b"", "service-ill"),
])
def test_dict_service(door, answer, code):
    with server(door.path, answer):
        assert judged(door) == code


@pytest.mark.parametrize("answer, code", [
    (b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0\0\0\0\0", "socket"),
    (b"220 smtp\r\n", "service-ill"),
    (b"", "service-ill"),
])
def test_milter(door, answer, code):
    with server(door.path, answer):
        assert judged(Door("filtermail", door.path, ME, MILTER_QUESTION)) == code


def test_service_that_hangs(door, monkeypatch):
    monkeypatch.setattr(sockets, "TIMEOUT", 0.05)
    with server(door.path, None):
        assert judged(door) == "service-hangs"


def test_socket_missing_or_dead(door):
    assert judged(door) == "socket-missing"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(door.path)
    assert judged(door) == "socket-dead"


@as_root
def test_socket_that_the_other_program_may_not_use(public_path):
    path = str(public_path / "doveauth.sock")
    other = Door("doveauth", path, NOBODY, dict_question("auth", "shared/x"))
    with server(path, b"N\n"):
        os.chmod(path, 0o600)
        finding = sockets.judge(other, sockets.ask_as)
    assert finding.code == "socket-mode"
    assert "user nobody cannot use it; it is a socket of root:root with mode 0600" in finding.text


@as_root
def test_asks_from_within_the_chroot(tmp_path):
    (tmp_path / "chatmaild").mkdir()
    path = str(tmp_path / "chatmaild" / "filtermail.sock")
    inside = Door("filtermail", path, ME, Question(b"?", (b"!",)), str(tmp_path))
    with server(path, b"!"):
        assert judged(inside) == "socket"
    link = tmp_path / "chatmaild" / "linked.sock"
    link.symlink_to(path)   # leads out of the chroot, where it does not exist
    assert judged(Door("filtermail", str(link), ME, inside.question, str(tmp_path))) \
        == "socket-missing"


def test_not_root_says_what_it_could_not_ask(door, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def refuse(door):
        raise PermissionError
    assert judged(door, refuse) == "socket"
    assert sockets.judge(door, refuse).level == "unseen"


def test_every_socket_of_ours_is_asked():
    host = postfix("bookworm")
    asked = [(d.service, d.path, d.chroot) for d in sockets.doors(CONFIG, host)]
    queue = "/var/spool/postfix"
    assert asked == [
        ("doveauth", "/run/chatmaild/doveauth.sock", "/"),
        ("lastlogin", "/run/chatmaild/lastlogin.sock", "/"),
        ("metadata", "/run/chatmaild/metadata.sock", "/"),
        ("metadata", "/run/chatmaild/metadata-lmtp.sock", "/"),
        ("recipients", "/run/chatmaild/recipients.sock", "/"),
        ("filtermail-incoming", f"{queue}/chatmaild/filtermail-incoming.sock", queue),
        ("filtermail", f"{queue}/chatmaild/filtermail.sock", queue),
    ]


def test_one_of_several_hosts_answers_postfix_in_its_chroot():
    several = dataclasses.replace(CONFIG, directory=Path("/etc/chatmaild/directory.conf"))
    door, = (d for d in sockets.doors(several, postfix("bookworm")) if d.service == "homes")
    assert (door.path, door.chroot) == ("/var/spool/postfix/chatmaild/homes.sock",
                                        "/var/spool/postfix")
    for answer, code in ((b"END\r\n", None), (b"VALUE x 0 9\r\nretry:x\r\nEND\r\n", None),
                         (b"SERVER_ERROR\r\n", "service-ill")):
        finding = sockets.judge(door, lambda door: answer)
        assert (finding.code if finding.level == "failure" else None) == code
    assert "chatmaild-recipients" in sockets.judge(door, lambda door: b"").cure


def test_milter_of_a_service_without_chroot_and_absolute_path():
    host = with_parameters(postfix("trixie"), queue_directory="/q")
    host = with_option(host, "smtp/inet", "smtpd_milters", "unix:/filtermail-incoming.sock")
    paths = [d.path for d in sockets.doors(CONFIG, host)]
    assert "/q/filtermail-incoming.sock" in paths       # that is what a chroot makes of it
    assert "/q/chatmaild/filtermail.sock" in paths


def test_several_findings():
    def ask(door):
        return b"\0\0\0\x0dO" if door.question is MILTER_QUESTION else b"N\n"
    assert bad(sockets.check(CONFIG, postfix("bookworm"), ask)) == {}
    assert bad(sockets.check(CONFIG, None, lambda door: b"")) == {"service-ill": "failure"}


def test_obstacles(public_path):
    secret = public_path / "secret"
    secret.mkdir(mode=0o700)
    file = secret / "file"
    file.touch()
    file.chmod(0o644)
    stranger = Identity("x", 54321, 54321, frozenset({54321}))
    root = Identity("root", 0, 0, frozenset({0}))
    assert hostfiles.obstacle(root, str(file), hostfiles.READ) is None
    assert "secret is a directory of" in hostfiles.obstacle(stranger, str(file), hostfiles.READ)
    assert hostfiles.obstacle(root, str(secret / "gone"), hostfiles.READ) == \
        f"{secret}/gone is missing"
    group = Identity("g", 54321, 1, frozenset({os.stat(secret).st_gid}))
    secret.chmod(0o710)
    assert hostfiles.obstacle(group, str(file), hostfiles.READ) is None
    file.chmod(0o604)       # the group is asked first, and refused
    assert "file is a file of" in hostfiles.obstacle(group, str(file), hostfiles.READ)


def test_identity_has_the_extra_groups():
    group = grp.getgrall()[-1]
    me = hostfiles.identity("root", group.gr_name, "no-such-group")
    assert me.uid == 0 and {0, group.gr_gid} <= me.groups
    assert hostfiles.identity("no-such-user") is None


def test_configuration_for_other_owner():
    config = inifile.parse(b"[chatmaild]\nmail_domains = a.example\nmail_user = root\n",
                           CONFIG.path)
    assert {d.who.name for d in sockets.doors(config, None)} == {"root"}
