"""A socketmap at /run/aliases.sock that knows nobody (socketmap_table(5))."""

import os
import socketserver


class Nobody(socketserver.StreamRequestHandler):
    """Answers each netstring with the netstring of NOTFOUND."""

    def handle(self) -> None:
        while length := b"".join(iter(lambda: self.rfile.read(1).strip(b":"), b"")):
            self.rfile.read(int(length) + 1)
            self.wfile.write(b"9:NOTFOUND ,")


with socketserver.ThreadingUnixStreamServer("/run/aliases.sock", Nobody) as server:
    os.chmod("/run/aliases.sock", 0o666)
    server.serve_forever()
