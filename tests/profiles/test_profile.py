"""One host as people have it: its ordinary users notice nothing, and removal gives all back.

The steps of an admin's evening, in their order; CHATMAILD_PROFILE names the profile.
"""

import json
import os
import stat
from pathlib import Path

import chatmessages
import pytest
from rig.host import PASSWORD
from rig.wiring import sh_blocks


def tree(*roots):
    """Everything below, byte for byte: content, mode and owner by path."""
    found = {}
    for root in roots:
        for path in sorted(Path(root).rglob("*")):
            info = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(info.st_mode) else (
                os.readlink(path) if path.is_symlink() else None)
            found[str(path)] = (content, stat.filemode(info.st_mode), info.st_uid, info.st_gid)
    return found


def made_by_postfix(path):
    return path.endswith(("prng_exch", "master.lock")) or "/spool/" in path


def changes(before, after):
    return sorted(path for path in before.keys() | after.keys()
                  if before.get(path) != after.get(path) and not made_by_postfix(path))


CONFIGURATION = ("/etc/postfix", "/etc/dovecot", "/etc/sysctl.d")


@pytest.fixture(scope="module")
def profile():
    from rig.profiles import PROFILES
    return PROFILES[os.environ["CHATMAILD_PROFILE"]]


@pytest.fixture(scope="module")
def evening(profile):
    """The host, and what was noticed before chatmaild, with it, and after it."""
    from rig import battery, stock
    from rig.host import SERVICES, Host
    from rig.install import install
    from rig.units import Service
    from rig.wiring import configure, follow_readme
    host, noticed = Host(profile.site), {}
    stock.write(profile.site)
    profile.prepare()
    host.start_postfix()
    host.start_dovecot()
    noticed["before"] = battery.of_ordinary_users(host, profile)
    noticed["files before"] = tree(*CONFIGURATION)
    install()
    configure()
    host.services = {name: Service(name) for name in SERVICES}
    for service in host.services.values():
        service.listen()
    for service in host.services.values():
        service.start()
    mask = os.umask(profile.umask)
    try:
        if profile.recipe:
            host.run("sh", "-exc", "".join(sh_blocks(profile.recipe)[:-1]))
        else:
            follow_readme()
    finally:
        os.umask(mask)
    yield host, noticed
    host.stop()


def test_ordinary_users_notice_nothing(evening, profile):
    from rig import battery
    host, noticed = evening
    after = battery.of_ordinary_users(host, profile)
    for key, value in noticed["before"].items():
        assert after[key] == value, key


def test_chat_users_get_what_they_expect(evening, profile):
    from rig import battery
    host, _ = evening
    assert battery.answers_to_chat_users(host, profile) == (
        dict.fromkeys(profile.ports, (523, 250)) | dict.fromkeys(profile.closed_ports, (554, 554)))


def test_the_sender_of_chat_mail_is_its_writer(evening):
    host, _ = evening
    sender, recipient = host.new_person(), host.new_person()
    with host.smtp(sender, PASSWORD) as smtp:
        smtp.sendmail(sender, [recipient], chatmessages.encrypted(sender, recipient, "hi"))
    imap = host.imap(recipient, PASSWORD)
    message, = host.wait_for_mail(imap)
    imap.logout()
    assert message.startswith(f"Return-Path: <{sender}>".encode())


NEXT_STEPS = {"dns", "live-unsigned"}
"""A resolver, and a signature on what leaves: the README has them after the wiring."""


def test_check_is_green_and_has_proven_it(evening):
    host, _ = evening
    done = host.chatmaild("check", "--live", "--json", check=False)
    bad = [f for f in json.loads(done.stdout)["findings"] if f["level"] in ("failure", "unseen")
           and f["code"] not in NEXT_STEPS]
    assert not bad


def test_removal_gives_everything_back(evening, profile):
    from rig import battery
    host, noticed = evening
    if profile.recipe:
        host.run("sh", "-exc", sh_blocks(profile.recipe)[-1])
    else:
        host.chatmaild("unwire", "--apply")
    assert changes(noticed["files before"], tree(*CONFIGURATION)) == []
    for key, value in battery.of_ordinary_users(host, profile).items():
        assert value == noticed["before"][key], key
