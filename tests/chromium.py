"""A real Chromium without a window, driven by the DevTools protocol."""

import json
import shutil
import subprocess
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any

import websocket
from rig.until import until

PROGRAM = shutil.which("chromium")

PATIENCE = 120
"""Seconds that one answer may take, on the busiest of machines."""


class Chromium:
    """One page. What it asked for and complained about is kept in `requests` and `complaints`."""

    def __init__(self, directory: Path):
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._events: deque[dict[str, Any]] = deque()
        self._number = 0
        # Debian's wrapper reads HOME; nothing of ours and no network but loopback is used.
        self._process = subprocess.Popen(
            [PROGRAM or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-extensions", "--disable-sync",
             "--remote-debugging-port=0", "--remote-allow-origins=*",
             f"--user-data-dir={directory}", "about:blank"],
            env={"HOME": str(directory), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._connect(directory / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise

    def _connect(self, noted: Path) -> None:
        until(lambda: self._process.poll() is not None
              or noted.exists() and noted.read_text().count("\n"), "Chromium to listen", PATIENCE)
        assert self._process.poll() is None, "Chromium has ended"
        port = noted.read_text().split("\n")[0]
        page = until(lambda: self._page(port), "Chromium to open a page", PATIENCE)
        self._socket = websocket.create_connection(page["webSocketDebuggerUrl"], timeout=PATIENCE)
        for domain in ("Page", "Network", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    @staticmethod
    def _page(port: str) -> dict[str, Any] | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            return next((one for one in json.load(answer) if one["type"] == "page"), None)

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command. AssertionError with what Chromium says against it."""
        self._number += 1
        self._socket.send(json.dumps(
            {"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "result" in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, about = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(about["entry"]["text"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(about))
        self._events.append(event)

    def show(self, address: str, width: int, height: int, dark: bool = False) -> None:
        """Open a page as a screen of that size does; it is loaded when this returns."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if width < 600 else 1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._events.clear()
        loader = self.call("Page.navigate", url=address)["loaderId"]
        loaded = {"name": "load", "loaderId": loader}      # not the page before, which may be late
        while not any(event.get("method") == "Page.lifecycleEvent"
                      and loaded.items() <= event["params"].items() for event in self._events):
            self._note(json.loads(self._socket.recv()))

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives on the page."""
        return self.call("Runtime.evaluate", expression=expression,
                         returnByValue=True)["result"].get("value")

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of all that assistive technology is told of."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [(node["role"]["value"], node.get("name", {}).get("value", ""))
                for node in nodes if not node["ignored"]]

    def screenshot(self) -> str:
        """A PNG in base64."""
        return str(self.call("Page.captureScreenshot", format="png")["data"])
