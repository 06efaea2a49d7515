"""An old Delta Chat core that comes as a library of C, made a deltachat-rpc-server:

    python3 bridge.py capi.abi3.so

Requests are lines of its input, answers lines of its output. Accounts are in DC_ACCOUNTS_PATH.
"""

import ctypes
import os
import sys
import threading

core = ctypes.CDLL(sys.argv[1])
for name in ("dc_accounts_new", "dc_jsonrpc_init", "dc_jsonrpc_next_response"):
    getattr(core, name).restype = ctypes.c_void_p
accounts = ctypes.c_void_p(core.dc_accounts_new(os.environ["DC_ACCOUNTS_PATH"].encode(), 1))
server = ctypes.c_void_p(core.dc_jsonrpc_init(accounts))


def answer() -> None:
    while response := core.dc_jsonrpc_next_response(server):
        sys.stdout.buffer.write(ctypes.string_at(response) + b"\n")
        sys.stdout.buffer.flush()
        core.dc_str_unref(ctypes.c_void_p(response))


threading.Thread(target=answer, daemon=True).start()
for request in sys.stdin.buffer:
    core.dc_jsonrpc_request(server, request.strip())
os._exit(0)     # what the core has to tell nobody waits for
