"""Services serve their metrics where metrics_listen says, and work without it."""

import errno
import os
import socket
import time

import pytest
from dnsservers import free_port

from chatmaild.config.inifile import parse
from chatmaild.daemon import metricsocket


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(metricsocket, "PATIENCE", 60.0)


@pytest.fixture(params=["unix", "inet"])
def config(request, tmp_path):
    port = free_port()
    where = f"unix:{tmp_path}" if request.param == "unix" else f"inet:{port}@127.0.0.1"
    return parse(f"[chatmaild]\nmetrics_listen = {where}\n".encode(), tmp_path / "chatmaild.ini")


def test_what_a_service_counts_can_be_asked_for(config):
    metricsocket.serve(config, "filtermail", lambda: "x 1\n")
    for _ in range(3):
        assert metricsocket.ask(config, "filtermail") == "x 1\n"
    assert metricsocket.ask(config, "doveauth") is None


def raw(config, request):
    where = config.metrics_listen
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(60)
        client.connect(f"{where}/filtermail.sock" if isinstance(where, str) else where)
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read()


def test_http_as_far_as_needed(config):
    metricsocket.serve(config, "filtermail", lambda: "x 1\n")
    answer = raw(config, b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n") and answer.endswith(b"\r\n\r\nx 1\n")
    assert b"Content-Type: text/plain; version=0.0.4" in answer
    assert b"404" in raw(config, b"GET /secret HTTP/1.0\r\n\r\n")
    assert raw(config, b"GET") == b""
    assert metricsocket.ask(config, "filtermail") == "x 1\n"


def test_trouble_while_rendering_ends_nothing(config, caplog):
    answers = iter([ZeroDivisionError(), "x 1\n"])

    def render():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer
    metricsocket.serve(config, "filtermail", render)
    assert metricsocket.ask(config, "filtermail") == ""
    assert metricsocket.ask(config, "filtermail") == "x 1\n"


def test_while_no_descriptor_is_left_it_waits(config, monkeypatch):
    """Or a thread would ask for one all the time, and keep all others from their work."""
    waited, accept = [], socket.socket.accept

    def without(listener):
        if len(waited) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(listener)

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", without)
        patch.setattr(time, "sleep", waited.append)
        metricsocket.serve(config, "filtermail", lambda: "x 1\n")
        assert metricsocket.ask(config, "filtermail") == "x 1\n"
    assert len(waited) == 3


def test_a_service_works_without(config, caplog, tmp_path):
    broken = parse(f"[chatmaild]\nmetrics_listen = unix:{tmp_path}/missing\n".encode(), tmp_path)
    metricsocket.serve(broken, "filtermail", lambda: "")
    assert "No such file or directory" in caplog.text
    silent = parse(b"[chatmaild]\n", tmp_path)
    metricsocket.serve(silent, "filtermail", lambda: "")
    assert metricsocket.ask(silent, "filtermail") is None


def test_a_socket_left_behind_gives_way_and_nothing_else_does(tmp_path, caplog):
    config = parse(f"[chatmaild]\nmetrics_listen = unix:{tmp_path}\n".encode(), tmp_path)
    for _ in range(2):
        metricsocket.serve(config, "filtermail", lambda: "x 1\n")
        assert metricsocket.ask(config, "filtermail") == "x 1\n"
    assert os.stat(tmp_path / "filtermail.sock").st_mode & 0o777 == 0o660
    (tmp_path / "doveauth.sock").write_text("precious")
    metricsocket.serve(config, "doveauth", lambda: "")
    assert (tmp_path / "doveauth.sock").read_text() == "precious"
    assert "in use" in caplog.text
