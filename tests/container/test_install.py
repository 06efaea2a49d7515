"""From `apt install` to chat, with the README alone, on a host that serves ordinary mail."""

import imaplib
import json
import os
import smtplib

import dnsservers
import pytest
from container.load import encrypted
from container.mailhost import CHAT_DOMAIN, INI
from rig import stock
from rig.machine import TREE_INSIDE
from rig.until import until

ALICE, BOB = stock.ORDINARY_USERS.items()
CHATTER = f"anna12345@{CHAT_DOMAIN}", "a secret of Anna's"
LISTENER = f"berta1234@{CHAT_DOMAIN}", "a secret of Berta's"

MAIL = "/var/lib/chatmaild/mail"
# Stopping the target alone does not wait for its parts.
STOP = "systemctl stop chatmaild.target 'chatmaild-*'"
START = "systemctl start chatmaild.target"
# What `wire` does when it has changed these units.
RELOAD = """python3 -c 'from chatmaild.admin.wiring import applying, observation
applying.reload(observation.NETWORK_UNITS)'"""
SETTINGS = "find /etc/postfix /etc/dovecot -type f | sort | xargs sha256sum"


def cleartext(sender: str, recipient: str, text: str = "in the clear") -> bytes:
    return (f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {text}\r\n\r\n{text}\r\n").encode()


@pytest.fixture(scope="module")
def idle(ordinary, package):
    """Installed without an answer to the question; (host, what apt said, settings before)."""
    before = ordinary.shell(SETTINGS).stdout
    return ordinary, ordinary.install(package), before


@pytest.fixture(scope="module")
def host(idle):
    """The same host after its admin chose a domain and followed the README."""
    machine, _, _ = idle
    machine.set_ini("mail_domains", CHAT_DOMAIN)
    machine.run("systemctl", "restart", "chatmaild.target")
    machine.allow_accounts_while_busy()
    machine.follow_readme()
    machine.path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    with machine.network():
        server = dnsservers.Stranger(dnsservers.knows_no_name, port=53)
    with server:
        yield machine


def test_without_an_answer_it_is_idle_and_says_so(idle):
    host, output, before = idle
    assert "no chat domain is set, so it is idle" in output
    assert host.shell(SETTINGS).stdout == before, "installing changed Postfix or Dovecot"
    assert host.state("chatmaild.target") == "active"
    failed = host.run("systemctl", "--failed", "--plain", "--no-legend").stdout
    assert failed == ""


def test_systemd_finds_nothing_odd_in_the_units(idle):
    host, _, _ = idle
    done = host.shell("dpkg -L chatmaild | grep -E '[.](service|socket|timer|target)$' | "
                      "xargs systemd-analyze verify --man=no")
    assert done.stdout + done.stderr == ""


def test_deletion_has_not_run_on_installation(idle):
    host, _, _ = idle
    shown = host.run("systemctl", "show", "--value", "--property=ExecMainStartTimestamp",
                     "chatmaild-expire.service").stdout.strip()
    assert shown == ""
    assert host.state("chatmaild-expire.timer") == "active"


def test_mailboxes_belong_to_a_user_that_dovecot_accepts(idle):
    host, _, _ = idle
    assert 500 <= int(host.run("id", "-u", "_chatmaild").stdout) < 1000
    assert host.run("stat", "-c", "%U:%G %a", MAIL).stdout.strip() == (
        "_chatmaild:_chatmaild 750")


def failures(host):
    """What check finds wrong, by code."""
    found = json.loads(host.run("chatmaild", "check", "--json", check=False).stdout)["findings"]
    return {finding["code"]: finding["text"] for finding in found
            if finding["level"] in ("failure", "unseen")}


def test_check_is_green(host):
    assert failures(host) == {}


def test_delta_chat_logs_in_and_talks(host, deltachat):
    """The real client, told an address and a password, on what the README alone has set up."""
    done = host.run("/usr/bin/python3", f"{TREE_INSIDE}/tests/container/phones.py",
                    f"/usr/src/{deltachat.name}", CHAT_DOMAIN, seconds=300)
    assert done.stdout == "encrypted both ways\n"
    for name in ("annaphone", "bertphone"):
        assert host.path(f"{MAIL}/{CHAT_DOMAIN}/{name}@{CHAT_DOMAIN}/password").exists()


def test_account_on_first_login_over_imap(host):
    host.imap(*CHATTER).logout()
    assert host.path(f"{MAIL}/{CHAT_DOMAIN}/{CHATTER[0]}/password").exists()


def test_account_on_first_login_over_smtp(host):
    address = f"clara1234@{CHAT_DOMAIN}"
    host.smtp(address, "a secret of Clara's").quit()
    host.imap(address, "a secret of Clara's").logout()


def test_encrypted_message_is_delivered(host):
    listener = host.imap(*LISTENER)
    message = encrypted(CHATTER[0])
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], message)
    received, = host.mail_of(listener)
    assert message.split(b"\r\n\r\n", 1)[1].rstrip() in received
    assert b"127.0.0.1" not in received.split(b"\r\n\r\n", 1)[0]


def test_cleartext_is_refused_with_words_that_clients_know(host):
    with host.smtp(*CHATTER) as smtp, pytest.raises(smtplib.SMTPDataError) as refused:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], cleartext(CHATTER[0], LISTENER[0]))
    assert refused.value.smtp_code == 523
    assert b"Invalid Unencrypted Mail" in refused.value.smtp_error


def test_ordinary_mail_goes_on_in_the_clear(host):
    bob = host.imap(*BOB)
    message = cleartext("alice@example.org", "bob@example.org", "as ever")
    with host.smtp(*ALICE) as smtp:
        smtp.sendmail("alice@example.org", ["bob@example.org"], message)
    host.deliver_on_port_25("someone@example.net", "bob@example.org",
                            cleartext("someone@example.net", "bob@example.org", "from afar"))
    received = b"".join(host.mail_of(bob, 2))
    assert b"Subject: as ever" in received and b"Subject: from afar" in received


def test_filters_stay_on_one_cpu_each_which_their_sandbox_lets_them(host):
    cpus = {}
    for service in ("chatmaild-filtermail", "chatmaild-filtermail-incoming",
                    "chatmaild-recipients"):
        host.run("systemctl", "start", f"{service}.service")
        pid = host.run("systemctl", "show", "--value", "--property=MainPID", service).stdout.strip()
        allowed, = host.run("awk", "/^Cpus_allowed_list:/ {print $2}",
                            f"/proc/{pid}/status").stdout.split()
        assert allowed.isdigit()
        cpus[service] = allowed
    assert cpus["chatmaild-recipients"] == cpus["chatmaild-filtermail"]
    assert len(set(cpus.values())) == min(2, len(os.sched_getaffinity(0)))


def test_timer_runs_the_deletion(host):
    host.run("systemctl", "start", "chatmaild-expire.service")
    shown = host.run("systemctl", "show", "--property=Result,ExecMainStatus",
                     "chatmaild-expire.service").stdout
    assert "Result=success" in shown and "ExecMainStatus=0" in shown
    calendar = host.run("systemctl", "list-timers", "--no-legend", "chatmaild-expire.timer").stdout
    assert "chatmaild-expire.service" in calendar


def test_services_are_ready_again_after_sigkill(host):
    daemons = host.shell("systemctl list-units --plain --no-legend --type=service --state=running "
                         "'chatmaild-*' | cut -d ' ' -f 1").stdout.split()
    assert {"chatmaild-doveauth.service", "chatmaild-filtermail.service"} <= set(daemons)
    before = {unit: host.main_pid(unit) for unit in daemons}
    host.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", *daemons)
    for unit in daemons:
        until(lambda unit=unit: host.main_pid(unit) not in (0, before[unit])
              and host.state(unit) == "active", f"{unit} to come back")
    host.imap(f"dora12345@{CHAT_DOMAIN}", "a secret of Dora's").logout()


REFUSED_SIGNUPS = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(120)
connection.connect("/run/chatmaild/doveauth.sock")
answers = connection.makefile("rb")
connection.sendall(b"H3\\t2\\t0\\t\\tauth\\n")
for number in range(int(sys.argv[1])):
    user = b"user%05d@chat.example.org" % number
    connection.sendall(b'Lshared/passdb/short"' + user + b"\\t" + user + b"\\n")
    assert answers.readline() == b"N\\n"
"""


def test_nobody_waits_while_journald_is_stopped(host):
    """systemd gives each service a buffer for about 5,500 lines. The lines beyond are counted."""
    journald = str(host.main_pid("systemd-journald.service"))
    host.run("kill", "-STOP", journald)
    try:
        host.run("/usr/bin/python3", "-c", REFUSED_SIGNUPS, "20000")
        host.imap(*CHATTER).logout()
        with host.smtp(*CHATTER) as smtp:
            smtp.sendmail(CHATTER[0], [CHATTER[0]], encrypted(CHATTER[0]))
    finally:
        host.run("kill", "-CONT", journald)

    def counted():
        host.run("/usr/bin/python3", "-c", REFUSED_SIGNUPS, "1")
        return "the log took no lines for a while; lost: " in host.journal(
            "chatmaild-doveauth.service")

    until(counted, "the journal to say how many lines were lost")


def test_each_service_tells_its_metrics_out_of_its_sandbox(host):
    host.set_ini("metrics_listen", "unix:/run/chatmaild/metrics")
    host.run("systemctl", "restart", "chatmaild-*.service")
    host.imap(*CHATTER).logout()
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [CHATTER[0]], encrypted(CHATTER[0]))
    host.run("systemctl", "start", *(f"chatmaild-{name}.service" for name in (
        "doveauth", "lastlogin", "metadata", "notifier", "recipients", "filtermail",
        "filtermail-incoming")))
    shown = host.run("chatmaild", "report").stdout
    assert "Outgoing mail since the filter started: 1 message read" in shown
    assert "Not running" not in shown
    sockets = host.run("stat", "-c", "%G %a", "/run/chatmaild/metrics/filtermail.sock").stdout
    assert sockets == "_chatmaild-metrics 660\n"


def test_a_reload_with_a_mistake_fails_and_a_restart_goes_on_as_before(host):
    good = host.path(INI).read_text()
    host.path(INI).write_text(good + "no_such_key = 1\n")
    try:
        for unit in ("doveauth", "filtermail"):
            before = host.main_pid(f"chatmaild-{unit}.service")
            assert host.shell(f"systemctl reload chatmaild-{unit}.service || echo refused"
                              ).stdout == "refused\n"
            assert "no_such_key: unknown key" in host.journal(f"chatmaild-{unit}.service")
            assert host.main_pid(f"chatmaild-{unit}.service") == before
        host.run("systemctl", "restart", "chatmaild.target")
        for unit in ("doveauth", "lastlogin", "metadata", "notifier", "recipients", "filtermail",
                     "filtermail-incoming"):
            until(lambda unit=unit: host.state(f"chatmaild-{unit}.service") == "active", unit)
            shown = host.run("systemctl", "status", "--no-pager", f"chatmaild-{unit}.service")
            assert "on the last good configuration" in shown.stdout
        with host.smtp(*CHATTER) as smtp:
            smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0]))
        with host.smtp(*ALICE) as smtp:
            smtp.sendmail(f"{ALICE[0]}@example.org", [f"{BOB[0]}@example.org"],
                          cleartext(f"{ALICE[0]}@example.org", f"{BOB[0]}@example.org"))
        host.imap(f"helga1234@{CHAT_DOMAIN}", "a secret of Helga's").logout()
        assert host.run("chatmaild", "check", check=False).returncode == 2
    finally:
        host.path(INI).write_text(good)
    host.run("systemctl", "reload", "chatmaild-*.service")
    said = host.run("systemctl", "status", "--no-pager", "chatmaild-doveauth.service").stdout
    assert "Status:" not in said and "chatmaild-doveauth[" in said


def test_broken_configuration_leaves_no_dead_socket_after_the_repair(host):
    """Break it, with no last good one, have somebody connect, repair it, restart the target."""
    good = host.path(INI).read_text()
    host.path(INI).write_text(good + "no_such_key = 1\n")
    host.path("/var/lib/chatmaild/last-good.ini").unlink()
    host.shell("systemctl restart chatmaild.target || true")
    with pytest.raises(imaplib.IMAP4.error):
        host.imap(f"emma12345@{CHAT_DOMAIN}", "a secret of Emma's")
    host.imap(*CHATTER).logout()            # who has an account does not notice
    host.imap(*ALICE).logout()
    with pytest.raises(smtplib.SMTPResponseException) as put_off, host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0]))
    assert 400 <= put_off.value.smtp_code < 500
    assert "no_such_key: unknown key" in host.journal("chatmaild-filtermail.service")
    host.path(INI).write_text(good)
    host.run("systemctl", "restart", "chatmaild.target")
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0]))

    def signs_up():
        """A worker of Dovecot that waited in vain asks for no new account for half a minute."""
        try:
            return host.imap(f"emma12345@{CHAT_DOMAIN}", "a secret of Emma's").logout()
        except imaplib.IMAP4.error:
            return None

    until(signs_up, "a new account to be made")
    for unit in ("doveauth", "lastlogin", "filtermail", "filtermail-incoming"):
        assert host.state(f"chatmaild-{unit}.socket") == "active"
        assert host.state(f"chatmaild-{unit}.service") == "active"


def test_everything_is_back_after_a_reboot(host):
    """/run is empty then; sockets, directories and timer come from the units alone."""
    host.reboot()
    host.imap(f"frida1234@{CHAT_DOMAIN}", "a secret of Frida's").logout()
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0]))
    assert host.state("chatmaild-expire.timer") == "active"


def test_sockets_come_back_where_their_directories_are_gone(host):
    host.shell(f"{STOP}; rm -r /run/chatmaild /var/spool/postfix/chatmaild; {START}")
    host.imap(f"gerda1234@{CHAT_DOMAIN}", "a secret of Gerda's").logout()
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0]))
    assert host.run("stat", "-c", "%U %a", "/run/chatmaild/arrivals").stdout == "_chatmaild 700\n"


def test_full_disk_is_a_temporary_failure_and_locks_nobody_out(host):
    """The file system of the mailboxes is full: no new account, no lost mail, old accounts work."""
    host.shell(f"""
        {STOP}
        cp -a {MAIL} /root/mail
        mount -t tmpfs -o size=1M,mode=0750,uid=_chatmaild,gid=_chatmaild tmpfs {MAIL}
        cp -a /root/mail/. {MAIL}/
        {START}
        dd if=/dev/zero of={MAIL}/full bs=4k status=none || true
    """)
    try:
        with pytest.raises(imaplib.IMAP4.error):
            host.imap(f"herta1234@{CHAT_DOMAIN}", "a secret of Herta's")
        assert "herta1234" not in host.run("ls", f"{MAIL}/{CHAT_DOMAIN}").stdout
        host.imap(*CHATTER).logout()
        with host.smtp(*CHATTER) as smtp:
            smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0]))
        until(lambda: "status=deferred" in host.log() or "status=sent" in host.log(),
              "the message to be put off")
    finally:
        host.shell(f"{STOP}; umount --lazy {MAIL}; {START}; postqueue -f")
    listener = host.imap(*LISTENER)
    until(lambda: host.run("postqueue", "-p").stdout.startswith("Mail queue is empty"),
          "the queue to be empty")
    listener.logout()
    host.imap(f"herta1234@{CHAT_DOMAIN}", "a secret of Herta's").logout()


def test_services_that_may_use_the_network_now_restart_and_no_others(host):
    """As `wire` does on one of several hosts. The filters keep their SMTP sessions."""
    def process(name):
        return host.run("systemctl", "show", "-P", "MainPID", f"chatmaild-{name}").stdout

    names = "doveauth", "recipients", "filtermail", "filtermail-incoming", "metadata"
    host.run("systemctl", "start", *(f"chatmaild-{name}" for name in names))
    before = [process(name) for name in names]
    host.shell(f"""
        for name in doveauth recipients; do
            mkdir /etc/systemd/system/chatmaild-$name.service.d
            cp /usr/share/doc/chatmaild/examples/several-hosts/network.conf \
                /etc/systemd/system/chatmaild-$name.service.d
        done
        {RELOAD}
    """)
    try:
        for name, pid in zip(names, before):
            is_told = name in ("doveauth", "recipients")
            assert (process(name) != pid) == is_told, name
        assert host.run("systemctl", "show", "-P", "PrivateNetwork", "chatmaild-recipients"
                        ).stdout == "no\n"
        host.imap(*CHATTER).logout()
        assert host.run("stat", "-c", "%G %a", "/var/spool/postfix/chatmaild/homes.sock"
                        ).stdout == "postfix 660\n"
    finally:
        host.shell(f"rm -r /etc/systemd/system/chatmaild-*.service.d; {RELOAD}")


def test_a_second_chat_domain_as_check_says(host):
    """check names one command for it; nothing else is done, and then it is green again."""
    host.set_ini("mail_domains", f"{CHAT_DOMAIN} talk.example.org")
    host.run("systemctl", "restart", "chatmaild.target")
    assert "chatmaild wire --apply" in host.run("chatmaild", "check", check=False).stdout
    host.run("chatmaild", "wire", "--apply")
    assert failures(host).keys() <= {"dns"}     # an earlier test may have ended the name server
    ines = "ines12345@talk.example.org", "a secret of Ines's"
    client = host.imap(*ines)
    with host.smtp(*ines) as smtp:
        smtp.sendmail(ines[0], [ines[0], LISTENER[0]], encrypted(ines[0]))
    received, = host.mail_of(client)
    assert b"127.0.0.1" not in received.split(b"\r\n\r\n", 1)[0]
