"""An invitation makes one account, until its day; the disk does not know its token."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from chatmaild.accounts.invites import TOKEN_LENGTH, Invites
from chatmaild.accounts.layout import DAY
from chatmaild.accounts.lifecycle import Creation
from chatmaild.accounts.mailboxes import Mailboxes
from chatmaild.config import inifile
from chatmaild.disk import atomic
from chatmaild.errors import StoreError, UsageError

NOW = 20_000 * DAY + 50_000
DOMAIN = "chat.example"


@pytest.fixture
def boxes(tmp_path):
    parsed = inifile.parse(f"[chatmaild]\nmail_domains = {DOMAIN}\nmailboxes_dir = {tmp_path}\n"
                           "password_min_length = 40".encode(), Path("test.ini"))
    boxes = Mailboxes(parsed)
    boxes.prepare()
    boxes.domain = parsed.domains[DOMAIN]
    return boxes


@pytest.fixture
def invites(boxes):
    return Invites(boxes)


def test_each_invitation_is_a_login_of_its_own(boxes, invites):
    batch, made = invites.create(boxes.domain, 50, 7, NOW)
    assert len({each.address for each in made}) == len({each.password for each in made}) == 50
    for each in made:
        assert boxes.find(each.address) and len(each.address.partition("@")[0]) == 9
        assert len(each.password) >= 40
        assert invites.claim(DOMAIN, each.password.encode(), NOW)
    [found] = invites.batches(DOMAIN)
    assert (found.id, found.left, found.created) == (batch, 50, 20_000 * DAY)


def test_the_disk_does_not_know_the_token(boxes, invites):
    _, [made] = invites.create(boxes.domain, 1, 7, NOW)
    token = made.password[:TOKEN_LENGTH].encode()
    directory = Path(boxes.root, DOMAIN, ".invites")
    [path] = directory.iterdir()
    assert path.name == hashlib.sha256(token).hexdigest()
    assert token not in path.read_bytes() and path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("password", [b"", b"x", b"a guess of some length", b"\xff" * 60,
                                      b"../../../../etc/passwd and more", b"\0" * 40])
def test_guesses(boxes, invites, password):
    assert invites.claim(DOMAIN, password, NOW) is None
    invites.create(boxes.domain, 1, 7, NOW)
    assert invites.claim(DOMAIN, password, NOW) is None


def test_the_token_alone_is_no_password(boxes, invites):
    _, [made] = invites.create(boxes.domain, 1, 7, NOW)
    assert invites.claim(DOMAIN, made.password[:TOKEN_LENGTH].encode(), NOW) is None
    assert invites.claim(DOMAIN, made.password.encode()[:TOKEN_LENGTH] + b"!", NOW)


def test_an_invitation_is_spent_with_the_creation(boxes, invites):
    _, [made] = invites.create(boxes.domain, 1, 7, NOW)
    claim = invites.claim(DOMAIN, made.password.encode(), NOW)
    assert boxes.find(made.address).create("{PLAIN}x", NOW, claim) is Creation.DONE
    assert invites.claim(DOMAIN, made.password.encode(), NOW) is None
    assert boxes.find("another12@chat.example").create("{PLAIN}x", NOW, claim) \
        is Creation.CLAIM_GONE
    assert invites.batches(DOMAIN) == []


def test_expiry(boxes, invites):
    _, [made] = invites.create(boxes.domain, 1, 1, NOW)
    password = made.password.encode()
    assert invites.claim(DOMAIN, password, NOW + DAY)
    assert invites.claim(DOMAIN, password, 20_002 * DAY) is None
    assert invites.sweep(DOMAIN, NOW + DAY) == []
    due = invites.sweep(DOMAIN, 20_002 * DAY, dry_run=True)
    assert len(due) == 1 and invites.batches(DOMAIN)
    assert invites.sweep(DOMAIN, 20_002 * DAY) == due and invites.batches(DOMAIN) == []


def test_by_a_clock_set_back_a_day_an_invitation_counts_and_stays(boxes, invites):
    _, [made] = invites.create(boxes.domain, 1, 1, NOW)
    assert invites.sweep(DOMAIN, NOW - DAY) == []
    assert invites.claim(DOMAIN, made.password.encode(), NOW - DAY)


def test_revoking_takes_one_batch_back(boxes, invites):
    first, [made] = invites.create(boxes.domain, 1, 7, NOW)
    second, others = invites.create(boxes.domain, 3, 7, NOW)
    assert invites.revoke(DOMAIN, second) == 3 and invites.revoke(DOMAIN, second) == 0
    assert [batch.id for batch in invites.batches(DOMAIN)] == [first]
    assert not any(invites.claim(DOMAIN, each.password.encode(), NOW) for each in others)
    assert invites.claim(DOMAIN, made.password.encode(), NOW)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"batch": 1}', b"\xff\xfe"])
def test_a_file_that_is_no_invitation_invites_nobody(boxes, invites, content):
    _, [made] = invites.create(boxes.domain, 1, 7, NOW)
    [path] = Path(boxes.root, DOMAIN, ".invites").iterdir()
    path.write_bytes(content)
    assert invites.claim(DOMAIN, made.password.encode(), NOW) is None
    assert invites.batches(DOMAIN) == []


def test_a_file_that_never_becomes_an_invitation_goes(boxes, invites):
    """Of a command that was killed while it wrote."""
    invites.create(boxes.domain, 1, 7, NOW)
    unfinished = Path(boxes.root, DOMAIN, ".invites", "cut-short")
    unfinished.write_text('{"batch": "abc')
    os.utime(unfinished, (NOW, NOW))
    assert invites.sweep(DOMAIN, NOW + 60) == [], "it may be being written"
    assert invites.sweep(DOMAIN, NOW + 7200, dry_run=True) == [str(unfinished)]
    assert unfinished.exists()
    assert invites.sweep(DOMAIN, NOW + 7200) == [str(unfinished)] and not unfinished.exists()
    assert len(invites.batches(DOMAIN)) == 1


def test_a_batch_that_does_not_fit_on_the_disk_leaves_nothing(boxes, invites, monkeypatch):
    written = []

    def write(path, *arguments, **options):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return real(path, *arguments, **options)

    real = atomic.write_new_file
    monkeypatch.setattr(atomic, "write_new_file", write)
    with pytest.raises(StoreError, match="make room"):
        invites.create(boxes.domain, 3, 7, NOW)
    assert invites.batches(DOMAIN) == [] and not any(map(os.path.exists, written))


@pytest.mark.parametrize("uses", [0, -1, 10_001])
def test_a_batch_has_a_sensible_size(boxes, invites, uses):
    with pytest.raises(UsageError):
        invites.create(boxes.domain, uses, 7, NOW)


def test_invitations_are_no_mailboxes(boxes, invites):
    invites.create(boxes.domain, 2, 7, NOW)
    assert list(boxes.of_domain(DOMAIN)) == []
    boxes.sweep(DOMAIN, NOW + 10 ** 9)
    assert len(os.listdir(f"{boxes.root}/{DOMAIN}/.invites")) == 2
