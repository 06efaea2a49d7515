"""The sockets on which services listen, and the error when one cannot be opened."""

import os
import socket

import pytest

from chatmaild.daemon import sockets, systemd
from chatmaild.errors import SocketError, UsageError


def listens(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    return True


def test_listens_on_a_path(tmp_path):
    path = tmp_path / "a.sock"
    with sockets.listening(f"unix:{path}"):
        assert listens(path)


def test_takes_the_place_of_a_socket_that_nobody_serves(tmp_path):
    path = tmp_path / "a.sock"
    sockets.listening(f"unix:{path}").close()
    assert path.exists()
    with sockets.listening(f"unix:{path}"):
        assert listens(path)


def test_leaves_a_served_socket_alone(tmp_path):
    path = tmp_path / "a.sock"
    with sockets.listening(f"unix:{path}"):
        with pytest.raises(SocketError, match="another process already listens.*mode"):
            sockets.listening(f"unix:{path}")
        assert listens(path)


def test_a_busy_listener_is_one(tmp_path):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(SocketError, match="another process already listens"):
            sockets.listening(f"unix:{path}")


def test_leaves_a_file_in_the_way_alone(tmp_path):
    path = tmp_path / "a.sock"
    path.write_text("precious")
    with pytest.raises(SocketError, match=r"there is a file of \S+:\S+ with mode 0\d+ in the way"):
        sockets.listening(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(SocketError, match=f"directory {tmp_path}/no is missing; create it"):
        sockets.listening(f"unix:{tmp_path}/no/a.sock")


def test_a_path_too_long_is_told(tmp_path):
    with pytest.raises(SocketError, match="at most 107 octets"):
        sockets.listening(f"unix:{tmp_path}/{'x' * 120}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without permission")
def test_no_permission_names_user_owner_and_mode(public_path):
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(65534)
        try:
            sockets.listening(f"unix:{public_path}/a.sock")
        except SocketError as error:
            os.write(tell, str(error).encode())
        os._exit(0)
    os.close(tell)
    with open(told) as file:
        text = file.read()
    os.waitpid(child, 0)
    assert "no permission for user nobody" in text
    assert "is a directory of root:root with mode 0755" in text


def test_listens_on_a_port_and_says_when_it_is_taken():
    with sockets.listening("inet:0@127.0.0.1") as first:
        port = first.getsockname()[1]
        with pytest.raises(SocketError, match=f"inet:{port}@127.0.0.1: Address already in use"):
            sockets.listening(f"inet:{port}@127.0.0.1")


@pytest.mark.parametrize("spec", [
    "", "unix:", "unix:relative", "inet:99999@host", "inet:25", "fd:", "fd:-1", "tcp:25@host",
    "/run/a.sock", "inet:x@host",
])
def test_a_malformed_spec_says_what_it_must_be(spec):
    with pytest.raises(UsageError, match="must be unix:/path, inet:port@host or fd:N"):
        sockets.listening(spec)


def test_adopts_a_descriptor_that_listens_and_no_other(tmp_path):
    with sockets.listening(f"unix:{tmp_path}/a.sock") as sock:
        with sockets.listening(f"fd:{os.dup(sock.fileno())}") as adopted:
            assert adopted.getsockname() == sock.getsockname()
    with socket.socket(socket.AF_UNIX) as idle:
        with pytest.raises(SocketError, match="does not listen"):
            sockets.listening(f"fd:{os.dup(idle.fileno())}")
    with pytest.raises(SocketError, match="Bad file descriptor"):
        sockets.listening("fd:9999")


def test_the_sockets_of_two_units_are_told_apart(tmp_path, monkeypatch):
    with (sockets.listening(f"unix:{tmp_path}/a") as a,
          sockets.listening(f"unix:{tmp_path}/b") as b):
        given = {"b.socket": b.detach(), "a.socket": a.detach()}
        monkeypatch.setattr(systemd, "listen_fds_by_unit", lambda: given)
        for found, name in zip(sockets.inherited_from("a.socket", "b.socket"), "ab"):
            with found:
                assert found.getsockname() == f"{tmp_path}/{name}"
        with sockets.listening(f"unix:{tmp_path}/c") as c:
            given = {"a.socket": c.detach()}
        first, second = sockets.inherited_from("a.socket", "b.socket")
        first.close()
        assert second is None, "its unit is not running"
    with pytest.raises(UsageError, match="start x.socket"):
        sockets.inherited_from("x.socket", "a.socket")


def test_without_systemd_the_way_out_is_told(monkeypatch):
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    with pytest.raises(UsageError, match="start the .socket unit, or name a socket"):
        sockets.listening(None)
