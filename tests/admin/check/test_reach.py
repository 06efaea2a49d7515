"""What clients see where the names lead: certificates, an MTA-STS policy, and the way out."""

import contextlib
import socket
import ssl
import subprocess
import threading

import pytest
from dnsservers import free_port

from chatmaild.admin.check import reach
from chatmaild.admin.dns.questions import Answers

NAME = "chat.example.org"
ANSWERS = Answers({(NAME, "A"): ("127.0.0.1",)})


@contextlib.contextmanager
def serving(tmp_path, monkeypatch, days=90, name=NAME, talk=lambda connection: None, answer=b""):
    """A TLS server with a certificate that is trusted here; yields its port. `talk` is said before
    TLS begins, `answer` to what comes then. It serves one client after the other."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-days", str(days), "-subj", f"/CN={name}",
                    "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), connection:
                talk(connection)
                with context.wrap_socket(connection, server_side=True) as inside:
                    if inside.recv(999) and answer:
                        inside.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def look(port, answers=ANSWERS):
    return [(finding.level, finding.text)
            for finding in reach.certificate(NAME, port, answers, "127.0.0.1")]


@pytest.mark.parametrize("options, level, words", [
    ({}, "ok", "days left"),
    ({"days": 5}, "ok", "days left"),       # a short-lived one that is fresh
    ({"name": "other.example"}, "failure", "ostname mismatch"),
])
def test_certificates(tmp_path, monkeypatch, options, level, words):
    with serving(tmp_path, monkeypatch, **options) as port:
        (found, text), = look(port)
    assert found == level and words in text


@pytest.mark.parametrize("lifetime, left, level", [
    (90, 30, "ok"), (90, 13, "warning"), (6, 2, "ok"), (6, 1, "warning")])
def test_days_that_are_left(tmp_path, monkeypatch, lifetime, left, level):
    with serving(tmp_path, monkeypatch, days=lifetime) as port:
        now = reach.time.time()
        monkeypatch.setattr(reach.time, "time", lambda: now + (lifetime - left) * 86400)
        (found, text), = look(port)
    assert found == level, text


def test_a_certificate_that_nobody_trusts(tmp_path, monkeypatch):
    with serving(tmp_path, monkeypatch) as port:
        monkeypatch.setenv("SSL_CERT_FILE", "/dev/null")
        (found, text), = look(port)
    assert found == "failure" and "clients refuse it" in text


def test_tls_after_starttls(tmp_path, monkeypatch):
    said = []

    def talk(connection):
        for reply in b"220-a\r\n220 b\r\n", b"250-x\r\n250 STARTTLS\r\n", b"220 go\r\n":
            connection.sendall(reply)
            if b"go" not in reply:
                said.append(connection.recv(99))

    with serving(tmp_path, monkeypatch, talk=talk) as port:
        monkeypatch.setattr(reach, "SUBMISSION", port)
        assert [level for level, _ in look(port)] == ["ok"]
    assert [line.split()[0] for line in said] == [b"EHLO", b"STARTTLS"]


def test_a_submission_server_without_tls(tmp_path, monkeypatch):
    def talk(connection):
        connection.sendall(b"220 a\r\n")
        connection.recv(99)
        connection.sendall(b"250 x\r\n")
        connection.recv(99)
        connection.sendall(b"502 no\r\n")

    with serving(tmp_path, monkeypatch, talk=talk) as port:
        monkeypatch.setattr(reach, "SUBMISSION", port)
        (found, text), = look(port)
    assert found == "failure" and "502 no" in text


def test_nobody_listens(monkeypatch):
    port = free_port()
    assert [level for level, _ in look(port)] == ["failure"]
    monkeypatch.setattr(reach, "HTTPS", port)       # a web server is for who wants pages
    assert look(port) == []


def test_its_own_public_address_may_not_be_reachable_from_here(tmp_path, monkeypatch):
    nowhere = Answers({(NAME, "A"): ("127.0.0.77",)})
    with serving(tmp_path, monkeypatch) as port:
        assert [level for level, _ in look(port, nowhere)] == ["ok"]


def test_where_clients_expect_certificates():
    answers = Answers({
        (NAME, "A"): ("192.0.2.1",), (f"imap.{NAME}", "A"): ("192.0.2.1",),
        (f"smtp.{NAME}", "AAAA"): ("2001:db8::1",), (f"autoconfig.{NAME}", "A"): ("192.0.2.1",),
        (f"_imaps._tcp.{NAME}", "SRV"): ("0 1 993 in.example.org.",)})
    found = reach.endpoints(NAME, answers)
    assert {(NAME, 993), (NAME, 465), (NAME, 587), (NAME, 443), (f"imap.{NAME}", 993),
            (f"smtp.{NAME}", 465), (f"autoconfig.{NAME}", 443), ("in.example.org", 993)
            } <= set(found)
    assert (f"imap.{NAME}", 465) not in found and (f"mta-sts.{NAME}", 443) not in found


POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.mx.example\r\n"


@pytest.mark.parametrize("text, names, level", [
    (POLICY, ["mail.example.org"], "ok"),
    (POLICY, ["a.mx.example"], "ok"),
    (POLICY, ["a.b.mx.example"], "failure"),
    (POLICY, ["mail.example.org", "other.example.org"], "failure"),
    (POLICY.replace("enforce", "none"), ["other.example.org"], "ok"),
    (POLICY.replace("STSv1", "STSv2"), ["mail.example.org"], "failure"),
    ("<html>not found</html>", ["mail.example.org"], "failure"),
    ("", [], "failure"),
])
def test_policies(text, names, level):
    found = reach.judge_policy(text, names, "here")
    assert found.level == level and bool(found.cure) == (level == "failure")


@pytest.mark.parametrize("answer, level, words", [
    (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + POLICY.encode(), "ok", "mode enforce"),
    (b"HTTP/1.1 404 Not Found\r\n\r\n" + POLICY.encode(), "failure", "404 Not Found"),
    (b"", "failure", "empty"),
])
def test_a_policy_is_read_where_others_read_it(tmp_path, monkeypatch, answer, level, words):
    name = f"mta-sts.{NAME}"
    answers = Answers({(name, "A"): ("127.0.0.1",), (NAME, "MX"): ("10 mail.example.org.",),
                       (f"_mta-sts.{NAME}", "TXT"): ("v=STSv1; id=1",)})
    with serving(tmp_path, monkeypatch, name=name, answer=answer) as port:
        monkeypatch.setattr(reach, "HTTPS", port)
        found, = [finding for finding in reach.check([NAME], answers, "127.0.0.1")
                  if finding.code == "dns-mta-sts-policy"]
    assert found.level == level and words in found.text


def test_the_way_out_through_a_relay_is_not_looked_at():
    assert reach.port_25("example.net", Answers(), "[relay.example.org]").level == "ok"


def test_the_way_out_without_anybody_to_try():
    found = reach.port_25("example.net", Answers(), "")
    assert found.level == "unseen" and "--probe" in found.cure
