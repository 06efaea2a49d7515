"""Two people on two chatmail hosts, with the newest Delta Chat core."""

from network import phones


def test_two_people_on_two_hosts_meet_and_talk(one, two, core):
    anna = phones.onboard(core, f"anna5talk@{one.site.chat_domain}")
    bert = phones.onboard(core, f"bert7talk@{two.site.chat_domain}")
    bert.secure_join(anna.get_qr_code())
    anna.wait_for_securejoin_inviter_success()
    bert.wait_for_securejoin_joiner_success()
    for sender, receiver in ((anna, bert), (bert, anna)):
        sender.create_chat(receiver).send_text("Hello over there")
        message = receiver.wait_for_incoming_msg().get_snapshot()
        assert message.text == "Hello over there" and message.show_padlock
