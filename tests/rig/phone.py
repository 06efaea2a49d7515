"""A phone with the real Delta Chat core, which registers for push notifications. Run it as

    python3 phone.py capi.abi3.so DIRECTORY LOGIN-LINK TOKEN

TOKEN stands for what the phone's system gave the app. Prints "registered" when the core has told
the server, and stays online until its input ends. The core's JSON-RPC has no way to set a token,
so this uses its C interface.
"""

import ctypes
import sys
import time

CONFIGURE_PROGRESS = 2041
DONE, FAILED = 1000, 0
PUSH_CONNECTED = 2
SECONDS = 120

library, *arguments = sys.argv[1:]
directory, login, token = (argument.encode() for argument in arguments)
core = ctypes.CDLL(library)
for name in ("dc_accounts_new", "dc_accounts_get_account", "dc_accounts_get_event_emitter",
             "dc_get_next_event"):
    getattr(core, name).restype = ctypes.c_void_p


def pointer(value):
    return ctypes.c_void_p(value)


accounts = pointer(core.dc_accounts_new(directory, 1))
account = pointer(core.dc_accounts_get_account(accounts, core.dc_accounts_add_account(accounts)))
if not core.dc_set_config_from_qr(account, login):
    sys.exit("the login link was refused")
events = pointer(core.dc_accounts_get_event_emitter(accounts))
core.dc_configure(account)
progress = None
while progress not in (DONE, FAILED):
    event = pointer(core.dc_get_next_event(events))
    if core.dc_event_get_id(event) == CONFIGURE_PROGRESS:
        progress = core.dc_event_get_data1_int(event)
    core.dc_event_unref(event)
if progress == FAILED:
    sys.exit("login failed")
core.dc_accounts_set_push_device_token(accounts, token)
core.dc_accounts_start_io(accounts)
end = time.monotonic() + SECONDS
while core.dc_get_push_state(account) != PUSH_CONNECTED:
    if time.monotonic() > end:
        sys.exit("not registered")
    time.sleep(0.05)
print("registered", flush=True)
sys.stdin.read()
core.dc_accounts_stop_io(accounts)
