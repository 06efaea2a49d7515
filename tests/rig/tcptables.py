"""What postsrsd is to Postfix (tcp_table(5)): 10001 rewrites senders, 10002 gives them back.

Senders of example.org stay as they are. What stands for the others has no time and no hash.
"""

import re
import socketserver
import threading


class Table(socketserver.StreamRequestHandler):
    """Answers each ``get ADDRESS`` with ``200 ADDRESS`` or ``500 no``."""

    def handle(self) -> None:
        for line in self.rfile:
            found = self.look_up(line.decode().removeprefix("get ").strip())
            self.wfile.write(f"200 {found}\n".encode() if found else b"500 no\n")

    def look_up(self, address: str) -> str | None:
        raise NotImplementedError


class Forward(Table):
    """For the sender of a message that leaves."""

    def look_up(self, address: str) -> str | None:
        name, at, domain = address.rpartition("@")
        return f"SRS0={domain}={name}@example.org" if at and domain != "example.org" else None


class Back(Table):
    """For the recipient of a bounce."""

    def look_up(self, address: str) -> str | None:
        found = re.fullmatch(r"SRS0=([^=]+)=(.+)@example\.org", address, re.IGNORECASE)
        return f"{found[2]}@{found[1]}" if found else None


class Server(socketserver.ThreadingTCPServer):
    """One of the two ports."""

    allow_reuse_address = daemon_threads = True


back = Server(("127.0.0.1", 10002), Back)
threading.Thread(target=back.serve_forever, daemon=True).start()
Server(("127.0.0.1", 10001), Forward).serve_forever()
