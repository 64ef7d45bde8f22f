"""A headless Chromium, driven over its DevTools protocol: open a page at a width, in light or dark, and ask it."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websocket

Json = dict[str, Any]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing leaves the machine: no address is resolved but the loopback's.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)


def find() -> str | None:
    """The browser's program, None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Tab:
    """One tab. Every call waits for its answer; events that arrive meanwhile are kept."""

    socket: websocket.WebSocket
    numbers: Iterator[int] = field(default_factory=itertools.count)
    events: list[Json] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> Json:
        """One command of the protocol. Raises RuntimeError with the browser's message."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: Json = answer["result"]
        return result

    def look_as(self, width: int, height: int, scheme: str) -> None:
        """Be a screen of that many CSS pixels whose owner prefers `light` or `dark`."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, address: str) -> None:
        """Load a page and wait for its `load` event."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))

    def ask(self, script: str) -> Any:
        """The value of an expression in the page, awaited. Raises RuntimeError with what it threw."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def requested(self) -> list[str]:
        """The addresses that the page asked for since it was opened."""
        sent = [event for event in self.events if event.get("method") == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def picture(self) -> bytes:
        """What the screen shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def open_tab(program: str, profile: Path) -> Iterator[Tab]:
    """Start the browser with an empty profile, give its tab, and end it."""
    browser = subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert browser.stderr is not None
        said = next((line for line in browser.stderr if "DevTools listening on ws://" in line), "")
        assert said, "the browser ended before it listened"
        port = said.rpartition("ws://")[2].partition("/")[0]
        # Loopback, whatever proxy the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{port}/json/list", timeout=30) as answer:
            [target] = [one for one in json.load(answer) if one["type"] == "page"]
        socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=120, http_no_proxy=["127.0.0.1"])
        with contextlib.closing(socket):
            tab = Tab(socket)
            for domain in ("Page", "Network", "Runtime"):
                tab.call(f"{domain}.enable")
            yield tab
    finally:
        browser.terminate()
        browser.communicate(timeout=30)
