"""``chatmaild wire`` as a command."""

import pytest

from chatmaild import cli


@pytest.mark.parametrize("address", ["", "chat.example.org", "192.0.2.300"])
def test_own_submission_wants_an_address(address, capsys):
    """An empty one, of a variable that is not set say, would wire the ordinary services."""
    with pytest.raises(SystemExit) as end:
        cli.main(["wire", "--own-submission", address])
    assert end.value.code == 2
    assert f"--own-submission: {address!r}: must be an IP address" in capsys.readouterr().err
