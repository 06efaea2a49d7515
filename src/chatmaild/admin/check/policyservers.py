"""What do the host's policy servers say about a message of a chat user who has logged in?

Each is asked as smtpd(8) asks it, see SMTPD_POLICY_README, about a user whom nobody is. So what
refuses or delays chat mail is found, and a server that lets it pass is named without alarm.
"""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatmaild.admin.check import diversions, refusals
from chatmaild.admin.check.exemptions import ANYWHERE
from chatmaild.admin.check.findings import Finding, failure, ok, unseen
from chatmaild.admin.check.postfix import chat_servers
from chatmaild.admin.servers.milters import milters
from chatmaild.admin.servers.postconf import PROBE, Postfix, Restriction, Service
from chatmaild.config.config import Config

TIMEOUT = 5
"""Seconds that a server may take to answer."""

_MAX_ANSWER = 1024
_STATES = {"smtpd_data_restrictions": "DATA", "smtpd_end_of_data_restrictions": "END-OF-MESSAGE"}


@dataclass(frozen=True)
class Question:
    """What Postfix asks one server in one state of a session."""

    endpoint: str
    """``inet:host:port``, or the path of a socket outside of every chroot."""
    default: str
    """What Postfix does while the server does not answer."""
    send: bytes


def check(
    postfix: Postfix, config: Config, ask: Callable[[Question], str] | None = None
) -> Iterator[Finding]:
    """Yield a finding for each server. `ask` returns the action or raises OSError."""
    asked: set[Question] = set()
    for service in chat_servers(postfix, config):
        for restriction in postfix.restrictions(service):
            if restriction.word != "check_policy_service" or not restriction.argument:
                continue
            question = _question(postfix, service, restriction, config.mail_domains[0])
            if question not in asked:
                asked.add(question)
                place = f"{postfix.directory}/master.cf: {service.name}: {question.endpoint}"
                yield _judge(postfix, place, question, ask or ask_server)


def _question(postfix: Postfix, service: Service, restriction: Restriction,
              domain: str) -> Question:
    server = next(iter(milters(restriction.argument)))      # both are written in the same form
    kind, _, path = server.endpoint.partition(":")
    state = _STATES.get(restriction.where, "RCPT")
    attributes = {
        "request": "smtpd_access_policy", "protocol_state": state, "protocol_name": "ESMTP",
        "client_address": ANYWHERE[0], "client_name": "unknown", "reverse_client_name": "unknown",
        "helo_name": "localhost", "sender": f"{PROBE}@{domain}", "recipient": "someone@example.com",
        "recipient_count": "0" if state == "RCPT" else "1", "instance": PROBE, "size": "5000",
        "sasl_method": "PLAIN", "sasl_username": f"{PROBE}@{domain}",
        "policy_context": server.options.get("policy_context", ""),
    }
    return Question(
        postfix.resolve(path, service) if kind == "unix" else server.endpoint,
        server.options.get("default_action",
                           postfix.get("smtpd_policy_service_default_action", service)
                           or "451 4.3.5 Server configuration problem"),
        "".join(f"{name}={value}\n" for name, value in attributes.items()).encode() + b"\n")


def _judge(postfix: Postfix, place: str, question: Question,
           ask: Callable[[Question], str]) -> Finding:
    code, why = "policy-server", "answers"
    try:
        answer = ask(question)
    except OSError as error:
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            return unseen(code, place, "cannot be asked", "run as root")
        answer, why = question.default, f"cannot be asked ({error}), so Postfix answers"
    said = f"this policy server {why} {answer} to a message of a chat user who has logged in"
    cure = ("permit_sasl_authenticated before it, or a rule of its own for those who have logged "
            "in (sasl_username)")
    if refusals.REFUSAL.match(answer):
        return failure(code, place, f"{said}: it is refused, or put off", cure)
    if effect := diversions.effect(postfix, answer):
        return failure(code, place, f"{said}: it {effect}", cure)
    return ok(code, place, "this policy server lets a message of a chat user pass; if it has "
              "limits, they hold for chat users too")


def ask_server(question: Question) -> str:
    """Return the action. Raises OSError, also for an answer that is none."""
    answer = b""
    with _connect(question.endpoint) as connection:
        connection.settimeout(TIMEOUT)
        connection.sendall(question.send)
        while b"\n\n" not in answer and len(answer) < _MAX_ANSWER:
            if not (more := connection.recv(_MAX_ANSWER)):
                break
            answer += more
    line = answer.decode("ascii", "replace").partition("\n")[0]
    if not line.startswith("action="):
        raise ConnectionAbortedError("no answer")
    return line.removeprefix("action=").strip()


def _connect(endpoint: str) -> socket.socket:
    if not endpoint.startswith("/"):
        host, _, port = endpoint.removeprefix("inet:").rpartition(":")
        number = int(port) if port.isdigit() else socket.getservbyname(port, "tcp")
        return socket.create_connection((host.strip("[]"), number), TIMEOUT)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(endpoint)
    except OSError:
        connection.close()
        raise
    return connection
