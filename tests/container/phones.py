"""Two real Delta Chats on one host: they onboard, meet and talk. Run in the machine:

    python3 phones.py SITE-PACKAGES DOMAIN
"""

import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

packages, domain = sys.argv[1:]
sys.path.append(packages)

from deltachat_rpc_client import DeltaChat, Rpc  # noqa: E402


def onboard(core: DeltaChat, name: str):
    """Nothing but address and password is told; ic=3: the test host signed its own certificate."""
    account = core.add_account()
    account.add_transport_from_qr(f"dclogin:{name}@{domain}?p={quote('a secret of phones')}"
                                  "&v=1&ic=3")
    account.bring_online()
    return account


def talk(sender, receiver, text: str) -> None:
    sender.create_chat(receiver).send_text(text)
    message = receiver.wait_for_incoming_msg().get_snapshot()
    assert message.text == text and message.show_padlock, message


with tempfile.TemporaryDirectory() as directory:
    server = Path(packages) / "deltachat_rpc_server/deltachat-rpc-server"
    with Rpc(f"{directory}/accounts", server) as rpc:
        core = DeltaChat(rpc)
        anna, bert = onboard(core, "annaphone"), onboard(core, "bertphone")
        bert.secure_join(anna.get_qr_code())
        anna.wait_for_securejoin_inviter_success()
        bert.wait_for_securejoin_joiner_success()
        talk(anna, bert, "Hello Bert")
        talk(bert, anna, "Hello Anna")
print("encrypted both ways")
