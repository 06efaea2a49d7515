"""Sunday night: `apt upgrade` while people chat; then the package goes, and the host stays."""

import re
import shutil
import smtplib

import pytest
from container.load import PASSWORD, SENDERS, Load, encrypted
from container.mailhost import CHAT_DOMAIN, INI, sh_blocks
from container.test_install import ALICE, BOB, cleartext
from rig.until import until

RECIPIENT = f"anna12345@{CHAT_DOMAIN}"
MAIL = "/var/lib/chatmaild/mail"
FILTERS = "chatmaild-filtermail.service", "chatmaild-filtermail-incoming.service"


def fetch(host, repository):
    """The repository as it is now, on a web server of the host; `apt update` of it alone."""
    host.shell("rm -rf /root/repository")
    shutil.copytree(repository.directory, host.path("/root/repository"))
    host.shell("""
        cp /root/repository/chatmaild.sources /etc/apt/sources.list.d/
        cp /root/repository/chatmaild-archive-keyring.pgp /usr/share/keyrings/
        systemctl is-active --quiet repository ||
            systemd-run --quiet --unit=repository /usr/bin/python3 -m http.server \\
                --bind 127.0.0.1 --directory /root/repository 8093
    """)
    update = ("apt-get update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/chatmaild.sources "
              "-o Dir::Etc::sourceparts=- -o APT::Update::Error-Mode=any")
    until(lambda: host.shell(f"{update} || echo failed").stdout.strip()[-6:] != "failed",
          "the repository's web server", 120)


@pytest.fixture(scope="module")
def host(ordinary, older_package, repository):
    """Chat as the older package set it up, with one line of the configuration changed by hand."""
    repository.add(older_package)
    fetch(ordinary, repository)
    ordinary.install("chatmaild=0.1.0~older", CHAT_DOMAIN)
    ordinary.allow_accounts_while_busy()
    ordinary.set_ini("max_user_send_per_minute", "100000")
    ordinary.set_ini("max_user_send_burst_size", "100000")
    ordinary.run("systemctl", "restart", "chatmaild.target")
    ordinary.follow_readme()
    ordinary.imap(RECIPIENT, PASSWORD).logout()
    return ordinary


def test_answer_to_the_question_is_in_the_configuration(host):
    assert re.search(rf"^mail_domains = {CHAT_DOMAIN}$", host.path(INI).read_text(), re.MULTILINE)


def assert_nothing_but_short_waits(outcomes):
    """A service of ours that starts anew on a busy machine takes longer than Dovecot or the filter
    waits for it. That may put off a message or a new account, one in a hundred, or where there are
    few, what each client does at either of the two restarts; and nothing else.
    """
    waits = {what for what in outcomes
             if what.startswith(("put off: 4", "first login failed: error: b'[UNAVAILABLE]"))}
    assert set(outcomes) - waits == {"sent", "login", "first login"}, outcomes
    allowed = max(sum(outcomes.values()) // 100, 2 * (SENDERS + 1))
    assert sum(outcomes[what] for what in waits) <= allowed, outcomes


def test_upgrade_under_load_loses_nothing(host, package, repository):
    repository.add(package)
    fetch(host, repository)
    assert "/by-hash/SHA256/" in host.journal("repository.service")
    with Load(host, RECIPIENT) as load:
        until(lambda: load.outcomes["sent"] >= 20 and load.outcomes["first login"] >= 3,
              "the load to be there", 300)
        before = load.outcomes.copy()
        output = host.run("apt-get", "upgrade", "--yes", "--quiet", seconds=900).stdout
        host.install(package, "", "--reinstall")
        sent = load.outcomes["sent"]
        until(lambda: load.outcomes["sent"] >= sent + 20, "the load to go on", 300)
    print(dict(load.outcomes), "before the upgrade:", dict(before))
    assert "older" not in host.run("dpkg-query", "-W", "chatmaild").stdout, output
    assert_nothing_but_short_waits(load.outcomes)
    for unit in FILTERS:
        until(lambda unit=unit: host.journal(unit).count("has taken over") == 2,
              f"two successors of {unit}", 120)
        log = host.journal(unit)
        assert not re.search("Supervising process|reception only permitted|left-over", log), log
    client = host.imap(RECIPIENT, PASSWORD)

    def missing():
        host.run("postqueue", "-f")     # else what was put off meanwhile waits for five minutes
        client.select()
        _, parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        return load.accepted - set(re.findall(r"load-\d+-\d+", str(parts)))

    until(lambda: not missing(), "every accepted message to be delivered", 300, pause=2)


def test_upgrade_keeps_the_admins_changes_without_asking(host):
    text = host.path(INI).read_text()
    assert "\nmax_user_send_per_minute = 100000\n" in text
    assert f"\nmail_domains = {CHAT_DOMAIN}\n" in text


def test_upgrade_over_a_broken_configuration_leaves_the_filters_at_work(host, package):
    """dpkg is content, the filters' successors start on the last good one, and nobody notices."""
    good = host.path(INI).read_text()
    host.path(INI).write_text(good + "no_such_key = 1\n")
    try:
        output = host.install(package, "", "--reinstall")
        assert "still runs in its former version" not in output
        with host.smtp(RECIPIENT, PASSWORD) as smtp:
            smtp.sendmail(RECIPIENT, [RECIPIENT], encrypted(RECIPIENT))
        assert "no_such_key: unknown key" in host.journal(FILTERS[0])
    finally:
        host.path(INI).write_text(good)
        host.run("systemctl", "restart", "chatmaild.target")
    host.imap(f"nora12345@{CHAT_DOMAIN}", PASSWORD).logout()
    assert "half" not in host.run("dpkg-query", "-W", "-f", "${Status}", "chatmaild").stdout


def test_an_answer_that_the_kept_configuration_outlives_is_named(host):
    """As `dpkg-reconfigure` runs the script, once the administrator has been asked."""
    host.run("debconf-set-selections", text=f"chatmaild chatmaild/mail_domains string "
             f"{CHAT_DOMAIN} new.example.org\n")
    done = host.run("/var/lib/dpkg/info/chatmaild.postinst", "configure", "0.1.0",
                    DEBCONF_RECONFIGURE="1")
    assert f"was kept, with mail_domains = {CHAT_DOMAIN}: change it there" in done.stderr
    host.run("debconf-set-selections", text="chatmaild chatmaild/mail_domains string "
             f"{CHAT_DOMAIN}\n")


def test_a_restored_backup_holds_at_once(host):
    """The services of a new installation are idle: going on like that, they would let all pass."""
    back_up, restore = sh_blocks("doc/backup.md")
    host.run("sh", "-exc", back_up)
    host.set_ini("mail_domains", "")
    host.run("systemctl", "restart", "chatmaild.target")
    host.run("sh", "-exc", restore)
    with host.smtp(RECIPIENT, PASSWORD) as smtp, pytest.raises(smtplib.SMTPDataError) as refused:
        smtp.sendmail(RECIPIENT, [RECIPIENT], cleartext(RECIPIENT, RECIPIENT))
    assert refused.value.smtp_code == 523
    host.run("rm", "/root/chatmaild-backup.tar")


def test_removal_while_dovecot_still_loads_our_files(host):
    """Whoever removes the package first and the lines later locks no ordinary user out."""
    done = host.run("apt-get", "remove", "--yes", "chatmaild")
    assert "Postfix is still configured to ask" in done.stdout + done.stderr
    host.run("systemctl", "restart", "dovecot")
    host.imap(*ALICE).logout()
    with pytest.raises(Exception, match="(?i)temporary|unavailable"):
        host.imap(RECIPIENT, PASSWORD)
    with pytest.raises(smtplib.SMTPResponseException) as put_off:
        host.deliver_on_port_25("someone@example.net", "bob@example.org",
                                cleartext("someone@example.net", "bob@example.org"))
    assert put_off.value.smtp_code == 451


def test_purge_while_dovecot_still_loads_our_files(host):
    done = host.run("apt-get", "purge", "--yes", "chatmaild")
    assert "/etc/chatmaild stays" in done.stdout + done.stderr
    host.run("systemctl", "restart", "dovecot")
    host.imap(*ALICE).logout()


def test_removal_as_documented_leaves_mail_and_accounts_and_nothing_else(host, package):
    host.install(package, CHAT_DOMAIN)
    host.imap(RECIPIENT, PASSWORD).logout()
    accounts = host.run("ls", f"{MAIL}/{CHAT_DOMAIN}").stdout
    *steps, purge = sh_blocks("doc/removal.md")
    host.run("sh", "-exc", "".join(steps))
    done = host.run("sh", "-exc", purge)
    assert (done.stdout + done.stderr).count("stay in /var/lib/chatmaild") == 1
    assert host.run("ls", f"{MAIL}/{CHAT_DOMAIN}").stdout == accounts != ""
    host.shell("systemctl stop repository; rm /etc/apt/sources.list.d/chatmaild.sources "
               "/usr/share/keyrings/chatmaild-archive-keyring.pgp; apt-get clean; "
               "find /var/lib/apt/lists -name '127.0.0.1*' -delete")
    left = host.shell("find / -xdev -iname '*chatmaild*' -not -path '/proc/*' "
                      "-not -path '/root/*' -not -path '/usr/src/*'").stdout.split()
    assert left == ["/var/lib/chatmaild"]
    assert "chatmaild" not in host.run("systemctl", "list-unit-files").stdout
    assert "chatmaild" not in host.run("debconf-show", "chatmaild").stdout
    assert "chat" not in host.shell("postconf -n; postconf -M; postconf -P; doveconf -n").stdout


def test_ordinary_mail_is_as_before_once_the_lines_are_gone(host):
    with host.smtp(*ALICE) as smtp:
        smtp.sendmail("alice@example.org", ["bob@example.org"],
                      cleartext("alice@example.org", "bob@example.org", "sent"))
    host.deliver_on_port_25("someone@example.net", "bob@example.org",
                            cleartext("someone@example.net", "bob@example.org", "received"))
    received = b"".join(host.mail_of(host.imap(*BOB), 2))
    assert b"Subject: sent" in received and b"Subject: received" in received
