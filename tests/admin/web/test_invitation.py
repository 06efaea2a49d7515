"""The pages of a batch of invitations."""

import errno
import os

import pytest

from chatmaild.admin.web import invitation
from chatmaild.errors import StoreError


@pytest.mark.parametrize("error, raised", [
    (OSError(errno.ENOSPC, "No space left on device"), StoreError),
    (KeyboardInterrupt(), KeyboardInterrupt)])
def test_no_page_is_left_if_not_all_can_be_written(tmp_path, monkeypatch, error, raised):
    sync, calls = os.fsync, []

    def fill(fd):
        sync(fd)
        calls.append(fd)
        if len(calls) == 3:     # after a page and its directory
            raise error
    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(raised):
        invitation.write(tmp_path, [b"one", b"two", b"three"], "batch", "2027-01-15")
    assert len(calls) == 3 and os.listdir(tmp_path / "invitation") == []
