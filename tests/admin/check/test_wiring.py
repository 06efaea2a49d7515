"""What `check` says about a host from the plan of `wire`: one advice, never two."""

import pytest
from captured import RELEASES, dovecot, postfix

from chatmaild.admin.check import wiring
from chatmaild.admin.check.findings import failure, ok
from chatmaild.admin.wiring.steps import Kind, Obstacle, Plan, Step

MAIN, SECOND = "/etc/postfix/main.cf", "/etc/postfix-second/main.cf"
STEP = Step(Kind.PARAMETER, MAIN, "virtual_transport", "virtual", "lmtp:unix:x", "a reason",
            ("transport",))


def test_the_cure_is_the_step_of_the_plan():
    mended, other, fine = wiring.with_cures(
        [failure("transport", "here", "wrong", "its own words"),
         failure("elsewhere", "there", "wrong", "its own words"), ok("transport", "here", "fine")],
        Plan((STEP,)))
    assert mended.cure.startswith("chatmaild wire --apply") and mended.text == "wrong"
    assert f"{MAIN}: virtual_transport" in mended.cure and "now  lmtp:unix:x" in mended.cure
    assert other.cure == "its own words" and fine.cure == ""


def test_without_a_plan_findings_keep_their_own_cure():
    found = [failure("transport", "here", "wrong", "its own words")]
    assert list(wiring.with_cures(found, None)) == found


@pytest.mark.parametrize("release", RELEASES)
def test_a_host_that_nobody_has_wired_is_one_finding_and_what_is_in_the_way(release):
    stock, wired = (postfix(release, state) for state in ("ordinary", "wired"))
    assert wiring.is_unwired(stock, dovecot(release, "stock"))
    assert not wiring.is_unwired(wired, dovecot(release, "stock"))
    assert not wiring.is_unwired(stock, dovecot(release, "wired"))
    unwired, obstacle = wiring.unwired(Plan((STEP,), (Obstacle("a line", "is wrong", "mend it"),)))
    assert "1 changes" in unwired.text and "chatmaild wire --apply" in unwired.cure
    assert (obstacle.place, obstacle.text, obstacle.cure) == ("a line", "is wrong", "mend it")


def test_another_instance_that_lets_chat_users_send():
    here = postfix("bookworm")
    there = Step(Kind.PARAMETER, SECOND, "chat_logins", None, "x", "a reason")
    found, = wiring.other_instances(here, Plan((STEP, there)))
    assert found.code == "instance-open" and found.place == "/etc/postfix-second/master.cf"
    assert not list(wiring.other_instances(here, Plan((STEP,))))
