"""The package itself: free of complaints, the same bytes each time, and tested as Debian does."""

import hashlib

import pytest
from container import build
from rig.machine import TREE_INSIDE
from rig.until import until


@pytest.fixture(scope="module")
def workshop(workshops, release):
    return workshops(release)


def test_lintian_has_nothing_to_say(workshop):
    """Neither about the source nor about the package, but that Debian 12 knows no newer Policy."""
    directory = "/home/builder/lint/chatmaild"
    build.unpack(workshop, directory)
    build.build(workshop, directory, what="full")
    done = workshop.shell(f"cd {directory}/..; su builder -c "
                          "'lintian -EI --pedantic --fail-on none --tag-display-limit 0 "
                          "--suppress-tags newer-standards-version *.changes'")
    assert done.stdout == ""


def test_two_builds_are_the_same_bytes(workshop):
    """Other directory, time zone, locale, umask, host name and order of files."""
    digests = []
    for directory, prefix, environment in (
        ("/home/builder/one/chatmaild", "", {"TZ": "UTC", "LC_ALL": "C.UTF-8"}),
        ("/home/builder/another/directory/chatmaild", "umask 0027;",
         {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "USER": "somebody"}),
    ):
        build.unpack(workshop, directory)
        build.build(workshop, directory, prefix=prefix, **environment)
        found, = workshop.path(f"{directory}/..").resolve().glob("*.deb")
        digests.append(hashlib.sha256(found.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_the_repository_has_the_source_too(workshop):
    directory = "/home/builder/source/chatmaild"
    key = "source@packages.example.org"
    build.unpack(workshop, directory)
    build.build(workshop, directory, what="source")
    workshop.shell(f"""
        gpg --batch --quiet --passphrase '' --quick-generate-key {key} ed25519 sign never
        cd {directory}/..
        {TREE_INSIDE}/debian/repository {key} file:/srv/repository /srv/repository *.dsc *.tar.*
        cp /srv/repository/chatmaild-archive-keyring.pgp /usr/share/keyrings/
        alone="-o Dir::Etc::SourceList=/srv/repository/chatmaild.sources
               -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=/srv/lists"
        mkdir -p /srv/lists/partial /srv/source
        cd /srv/source
        apt-get $alone update
        apt-get $alone source chatmaild
        rm /usr/share/keyrings/chatmaild-archive-keyring.pgp
    """)
    found, = workshop.path("/srv/source").glob("chatmaild-*/debian/control")
    assert found.read_bytes() == workshop.path(f"{directory}/debian/control").read_bytes()


def test_autopkgtest(workshop, package):
    """debian/tests, run by the tool that Debian itself runs them with."""
    workshop.path("/root").joinpath(package.name).write_bytes(package.read_bytes())
    done = workshop.run("autopkgtest", "--ignore-restrictions=isolation-container",
                        f"/root/{package.name}", f"{TREE_INSIDE}/", "--", "null",
                        check=False, seconds=1800)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sysv_script_runs_every_service_without_systemd(workshop, package):
    """systemd holds nothing of ours meanwhile; the workshop has python3-daemon."""
    workshop.path("/root").joinpath(package.name).write_bytes(package.read_bytes())
    workshop.run("apt-get", "install", "--yes", f"/root/{package.name}")
    workshop.shell("systemctl stop chatmaild.target 'chatmaild-*'")
    script = "/usr/share/doc/chatmaild/examples/sysv/chatmaild"
    workshop.shell("rm -rf /run/chatmaild* /var/spool/postfix/chatmaild")     # as after booting
    workshop.run(script, "start")

    def all_run():
        return workshop.run(script, "status", check=False).returncode == 0

    until(all_run, "all services to run")
    until(lambda: not workshop.run("test", "-s", "/run/chatmaild-notifier/push.prom",
                                   check=False).returncode, "metrics")
    sockets = workshop.run("stat", "-c", "%G %a", "/run/chatmaild/doveauth.sock",
                           "/var/spool/postfix/chatmaild/filtermail.sock").stdout
    assert sockets == "dovecot 660\npostfix 660\n"
    users = workshop.shell("ps -o user:30= -p $(cat /run/chatmaild/filtermail.pid)").stdout
    assert users.strip() == "_chatmaild-filter"
    workshop.run(script, "stop")
    assert not workshop.shell("ls /run/chatmaild/*.pid 2>/dev/null || true").stdout
    workshop.run("apt-get", "purge", "--yes", "chatmaild")
