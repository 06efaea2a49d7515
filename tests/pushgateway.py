"""A push gateway for tests with real hosts: an HTTP server in threads of its own."""

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Gateway(ThreadingHTTPServer):
    """Answers every POST with `status`; `rung` has the tokens in order of arrival."""

    daemon_threads = True

    def __init__(self, address="127.0.0.1"):
        super().__init__((address, 0), Handler)
        self.status = 200
        self.rung = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        address, port = self.server_address
        return f"http://{address}:{port}/notify"

    def next(self):
        return self.rung.get(timeout=60)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        token = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.rung.put(token)

    def log_message(self, *args):
        pass
