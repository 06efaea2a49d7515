"""Asking Dovecot to end sessions: the protocol of its script service."""

import contextlib
import socket
import threading

import pytest

from chatmaild.accounts import sessions
from chatmaild.errors import StoreError


@contextlib.contextmanager
def dovecot(path, answer):
    """Answers each request with `answer`; yields what was asked."""
    asked = []
    (path.parent / "master.pid").touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        request = b""
                        while chunk := connection.recv(65536):
                            request += chunk
                        asked.append(request)
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_addresses_are_named_in_requests_of_bounded_size(tmp_path):
    addresses = [f"user{number:05}@chat.example.org" for number in range(70)]
    with dovecot(tmp_path / "socket", b"+\n") as asked:
        sessions.end(addresses, str(tmp_path / "socket"))
    assert all(request.startswith(b"VERSION\tscript\t4\t0\n-\n") and request.endswith(b"\n\n")
               for request in asked)
    assert b"".join(asked).decode().count("@chat.example.org\n") == 70
    assert max(map(len, asked)) < 16_384


@pytest.mark.parametrize("answer", [b"-\n", b"", b"no"])
def test_a_failure_is_told(tmp_path, answer):
    with dovecot(tmp_path / "socket", answer), pytest.raises(StoreError, match="doveadm kick"):
        sessions.end(["alice@chat.example.org"], str(tmp_path / "socket"))


def test_a_directory_that_cannot_be_seen_is_told(tmp_path):
    """Whether Dovecot runs is unknown then: somebody may be connected."""
    with pytest.raises(StoreError, match="File name too long"):
        sessions.end(["alice@chat.example.org"], str(tmp_path / ("x" * 300) / "socket"))


def test_a_missing_service_is_told_while_dovecot_runs(tmp_path):
    sessions.end(["alice@chat.example.org"], str(tmp_path / "socket"))
    (tmp_path / "master.pid").touch()
    with pytest.raises(StoreError, match="No such file"):
        sessions.end(["alice@chat.example.org"], str(tmp_path / "socket"))
