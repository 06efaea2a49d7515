"""The socket on which a service answers Prometheus, if ``metrics_listen`` asks for one.

A thread answers one HTTP request after the other, and sleeps in between. It speaks HTTP by hand,
because http.server loads more than a service has memory to spare (doc/design/daemon.md). If the
socket fails, that is logged, and the service does its work without.
"""

import contextlib
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable

from chatmaild.config.config import Config
from chatmaild.errors import StoreError

log = logging.getLogger(__name__)

SERVICES = ("filtermail", "filtermail-incoming", "doveauth", "lastlogin", "metadata", "notifier",
            "recipients")
"""In the order of their ports, if metrics_listen names an address. Some hosts run only a few."""

MAX_REQUEST = 8192
"""Octets of a request that are read; the rest is ignored."""

PATIENCE = 5.0
"""Seconds that either side waits for the other."""

PAUSE = 0.1
"""Seconds after an error: accept(2) fails at once as long as there is no descriptor left."""

MAX_ANSWER = 1 << 20
"""Octets of an answer that `ask` reads."""

_HEAD = ("HTTP/1.0 {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
         "Content-Length: {}\r\nConnection: close\r\n\r\n")


def serve(config: Config, service: str, render: Callable[[], str]) -> None:
    """Answer requests for the metrics of `service` from now on, if the configuration says so."""
    if config.metrics_listen is None:
        return
    try:
        listener = _listen(config.metrics_listen, service)
    except OSError as error:
        log.error("metrics_listen: %s: %s; there are no metrics of %s until it is restarted",
                  config.metrics_listen, error.strerror, service)
        return
    threading.Thread(target=_serve, args=(listener, render), name="metrics", daemon=True).start()


def _listen(where: "str | tuple[str, int]", service: str) -> socket.socket:
    if isinstance(where, str):
        path = f"{where}/{service}.sock"
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        os.chmod(path, 0o660)
    else:
        host, port = where[0], where[1] + SERVICES.index(service)
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    listener.listen(8)
    return listener


def _serve(listener: socket.socket, render: Callable[[], str]) -> None:
    while True:
        try:
            client, _ = listener.accept()
            with client:
                client.settimeout(PATIENCE)
                _answer(client, render)
        except OSError as error:
            log.debug("a request for metrics: %s", error)
            time.sleep(PAUSE)
        except Exception:
            log.exception("a request for metrics failed")


def _answer(client: socket.socket, render: Callable[[], str]) -> None:
    request = b""
    while b"\r\n\r\n" not in request and b"\n\n" not in request and len(request) < MAX_REQUEST:
        more = client.recv(MAX_REQUEST)
        if not more:
            return
        request += more
    if request.split(b"\r\n", 1)[0].split(b" ")[:2] in ([b"GET", b"/metrics"], [b"GET", b"/"]):
        status, body = "200 OK", render().encode()
    else:
        status, body = "404 Not Found", b"GET /metrics\n"
    client.sendall(_HEAD.format(status, len(body)).encode() + body)


def ask(config: Config, service: str) -> str | None:
    """The metrics of `service`; None if it does not run or listen. Raises `StoreError`."""
    where = config.metrics_listen
    if where is None:
        return None
    try:
        if isinstance(where, str):
            client = socket.socket(socket.AF_UNIX)
            target: str | tuple[str, int] = f"{where}/{service}.sock"
        else:
            client = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET)
            target = where[0], where[1] + SERVICES.index(service)
        with client:
            client.settimeout(PATIENCE)
            client.connect(target)
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b""
            while (more := client.recv(1 << 16)) and len(answer) < MAX_ANSWER:
                answer += more
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise StoreError(f"metrics of {service}: {error.strerror or error}") from None
    return answer.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
