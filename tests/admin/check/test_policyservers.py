"""Policy servers of the host, and what they say about chat mail."""

import socket
import threading

import pytest
from captured import CONFIG, RELEASES, bad, postfix, with_option

from chatmaild.admin.check import policyservers

REFUSED = {"policy-server": "failure"}


def judge(restrictions, say, release="trixie", name="smtpd_recipient_restrictions"):
    host = with_option(postfix(release), "submission/inet", name, restrictions)
    return bad(policyservers.check(host, CONFIG, say))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("answer, expected", [
    ("DUNNO", {}),
    ("", {}),
    ("PREPEND X-Seen: yes", {}),
    ("reject_unknown_helo_hostname", {}),
    ("DEFER_IF_REJECT wait", {}),
    ("DEFER_IF_PERMIT Greylisted", REFUSED),
    ("defer_if_permit", REFUSED),
    ("REJECT", REFUSED),
    ("450 4.7.1 later", REFUSED),
    ("554 5.7.1 no", REFUSED),
    ("HOLD", REFUSED),
    ("BCC admin@example.org", REFUSED),
])
def test_answers(release, answer, expected):
    assert judge("check_policy_service inet:127.0.0.1:10023", lambda _: answer,
                 release) == expected


@pytest.mark.parametrize("restrictions, asked", [
    ("check_policy_service inet:[::1]:10023", ["inet:[::1]:10023"]),
    ("reject_non_fqdn_sender check_policy_service unix:private/policy, permit",
     ["/var/spool/postfix/private/policy"]),
    ("check_policy_service { unix:/run/policy, timeout=5s }", ["/var/spool/postfix/run/policy"]),
    ("check_policy_service { inet:localhost:9, policy_context=a }, "
     "check_policy_service inet:localhost:9", ["inet:localhost:9", "inet:localhost:9"]),
    ("permit_sasl_authenticated, check_policy_service inet:127.0.0.1:10023", []),
    ("warn_if_reject check_policy_service inet:127.0.0.1:10023", []),
])
def test_which_are_asked(restrictions, asked):
    endpoints = []

    def say(question):
        endpoints.append(question.endpoint)
        return "DUNNO"
    judge(restrictions, say)
    assert endpoints == asked


@pytest.mark.parametrize("name, state", [
    ("smtpd_client_restrictions", b"RCPT"), ("smtpd_data_restrictions", b"DATA"),
    ("smtpd_end_of_data_restrictions", b"END-OF-MESSAGE"),
])
def test_the_state_in_which_postfix_asks(name, state):
    sent = []

    def say(question):
        sent.append(question.send)
        return "DUNNO"
    judge("check_policy_service inet:127.0.0.1:10023", say, name=name)
    assert b"protocol_state=" + state + b"\n" in sent[0] and sent[0].endswith(b"\n\n")


@pytest.mark.parametrize("restriction, expected", [
    ("inet:127.0.0.1:9", REFUSED),
    ("{ inet:127.0.0.1:9, default_action=DUNNO }", {}),
    ("{ inet:127.0.0.1:9, default_action=DEFER }", REFUSED),
    ("{ inet:127.0.0.1:9, default_action=450 }", {}),       # digits alone are OK
])
def test_a_server_that_is_down(restriction, expected):
    def say(_):
        raise ConnectionRefusedError("refused")
    assert judge(f"check_policy_service {restriction}", say) == expected


@pytest.fixture
def server():
    """A server by TCP that answers `answers[0]` to one question; says what it was asked."""
    answers, asked = [], []

    def serve():
        connection, _ = listener.accept()
        with connection:
            received = b""
            while not received.endswith(b"\n\n"):
                received += connection.recv(4096)
            asked.append(received)
            connection.sendall(answers[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"inet:127.0.0.1:{listener.getsockname()[1]}", answers, asked
        thread.join()


@pytest.mark.parametrize("answer, expected", [
    (b"action=DUNNO\n\n", {}),
    (b"action=reject no\n\n", REFUSED),
    (b"", REFUSED),
    (b"220 smtp\r\n", REFUSED),
])
def test_a_server_by_tcp(server, answer, expected):
    endpoint, answers, asked = server
    answers.append(answer)
    assert judge(f"check_policy_service {endpoint}", None) == expected
    assert b"request=smtpd_access_policy\n" in asked[0]


def test_a_server_by_a_unix_socket_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        policyservers.ask_server(policyservers.Question(f"{tmp_path}/gone", "451", b"\n"))
