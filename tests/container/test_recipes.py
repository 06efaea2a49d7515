"""The README's six steps, and the recipes of doc/, as they stand: other milters, log privacy, a
relay's accounts, Debian 13.

The host has what many mail hosts have: OpenDKIM, rspamd, rsyslog.
"""

import contextlib
import itertools
import json
import re
import smtplib
import textwrap
import time

import dkim
import dkimkit
import dns.rcode
import dnsservers
import postgresql
import pytest
from container.load import encrypted
from container.machine import TREE
from container.mailhost import CHAT_DOMAIN, INI, MailHost, sh_blocks
from container.test_install import ALICE, BOB, CHATTER, LISTENER, MAIL, cleartext
from rig import debian, stock
from rig.machine import NAME, PUBLIC, STRANGER
from rig.until import until

from chatmaild.accounts import directoryschema

OPENDKIM = """\
Syslog yes
PidFile /run/opendkim/opendkim.pid
Mode s
UserID opendkim
Socket inet:8891@localhost
KeyTable /etc/opendkim/key.table
SigningTable refile:/etc/opendkim/signing.table
Canonicalization relaxed/simple
OversignHeaders From
"""
REFUSE_ALL = 'ANYBODY { type = "from"; map = "regexp;/etc/rspamd/anybody.map"; score = 100; }\n'
OUR_DNS = 'dns {{ nameserver = ["127.0.0.1:{}"]; timeout = 5s; retransmits = 1; }}\n'
NO_DNS = 'dns { nameserver = ["127.0.0.1"]; timeout = 0.1s; retransmits = 1; }\n'


SIGNED_BEFORE = {"bookworm"}
"""Releases on which ordinary mail is signed before chatmaild comes; on the others nobody signs."""
MILTERS = "doc/other-milters.md"
GUIDE = "doc/several-hosts.md"


@pytest.fixture(scope="module")
def host(release, package):
    """A host whose admin followed the README from its first step to its fourth; `records` is what
    `chatmaild dns` told them to publish."""
    host = MailHost(f"recipes-{release}", debian.recipes_root(release))
    host.create()
    # A container has no kernel log, and rsyslog would try to read it all the time.
    rsyslog = host.path("/etc/rsyslog.conf")
    rsyslog.write_text(rsyslog.read_text().replace('module(load="imklog")', ""))
    host.path("/etc/rspamd/local.d/options.inc").write_text(NO_DNS)
    host.boot()
    host.set_up_ordinary_mail()
    if release in SIGNED_BEFORE:
        sign_ordinary_mail(host)
    host.install(package, CHAT_DOMAIN)
    host.allow_accounts_while_busy()
    if release in SIGNED_BEFORE:
        follow(host, MILTERS, 3, 2, 4)
    else:
        follow(host, MILTERS, 1, 2, 4)
        follow(host, MILTERS, 2, domain="example.org", selector="mail")     # for its bounces
    host.records = host.run("chatmaild", "dns").stdout
    host.follow_readme()
    host.imap(*CHATTER).logout()
    host.imap(*LISTENER).logout()
    yield host
    host.destroy()


def sign_ordinary_mail(host):
    """By OpenDKIM on a port, as many hosts have it."""
    host.path("/etc/opendkim.conf").write_text(OPENDKIM)
    host.shell("""
        mkdir -p /etc/opendkim
        opendkim-genkey --directory=/etc/dkimkeys --domain=example.org --selector=mail
        chown opendkim: /etc/dkimkeys/mail.private
        echo "mail._domainkey.example.org example.org:mail:/etc/dkimkeys/mail.private" \
            >/etc/opendkim/key.table
        echo "*@example.org mail._domainkey.example.org" >/etc/opendkim/signing.table
        systemctl restart opendkim
        postconf -e smtpd_milters=inet:localhost:8891
        postfix reload
    """)


def follow(host, document, *numbers, **replaced):
    """Run blocks of a document as they stand, but for shell variables set to another value."""
    script = "".join(sh_blocks(document)[number] for number in numbers)
    for name, value in replaced.items():
        script, count = re.subn(rf"^{name}=.*", f"{name}={value}", script, flags=re.MULTILINE)
        assert count == 1, name
    return host.run("sh", "-exc", script)


def last_mail(host, user, text):
    """The message of `user` that holds `text`."""
    client = host.imap(*user)
    found = until(lambda: next((message for message in host.mail_of(client) if text in message),
                               None), f"a message with {text}")
    client.logout()
    return found


def signature_verifies(host, message):
    """By the record that opendkim-genkey wrote for the DNS."""
    selector = re.search(rb"\bs=(\w+)", message)[1].decode()
    record = b"".join(re.findall(rb'"(.*?)"', host.path(
        f"/etc/dkimkeys/{selector}.txt").read_bytes()))
    return dkim.verify(message, dnsfunc=lambda name, timeout=5: record)


WORLD = "gmail.com. MX 10 stranger.example.net.\nstranger.example.net. A 192.0.2.99\n"
"""Another mail host, which `check --dns` tries to reach."""
CERTIFIED = f"""
    names=DNS:localhost,DNS:{CHAT_DOMAIN},DNS:imap.{CHAT_DOMAIN},DNS:smtp.{CHAT_DOMAIN}
    openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 30 \\
        -subj /CN={CHAT_DOMAIN} -addext subjectAltName=$names \\
        -addext keyUsage=critical,digitalSignature,keyCertSign \\
        -keyout {stock.KEY} -out {stock.CERTIFICATE}
    cp {stock.CERTIFICATE} /usr/local/share/ca-certificates/mail.crt
    update-ca-certificates
    systemctl restart postfix dovecot
"""


def commands_of_readme(step):
    """The lines that stand by themselves in a step of README.md."""
    item, = re.findall(rf"^{step}\. (.*?)^(?:\d\.|##) ", (TREE / "README.md").read_text(),
                       re.MULTILINE | re.DOTALL)
    return re.findall(r"^ {7}(\S.*)", item, re.MULTILINE)


def content(host, command):
    """What a check says once it is content. A busy machine may keep a message too long for it."""
    for _ in range(3):
        done = host.shell(command, check=False)
        if done.returncode == 0:
            return done.stdout
    raise AssertionError(done.stdout)


def test_the_steps_of_the_readme_end_in_a_check_that_is_content(host, tmp_path):
    """Step 5, with the records of step 3 in the DNS, and a certificate for the clients' names."""
    host.shell(CERTIFIED)
    with contextlib.ExitStack() as world:
        with host.network():
            world.enter_context(dnsservers.knot(tmp_path, ".", host.records + WORLD, 53))
        commands = commands_of_readme(5)
        assert commands == ["chatmaild check --live", "chatmaild check --dns"]
        for command in commands:
            assert content(host, command).endswith(": all is well\n")


def test_opendkim_signs_what_has_been_cleaned(host):
    telling = encrypted(CHATTER[0], "signed").replace(
        b"\r\nTo:", b"\r\nX-Mailer: telling\r\nTo:", 1)
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], telling)
    message = last_mail(host, LISTENER, b"<signed@localhost>")
    assert b"X-Mailer" not in message and b"\nSubject: [...]" in message
    assert f"d={CHAT_DOMAIN};".encode() in message
    assert signature_verifies(host, message)


def test_ordinary_mail_is_signed_as_before(host):
    with host.smtp(*ALICE) as smtp:
        smtp.sendmail("alice@example.org", ["bob@example.org"],
                      cleartext("alice@example.org", "bob@example.org", "signed by example.org"))
    message = last_mail(host, BOB, b"Subject: signed by example.org")
    assert b"d=example.org;" in message and signature_verifies(host, message)


def test_rspamd_leaves_chat_alone(host):
    """Told to refuse everybody, it refuses ordinary mail, until the recipe for chat mail too."""
    host.path("/etc/rspamd/anybody.map").write_text("/./\n")
    host.path("/etc/rspamd/local.d/multimap.conf").write_text(REFUSE_ALL)
    host.shell("""
        systemctl restart rspamd
        postconf -e smtpd_milters=unix:opendkim/opendkim.sock,inet:localhost:11332
    """)
    follow(host, MILTERS, 0)

    def send(recipient, *user, message):
        with host.smtp(*user) as smtp:
            smtp.sendmail(user[0], [recipient], message)

    chat = encrypted(CHATTER[0], "past-rspamd")
    until(lambda: host.shell("ss -ltn | grep -c :11332 || true").stdout != "0\n", "rspamd", 300)
    with pytest.raises(smtplib.SMTPDataError):
        send(LISTENER[0], *CHATTER, message=chat)
    follow(host, MILTERS, 5)

    def refused(*arguments, **message):
        try:
            send(*arguments, **message)
        except smtplib.SMTPDataError as error:
            return error.smtp_code
        return None

    until(lambda: not refused(LISTENER[0], *CHATTER, message=chat), "rspamd to let chat pass", 300)
    last_mail(host, LISTENER, b"<past-rspamd@localhost>")
    assert refused("bob@example.org", "alice", ALICE[1], message=cleartext(
        "alice@example.org", "bob@example.org")) == 554
    host.shell("""
        postconf -e smtpd_milters=unix:opendkim/opendkim.sock
        systemctl stop rspamd
    """)
    follow(host, MILTERS, 0)


def test_rspamd_signs_as_the_chat_domain(host):
    """With no other signer, and a key of its own."""
    host.shell("postconf -e smtpd_milters=inet:localhost:11332; systemctl start rspamd")
    follow(host, MILTERS, 0)
    made = follow(host, MILTERS, 6, selector="rspamd").stdout
    record = b"".join(re.findall(rb'"(.*?)"', made.encode()))
    until(lambda: host.shell("ss -ltn | grep -c :11332 || true").stdout != "0\n", "rspamd", 300)

    numbers = itertools.count()

    def signed():
        identifier = f"signs-{next(numbers)}"
        with host.smtp(*CHATTER) as smtp:
            smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0], identifier))
        message = last_mail(host, LISTENER, f"<{identifier}@localhost>".encode())
        return message if b"DKIM-Signature" in message else None

    message = until(signed, "rspamd to have reloaded", 120, pause=2)
    assert f"d={CHAT_DOMAIN};".encode() in message
    assert dkim.verify(message, dnsfunc=lambda name, timeout=5: record)
    host.shell("""
        postconf -e smtpd_milters=unix:opendkim/opendkim.sock
        systemctl stop rspamd
    """)
    follow(host, MILTERS, 0)


def dns_answer(query):
    """sender.example and evil.example have a key, mute.example is broken, no other name exists."""
    name = str(query.question[0].name)
    if "mute.example" in name:
        return dnsservers.reply(query, rcode=dns.rcode.SERVFAIL)
    if not name.startswith("s1._domainkey."):
        return dnsservers.reply(query, rcode=dns.rcode.NXDOMAIN)
    record = dkimkit.rsa().record.decode()
    return dnsservers.reply(query, f'{name} 3600 IN TXT "{record[:200]}" "{record[200:]}"')


@pytest.fixture
def believing(host):
    """The host believes its rspamd, as the document says."""
    text = (TREE / MILTERS).read_text()
    for name in ("milter_headers", "dkim"):
        lines = re.search(rf"^/etc/rspamd/local.d/{name}.conf:\n\n((?:    .*\n)+)", text, re.M)[1]
        host.path(f"/etc/rspamd/local.d/{name}.conf").write_text(textwrap.dedent(lines))
    ini = host.path(INI).read_text()
    host.set_ini("incoming_authenticity", "authentication-results")
    host.set_ini("trusted_networks", "192.0.2.200")
    with host.network():
        server = dnsservers.Stranger(dns_answer)
    with server:
        host.path("/etc/rspamd/local.d/options.inc").write_text(OUR_DNS.format(server.port))
        name = host.run("postconf", "-xh", "milter_macro_daemon_name").stdout.strip()
        host.set_ini("authserv_id", name)
        host.shell("""
            systemctl reload 'chatmaild-filtermail-incoming.service'
            systemctl restart rspamd
            postconf -e smtpd_milters=inet:localhost:11332 \\
                'chat_incoming_milters=inet:localhost:11332 $chat_incoming_filter'
        """)
        follow(host, MILTERS, 0)
        until(lambda: host.shell("ss -ltn | grep -c :11332 || true").stdout != "0\n", "rspamd", 300)
        yield name.encode()
    host.path(INI).write_text(ini)
    host.shell("""
        systemctl stop rspamd
        postconf -e smtpd_milters=unix:opendkim/opendkim.sock chat_incoming_milters=
        systemctl reload 'chatmaild-filtermail-incoming.service'
    """)
    follow(host, MILTERS, 0)


def test_rspamd_is_believed_and_nobody_who_speaks_for_it(host, believing):
    def sent(message, sender="alice@sender.example"):
        try:
            host.deliver_on_port_25(sender, LISTENER[0], message)
            return 250
        except smtplib.SMTPResponseException as error:
            return error.smtp_code

    def signed(domain, by=None):
        return dkimkit.sign(encrypted(f"alice@{domain}", "by-rspamd"), dkimkit.rsa(),
                            domain=(by or domain).encode(), include_headers=[b"from", b"date"])

    good = signed("sender.example")
    until(lambda: sent(good) == 250, "rspamd to be believed", 300)
    assert (b"Authentication-Results: " + believing + b";\r\n\tdkim=pass header.d=sender.example"
            in last_mail(host, LISTENER, b"<by-rspamd@localhost>"))
    forged = b"Authentication-Results: %b; dkim=pass header.d=sender.example\r\n" % believing
    unsigned = encrypted("alice@sender.example", "unsigned")
    assert sent(unsigned) == 554
    assert sent(forged + unsigned) == 554
    assert sent(3 * forged.upper() + unsigned) == 554
    assert sent(good.replace(b"Date: ", b"Date:  X", 1)) == 554
    assert sent(good.replace(b"s=s1;", b"s=s9;", 1)) == 554
    assert sent(signed("mute.example"), "alice@mute.example") == 451
    by_another = signed("sender.example", by="evil.example")
    assert sent(by_another) == 554
    quoted = '<"x); dkim=pass header.d=sender.example (y"@evil.example>'
    assert sent(by_another, quoted) == 554


def test_logs_name_no_chat_user(host, release):
    """Where both log to syslog; ordinary users are logged as ever."""
    on_13 = release != "bookworm"
    host.shell("""
        postconf -X maillog_file
        sed -i /^log_path/d /etc/dovecot/local.conf
        systemctl restart postfix dovecot
        rm -f /var/log/mail.log
    """)
    follow(host, "doc/log-privacy.md", *((0, 1) if on_13 else (0,)))
    cursor = host.shell("journalctl -n 1 --show-cursor -o cat | sed -n 's/^-- cursor: //p'").stdout
    with host.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [LISTENER[0]], encrypted(CHATTER[0], "unlogged"))
        with pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail(CHATTER[0], [LISTENER[0]], cleartext(CHATTER[0], LISTENER[0]))
    last_mail(host, LISTENER, b"<unlogged@localhost>")
    with host.smtp(*ALICE) as smtp:
        smtp.sendmail("alice@example.org", ["bob@example.org"],
                      cleartext("alice@example.org", "bob@example.org", "logged"))
    last_mail(host, BOB, b"Subject: logged")

    def written():
        text = host.shell("cat /var/log/mail.log /var/log/syslog").stdout
        return text if "to=<bob@example.org>" in text and "user=<bob>" in text else None

    logs = [until(written, "ordinary users in the log")]
    if on_13:
        journal = host.run("journalctl", "--no-pager", f"--after-cursor={cursor.strip()}").stdout
        assert "to=<bob@example.org>" in journal
        logs.append(journal)
    for text in logs:
        for person in (CHATTER[0], LISTENER[0]):
            assert person.partition("@")[0] not in text


def test_a_relays_accounts_are_taken_over(host):
    """The copy of a tree as relays have it, from the same host."""
    address = f"relay1234@{CHAT_DOMAIN}"
    date = int(time.time()) - 5 * 86_400
    host.shell(f"""
        useradd --system --no-create-home vmail
        box=/home/vmail/mail/{CHAT_DOMAIN}/{address}
        mkdir -p $box/cur $box/new $box/tmp
        touch $box/enforceE2EEincoming
        doveadm pw -s SHA512-CRYPT -p 'a secret of the relay' >$box/password
        printf 'From: <bert@relay.example>\\nSubject: [...]\\n\\nfrom the relay\\n' \
            >$box/cur/{date}.M1P1.relay:2,S
        touch -d @{date} $box/password
        chown -R vmail: /home/vmail
    """)
    done = follow(host, "doc/relay-takeover.md", 0, relay="")
    stored = host.path(f"{MAIL}/{CHAT_DOMAIN}/{address}/password")
    assert stored.stat().st_mtime == date, done
    host.path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    with host.network():
        server = dnsservers.Stranger(dnsservers.knows_no_name, port=53)
    with server:
        done = follow(host, "doc/relay-takeover.md", 1)
    assert last_mail(host, (address, "a secret of the relay"), b"from the relay")


def test_it_becomes_one_of_several_hosts(host):
    """By several-hosts.md, with a database on the network, for services in their sandboxes."""
    elsewhere, inactive = f"elsewhere@{CHAT_DOMAIN}", f"inactive1@{CHAT_DOMAIN}"
    host.shell(f"umask 077; echo 'host={PUBLIC} dbname=chatmaild user=chatmaild' "
               f">/etc/chatmaild/directory.conf; chown root:_chatmaild "
               f"/etc/chatmaild/directory.conf; chmod 0640 /etc/chatmaild/directory.conf")
    host.set_ini("directory", "/etc/chatmaild/directory.conf")
    host.set_ini("node", NAME)
    with contextlib.ExitStack() as stack:
        with host.network():
            database = stack.enter_context(postgresql.server(listen=PUBLIC))
        directoryschema.init(database.conninfo("postgres"))
        host.run("chatmaild", "directory", "join", PUBLIC)
        database.sql(f"INSERT INTO node (name, address) VALUES ('mail2.example.org', '{STRANGER}')")
        host.run("chatmaild", "wire", "--apply")
        assert "nothing to change" in host.run("chatmaild", "wire").stdout
        host.run("chatmaild", "directory", "import")
        rows = host.run("chatmaild", "accounts", "list", "--everywhere").stdout
        assert f"{CHATTER[0]}\t{NAME}\tok" in rows
        found = json.loads(host.run("chatmaild", "check", "--json", check=False).stdout)["findings"]
        assert {each["code"] for each in found if each["code"].startswith("directory-")
                and each["level"] not in ("ok", "warning")} == {
                    "directory-peer", "directory-lmtp"}     # there is none; nothing closes port 24

        newcomer = host.imap(inactive, "a secret of Ines's")
        database.sql("INSERT INTO account (address, node, hash) SELECT "
                     f"'{elsewhere}', id, '{{PLAIN}}x' FROM node WHERE name LIKE 'mail2.%'")
        assert database.sql(f"SELECT hash LIKE '{{%' FROM account WHERE address = '{inactive}'"
                            ) == "t"
        with host.smtp(*CHATTER) as smtp:
            smtp.sendmail(CHATTER[0], [elsewhere], encrypted(CHATTER[0]))
        with host.network():
            outside = smtplib.SMTP("localhost", 25, timeout=60)
        with outside as smtp:
            smtp.ehlo("mx.example.net")
            smtp.mail("stranger@example.net")
            assert [smtp.rcpt(each)[0] for each in (elsewhere, f"nobody123@{CHAT_DOMAIN}")] == [
                250, 550]
        until(lambda: f"{STRANGER}]:24" in host.log(), "mail on its way to the other host")
        newcomer.logout()

        # The other host is this one, which says that it takes no account of its own.
        host.shell("echo '127.0.0.1 mail2.example.org' >>/etc/hosts; mkdir -p -m 0700 /root/.ssh; "
                   "systemctl start ssh")
        line = follow(host, GUIDE, 0).stdout.splitlines()[-1]
        host.path("/root/.ssh/authorized_keys").write_text(f"{line}\n")
        moved = host.run("chatmaild", "directory", "move", inactive, "mail2.example.org",
                         check=False)
        assert moved.returncode == 1 and "is not on its way to" in moved.stderr
        host.run("chatmaild", "directory", "move", "--cancel", inactive, "mail2.example.org")
        for refused in ("chatmaild directory drain x", "id", "chatmaild directory status; id"):
            assert not host.run("runuser", "-u", "_chatmaild", "--", "ssh", "-l", "root",
                                "mail2.example.org", refused, check=False).stdout

        host.shell(f"systemctl stop chatmaild-lastlogin.socket chatmaild-lastlogin; "
                   f"touch -d '200 days ago' {MAIL}/{CHAT_DOMAIN}/{inactive}/password; "
                   "systemctl start chatmaild-lastlogin.socket chatmaild-expire")
        assert database.sql(f"SELECT count(*) FROM account WHERE address = '{inactive}'") == "0"
        assert f"{CHATTER[0]}" in database.sql("SELECT address FROM account")
    host.imap(*CHATTER).logout()


def test_a_host_goes_from_debian_12_to_13(containers, package):
    """What such an upgrade leaves of the host is carried to a machine with Debian 13."""
    old = MailHost("upgraded-12", debian.clean_root("bookworm"))
    new = MailHost("upgraded-13", debian.clean_root("trixie"))
    for machine in (old, new):
        machine.create()
        machine.boot()
        machine.set_up_ordinary_mail()
        machine.install(package, CHAT_DOMAIN)
    old.allow_accounts_while_busy()
    old.follow_readme()
    with old.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [CHATTER[0]], encrypted(CHATTER[0], "of-bookworm"))
    last_mail(old, CHATTER, b"<of-bookworm@localhost>")
    follow(old, "doc/upgrade-to-debian-13.md", 0)
    old.shell("tar -C / -cf /root/kept.tar var/lib/chatmaild etc/chatmaild etc/postfix")
    new.path("/root/kept.tar").write_bytes(old.path("/root/kept.tar").read_bytes())
    old.destroy()
    new.shell("systemctl stop dovecot postfix chatmaild.target 'chatmaild-*'; "
              "tar -C / -xf /root/kept.tar; systemctl start postfix")
    new.path("/etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
    with new.network():
        server = dnsservers.Stranger(dnsservers.knows_no_name, port=53)
    with server:        # check asks for a key
        follow(new, "doc/upgrade-to-debian-13.md", 1)
    last_mail(new, CHATTER, b"<of-bookworm@localhost>")
    with new.smtp(*CHATTER) as smtp:
        smtp.sendmail(CHATTER[0], [CHATTER[0]], encrypted(CHATTER[0], "of-trixie"))
    last_mail(new, CHATTER, b"<of-trixie@localhost>")
    new.imap(*ALICE).logout()
    new.destroy()
