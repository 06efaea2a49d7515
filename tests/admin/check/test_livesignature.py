"""Would another server accept the signature of a message that was delivered?"""

import dkimkit
import pytest
from dkimcheck import NAME, NOW

from chatmaild.admin.check import livesignature

KEY = dkimkit.rsa()
SIGNED = dkimkit.sign(dkimkit.MESSAGE, KEY)
BY_ANOTHER = dkimkit.sign(dkimkit.MESSAGE, KEY, domain=b"list.example")


@pytest.mark.parametrize("message, records, code, level", [
    (SIGNED, (KEY.record,), "live-signature", "ok"),
    (b"Delivered-To: x\r\n" + SIGNED, (KEY.record,), "live-signature", "ok"),
    (SIGNED, (), "live-signature", "warning"),
    (SIGNED, None, "live-signature", "warning"),
    (SIGNED, (dkimkit.rsa(1024).record,), "live-signature", "warning"),
    (SIGNED.replace(b"Two", b"2"), (KEY.record,), "live-signature", "warning"),
    (dkimkit.MESSAGE, (KEY.record,), "live-unsigned", "failure"),
    (BY_ANOTHER, (KEY.record,), "live-unsigned", "failure"),
])
def test_signatures(message, records, code, level):
    found = livesignature.check(message, "sender.example", "587", NOW,
                                lambda names: {name: records for name in names if name == NAME})
    assert (found.code, found.level) == (code, level)
