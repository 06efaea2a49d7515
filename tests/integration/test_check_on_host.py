"""`chatmaild check` on a real host: green when wired by the README, red for each fault.

Faults are made in copies of the configuration that the servers run on, or in what only check
looks at, so that the host stays in order for the next test.
"""

import contextlib
import json
import os
import re
import shutil
import socketserver
import threading
from pathlib import Path

import dnsservers
import pytest
from rig.files import kept, replace
from rig.host import PASSWORD
from rig.until import until

EXPECTED_WARNINGS = {
    "postmaster",   # the README leaves it to the admin
    "inotify",      # the kernel of the machine that runs the tests
    "live-certificate",     # self-signed
}
UNSIGNED = {"live-unsigned": "failure"}
"""Nobody signs here; test_signing.py has a signer."""


@pytest.fixture(scope="module", autouse=True)
def works():
    """The host's DNS."""
    with dnsservers.Stranger(dnsservers.knows_no_name, port=53) as server:
        yield server


def check(host, *options, code=None, user=None):
    """Level by code of what is not in order; the exit code has to agree."""
    done = host.chatmaild("check", "--json", *options, user=user, check=False)
    document = json.loads(done.stdout)
    found = {f["code"]: f["level"] for f in document["findings"] if f["level"] != "ok"
             and f["code"] not in EXPECTED_WARNINGS}
    bad = {level for level in found.values()} - {"warning"}
    assert done.returncode == (code if code is not None else 1 if bad else 0), done.stderr
    assert document["ok"] == (not bad)
    return found


@pytest.fixture
def postfix(host, tmp_path):
    """A copy of /etc/postfix and a function that runs postconf on it."""
    copy = shutil.copytree("/etc/postfix", tmp_path / "postfix")
    tmp_path.chmod(0o755)
    return copy, lambda *args: host.run("postconf", "-c", copy, *args)


@pytest.fixture
def dovecot(tmp_path):
    """A copy of /etc/dovecot."""
    return shutil.copytree("/etc/dovecot", tmp_path / "dovecot")


def test_wired_host_is_in_order(host):
    assert check(host) == {}


def test_text_names_everything_that_was_looked_at(host):
    text = host.chatmaild("check").stdout
    for words in ("chatmaild.ini: valid", "submission/inet: asks unix:chatmaild/filtermail.sock",
                  "passdb /etc/chatmaild/auth.lua: asked first", "doveauth.sock", "all is well"):
        assert words in text


@pytest.mark.parametrize("arguments, expected", [
    (["-P", "submission/inet/smtpd_milters="], {"milter-missing": "failure"}),
    (["-e", "smtpd_milters=inet:127.0.0.1:8891"],
     {"milter-lost": "failure", "bounces-unsigned": "warning", "milter-by-tcp": "warning"}),
    (["-e", "chat_filter={ unix:chatmaild/filtermail.sock, default_action=accept }"],
     {"milter-default-action": "failure"}),
    (["-P", "submission/inet/smtpd_milters=unix:/var/spool/postfix/chatmaild/filtermail.sock"],
     {"milter-path": "failure", "socket-missing": "failure"}),
    (["-P", "submission/inet/cleanup_service_name=cleanup"], {"received": "failure"}),
    (["-e", "message_size_limit=10240000"], {"message-size": "failure"}),
    (["-e", "mydestination=chat.example.org"], {"domain-elsewhere": "failure"}),
    (["-e", "mydestination=regexp:{ { /example\\.org$$/ x } }"], {"domain-elsewhere": "failure"}),
    (["-e", "virtual_alias_domains=chat.example.org"], {"domain-elsewhere": "failure"}),
    (["-e", "virtual_alias_maps=inline:{ chat.example.org=anything }"],
     {"domain-elsewhere": "failure"}),
    (["-e", "relay_domains=example.org"], {}),      # and so what is below it, but ours comes first
    (["-e", "virtual_mailbox_domains="], {"domain-missing": "failure"}),
    (["-e", "virtual_transport=virtual"], {"transport": "failure"}),
    (["-e", "virtual_transport=lmtp:unix:private/elsewhere"], {"transport-socket": "failure"}),
    (["-e", "virtual_mailbox_maps=inline:{ { info@example.net = ok } }"],
     {"recipients": "failure"}),
    (["-e", "virtual_mailbox_maps=inline:{ { info@example.net = ok } }, "
      "inline:{ @chat.example.org=ok }"], {}),
    (["-e", "virtual_alias_maps=inline:{ @chat.example.org=alice }"], {"aliases": "failure"}),
    (["-e", "virtual_alias_maps=hash:/etc/postfix/no-such-table"], {"table": "failure"}),
    (["-e", "smtpd_sasl_path=private/elsewhere"], {"sasl-socket": "failure"}),
    (["-e", "smtpd_sender_restrictions=reject_sender_login_mismatch"],
     {"sender-login": "failure"}),
    (["-e", "smtpd_sender_restrictions=reject_sender_login_mismatch",
      "smtpd_sender_login_maps=regexp:{ { /^(.*@chat\\.example\\.org)$$/ $${1} } }"], {}),
    (["-e", "receive_override_options=no_milters"], {"milter-overridden": "failure"}),
    (["-P", "chat-cleanup/unix/always_bcc=archive@example.org"], {"copies": "warning"}),
    (["-e", "recipient_bcc_maps=regexp:{ { /@chat\\.example\\.org$$/ archive@example.org } }"],
     {"copies": "warning"}),
    (["-e", "smtpd_sasl_security_options=noanonymous, noplaintext"], {"sasl-plain": "failure"}),
    (["-e", "smtpd_sasl_security_options=noanonymous, noplaintext",
      "smtpd_sasl_tls_security_options=noanonymous"], {}),
    (["-e", "smtpd_sasl_exceptions_networks=$mynetworks"], {"sasl-exceptions": "warning"}),
    (["-e", "debug_peer_list=192.0.2.7"], {"passwords-logged": "warning"}),
    (["-e", "sender_bcc_maps=regexp:{ { /^@/ archive@example.org } }"], {}),
    (["-e", "smtpd_sasl_mechanism_filter=!plain, static:all"], {"sasl-filter": "failure"}),
    (["-e", "smtpd_discard_ehlo_keywords=auth"], {"ehlo-keywords": "failure"}),
    (["-e", "smtpd_discard_ehlo_keyword_address_maps=cidr:{ { 192.0.2.0/24 auth } }"],
     {"ehlo-keywords": "failure"}),
    (["-e", "smtpd_tls_req_ccert=yes"], {"client-certificate": "failure"}),
    (["-e", "header_checks=regexp:{ { /^To:.*@chat\\.example/ HOLD } }"], {"headers": "failure"}),
    (["-e", "smtpd_recipient_restrictions=check_recipient_access inline:{ example.org=HOLD }"],
     {"diverted": "failure"}),
    (["-e", "smtpd_recipient_restrictions=check_policy_service inet:127.0.0.1:9"],
     {"policy-server": "failure"}),
    (["-e", "smtpd_recipient_restrictions=check_policy_service "
      "{ inet:127.0.0.1:9, default_action=DUNNO }"], {}),
])
def test_faults_of_postfix(host, postfix, arguments, expected):
    copy, postconf = postfix
    postconf(*arguments)
    assert check(host, "--postfix", copy) == expected


def test_copies_of_one_persons_mail(host, postfix):
    copy, postconf = postfix
    person = host.new_person()
    postconf("-e", f"recipient_bcc_maps=texthash:{copy}/bcc")
    (copy / "bcc").write_text("nobody@chat.example.org archive@example.org\n")
    assert check(host, "--postfix", copy) == {}
    (copy / "bcc").write_text(f"{person} archive@example.org\n")
    assert check(host, "--postfix", copy) == {"copies": "warning"}
    assert f"copies of the mail of {person} go to archive@example.org" in host.chatmaild(
        "check", "--problems", "--postfix", copy).stdout


@pytest.fixture
def policies(host):
    """A policy server that Postfix asks; what it says is the last of this list."""
    said = ["DUNNO"]

    class Session(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                if line == b"\n":
                    self.wfile.write(f"action={said[-1]}\n\n".encode())

    with contextlib.ExitStack() as at_the_end:
        server = at_the_end.enter_context(
            socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session))
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at_the_end.callback(server.shutdown)
        at_the_end.callback(host.reload_postfix)
        at_the_end.enter_context(kept("/etc/postfix/main.cf"))
        host.run("postconf", "-e", "smtpd_recipient_restrictions="
                 f"check_policy_service inet:127.0.0.1:{server.server_address[1]}")
        host.reload_postfix()
        yield said


@pytest.mark.parametrize("action, code, expected", [
    ("DUNNO", 250, {}),
    ("DEFER_IF_PERMIT Greylisted", 450, {"policy-server": "failure"}),
])
def test_what_a_policy_server_says_is_what_chat_users_meet(host, policies, action, code, expected):
    policies.append(action)
    person = host.new_person()
    with host.smtp(person, PASSWORD) as smtp:
        smtp.mail(person)
        assert smtp.rcpt("alice@example.org")[0] == code
    assert check(host) == expected


@pytest.fixture
def restricted(host):
    """A function that sets lists of Postfix's restrictions for as long as the test runs."""
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(host.reload_postfix)
        at_the_end.enter_context(kept("/etc/postfix/main.cf"))

        def restrict(*lines):
            host.run("postconf", "-e", *lines)
            host.reload_postfix()
        yield restrict


@pytest.mark.parametrize("where, restrictions, code", [
    ("recipient", "permit_mynetworks, permit_sasl_authenticated, "
     "check_recipient_access inline:{ alice@example.org=OK }, reject", 554),
    ("recipient", "permit_sasl_authenticated, check_recipient_access inline:{ example.org=DEFER }",
     450),
    ("sender", "permit_sasl_authenticated, check_recipient_access regexp:{ { /@chat/ 550 } }",
     250),
    ("client", "permit_sasl_authenticated, check_recipient_access "
     "inline:{ chat.example.org=OK }, reject", 250),
])
def test_refusals_are_what_strangers_meet(host, restricted, where, restrictions, code):
    restricted(f"smtpd_{where}_restrictions={restrictions}")
    person = host.new_person()
    with host.smtp(port=25, source=host.stranger) as smtp:
        smtp.mail("somebody@example.com")
        assert smtp.rcpt(person)[0] == code
    assert check(host) == ({} if code == 250 else {"refused": "failure"})


@pytest.mark.parametrize("restrictions, recipient, code", [
    ("permit_sasl_authenticated, reject_unauth_destination", "alice@example.org", 250),
    ("check_sender_access inline:{ chat.example.org=REJECT }", "alice@example.org", 554),
    ("reject_unauth_destination", "someone@example.com", 554),
])
def test_refusals_are_what_chat_users_meet(host, restricted, restrictions, recipient, code):
    restricted(f"smtpd_helo_restrictions={restrictions}")
    person = host.new_person()
    with host.smtp(person, PASSWORD) as smtp:
        smtp.mail(person)
        assert smtp.rcpt(recipient)[0] == code
    assert check(host) == ({} if code == 250 else {"refused": "failure"})


def test_a_service_that_logs_whole_sessions(host, postfix):
    copy, _ = postfix
    text = (copy / "master.cf").read_text()
    (copy / "master.cf").write_text(re.sub(r"(?m)^(submission .*smtpd)$", r"\1 -v", text))
    assert check(host, "--postfix", copy) == {"passwords-logged": "warning"}


def test_line_that_was_appended_instead_of_merged(host, postfix):
    """The ordinary domain of such a host would be gone without a word."""
    copy, _ = postfix
    text = (copy / "main.cf").read_text()
    (copy / "main.cf").write_text("virtual_mailbox_domains = example.net\n" + text)
    assert check(host, "--postfix", copy) == {"overridden": "failure"}


def test_milters_that_refer_to_themselves(host, postfix):
    """With this Postfix would not start."""
    copy, _ = postfix
    with open(copy / "main.cf", "a") as file:
        file.write("chat_submission_milters = unix:chatmaild/filtermail.sock $smtpd_milters\n")
    assert check(host, "--postfix", copy) == {"postfix": "failure"}
    text = host.chatmaild("check", "--postfix", copy, check=False).stdout
    assert "must not name $smtpd_milters" in text


def replaced(path, pattern, by):
    text = path.read_text()
    changed = re.sub(pattern, by, text, flags=re.MULTILINE | re.DOTALL)
    assert changed != text
    path.write_text(changed)


@pytest.mark.parametrize("pattern, by, expected", [
    (r"^passdb.*?^\}$", "", {"passdb-missing": "failure"}),
    (r"^userdb.*?^\}$", "", {"userdb-missing": "failure"}),
    (r"username_filter = [^\n]*", "username_filter = *@example.org", {"passdb-filter": "failure"}),
    (r"^  username_filter = [^\n]*\n", "", {"passdb-filter": "failure"}),
    (r"^(passdb.*?)result_internalfail = [^\n]*", r"\1result_internalfail = continue",
     {"passdb-result": "failure"}),
    (r"^(userdb.*?)result_internalfail = [^\n]*", r"\1result_internalfail = continue",
     {"userdb-result": "failure"}),
    (r"/etc/chatmaild/auth.lua", "/etc/chatmaild/gone.lua", {"lua-file": "failure"}),
    (r"service_count = 0|restart_request_count = unlimited", "process_limit = 100",
     {"imap-login": "failure"}),
    (r"\Z", "\nservice auth-worker {\n  user = dovecot\n}\n", {"auth-worker": "failure"}),
    (r"\Z", "\nfirst_valid_uid = 5000\n", {}),    # ours says otherwise for chat users
    (r"\Z", "\nauth_debug_passwords = yes\n", {"passwords-logged": "warning"}),
    (r"\Z", "\nrecipient_delimiter = -\n", {"delimiter": "failure"}),
    (r"\Z", "\nprotocol lmtp {\n  auth_username_format = %n\n}\n", {"lmtp-username": "failure"}),
    (r"\Z", "\nprotocol !smtp {\n  passdb pam {\n    driver = pam\n  }\n}\n",
     {"passdb-order": "failure"}),
    (r"\Z", "\nprotocol pop3 {\n  passdb pam {\n    driver = pam\n  }\n}\n", {}),
    (r"\Z", "\nprotocol lmtp {\n  userdb passwd {\n    driver = passwd\n  }\n}\n",
     {"userdb-order": "failure"}),
    (r"\Z", "\nauth_ssl_require_client_cert = yes\n", {"client-certificate": "failure"}),
    (r"\Z", "\nauth_master_user_separator = -\n", {"master-separator": "failure"}),
    (r"\Z", "\nservice auth {\n  client_limit = 50\n}\n", {"auth-clients": "failure"}),
    (r"\Z", "\nnonsense = 1\n", {"dovecot": "failure"}),
])
def test_faults_of_dovecot(host, dovecot, pattern, by, expected):
    if "%n" in by and not is_23(host):
        by = by.replace("%n", "%{user | username | lower}")
    if "protocol lmtp" in by:   # after Debian's own and ours
        (dovecot / "conf.d" / "99-zz.conf").write_text(by)
    else:
        replaced(dovecot / "conf.d" / "05-chatmaild.conf", pattern, by)
    assert check(host, "--dovecot", dovecot / "dovecot.conf") == expected


def is_23(host):
    return host.run("dovecot", "--version").stdout.startswith("2.3")


def test_file_of_dovecot_that_sorts_too_late(host, dovecot):
    conf = dovecot / "conf.d"
    (conf / "05-chatmaild.conf").rename(conf / "95-chatmaild.conf")
    assert check(host, "--dovecot", dovecot / "dovecot.conf") == {
        "passdb-order": "failure", "userdb-order": "failure"}


def test_xchatmail_for_everybody(host, dovecot):
    line = ("imap_capability = +XCHATMAIL\n" if is_23(host) else
            "imap_capability {\n  XCHATMAIL = yes\n}\n")
    (dovecot / "local.conf").write_text((dovecot / "local.conf").read_text() + line)
    assert check(host, "--dovecot", dovecot / "dovecot.conf") == {"xchatmail": "failure"}


def test_stock_debian_13_strips_the_domain_at_delivery(host, dovecot):
    (dovecot / "conf.d" / "99-chatmaild-lmtp.conf").unlink()
    assert check(host, "--dovecot", dovecot / "dovecot.conf") == (
        {} if is_23(host) else {"lmtp-username": "failure"})


# ---- what is not configuration ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["doveauth", "lastlogin", "metadata", "filtermail"])
def test_service_that_is_down(host, name):
    with host.without(name):
        assert check(host) == {"socket-missing": "failure"}


def test_service_that_hangs(host):
    with host.hanging("doveauth"):
        assert check(host) == {"service-hangs": "failure"}


@pytest.mark.parametrize("path, mode", [
    ("/var/spool/postfix/chatmaild/filtermail.sock", 0o600),
    ("/run/chatmaild/lastlogin.sock", 0o600),
    ("/var/spool/postfix/chatmaild", 0o700),
])
def test_socket_that_its_client_may_not_use(host, path, mode):
    before = os.stat(path).st_mode & 0o777
    os.chmod(path, mode)
    try:
        assert check(host) == {"socket-mode": "failure"}
    finally:
        os.chmod(path, before)


def test_directories(host):
    for path, mode, expected in [
        (host.ini, 0o640, {"config-mode": "failure"}),
        (host.ini.parent / "auth.lua", 0o600, {"lua-file": "failure"}),
        (host.mailboxes, 0o755, {"mailboxes-dir": "failure"}),
    ]:
        before = os.stat(path).st_mode & 0o777
        os.chmod(path, mode)
        try:
            assert check(host) == expected
        finally:
            os.chmod(path, before)


@pytest.fixture
def read_only(host):
    """The disk with the mailboxes is read-only, as the kernel makes it after an error."""
    host.run("mount", "--bind", host.mailboxes, host.mailboxes)
    host.run("mount", "-o", "remount,ro,bind", host.mailboxes)
    yield
    host.run("umount", host.mailboxes)


def test_a_disk_that_is_read_only(host, read_only):
    assert check(host) == {"mailboxes-dir": "failure"}


def test_broken_configuration_file(host):
    text = host.ini.read_text()
    replace(host.ini, text + "\nmax_mailbox_sise = 3\n")
    try:
        assert check(host, code=2) == {"config": "failure"}
    finally:
        replace(host.ini, text)


def test_somebody_else_is_told_what_he_cannot_see(host):
    found = check(host, user="games")
    assert set(found.values()) <= {"unseen", "warning"} and "socket" in found
    assert found["mailboxes"] == "unseen" and not {"domain-dir", "expire"} & found.keys()
    assert check(host, "--live", user="games")["live"] == "unseen"


def test_a_dns_that_does_not_answer(host):
    path = Path("/etc/resolv.conf")
    before = path.read_text()
    replace(path, "nameserver 127.0.9.9\n")
    try:
        assert check(host) == {"dns": "failure"}
        assert "127.0.9.9: Connection refused" in host.chatmaild("check", check=False).stdout
    finally:
        replace(path, before)


# ---- --live -------------------------------------------------------------------------------------


def accounts(host):
    return host.chatmaild("accounts", "list").stdout


def test_live(host):
    before = accounts(host)
    assert check(host, "--live") == UNSIGNED
    assert accounts(host) == before


def test_live_without_signups(host):
    switch = host.ini.parent / "nocreate"
    switch.touch()
    try:
        assert check(host, "--live") == {"nocreate": "warning"} | UNSIGNED
    finally:
        switch.unlink()


def test_live_with_the_filter_down(host):
    with host.without("filtermail"):
        found = check(host, "--live")
    assert found == {"socket-missing": "failure", "live-submission": "failure"}


def test_live_finds_a_postfix_that_does_not_ask_us(host):
    """The files are right, but what runs is not what they say: no reload since they changed."""
    files = {path: path.read_bytes() for path in map(Path, ("/etc/postfix/main.cf",
                                                            "/etc/postfix/master.cf"))}
    try:
        host.run("postconf", "-P", "submission/inet/smtpd_milters=",
                 "submission/inet/cleanup_service_name=cleanup")
        host.reload_postfix()
        for path, content in files.items():
            replace(path, content)
        assert check(host) == {}
        assert check(host, "--live") == {"live-cleartext": "failure",
                                         "live-received": "failure"} | UNSIGNED
    finally:
        for path, content in files.items():
            replace(path, content)
        host.reload_postfix()


def test_live_leaves_nothing_behind_in_the_log(host):
    before = len(host.logs()["mail.log"])
    host.chatmaild("check", "--live", check=False)
    assert "status=deferred" not in host.logs()["mail.log"][before:]
    until(lambda: "@chat.example.org" not in host.run("postqueue", "-j").stdout, "the end")
