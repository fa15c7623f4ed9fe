"""Driving a page in Chromium by its DevTools protocol, through a pipe: no port, no package.

https://chromedevtools.github.io/devtools-protocol
"""

import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from browser import CHROMIUM

PATIENCE = 60  # seconds until what should come counts as missing; machines may be busy


class Tab:
    """An open page.

    Attributes:
        requested: the addresses of all that it has asked for.
        events: what Chromium has told, but for answers.
    """

    def __init__(self, write: int, read: int):
        """
        Args:
            write, read: the ends of the pipes of Chromium.
        """
        self.pipe, self.read, self.rest = write, read, b""
        self.session = ""
        self.number = 0
        self.events: List[Dict[str, Any]] = []

    @property
    def requested(self) -> List[str]:
        wanted = "Network.requestWillBeSent"
        return [x["params"]["request"]["url"] for x in self.events if x["method"] == wanted]

    def call(self, method: str, **params: Any) -> Dict[str, Any]:
        """Call a method of the protocol, and return its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.pipe, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> Dict[str, Any]:
        while b"\0" not in self.rest:
            part = os.read(self.read, 2**20)
            assert part, "Chromium has ended."
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def run(self, script: str) -> Any:
        """Run JavaScript, and return the value of its last expression."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, (script, found["exceptionDetails"])
        return found["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Wait until a script gives a value that is true, and return it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.1)
        raise AssertionError(f"'{script}' did not come. The page says: {self.text()}")

    def text(self) -> str:
        """What can be read on the page."""
        return self.run("document.body.innerText")

    def drop(self, path: Path, x: float, y: float) -> None:
        """Drop a file on the page.

        Args:
            x, y: the place, in pixels of the window.
        """
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def press(self, key: str, number: int) -> None:
        """Press a key, where the focus is.

        Args:
            number: Windows' of the key, by which Chromium knows what it does.
        """
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=number)


@contextmanager
def open_tab(address: str, folder: Path, width: int = 1280, height: int = 1000) -> Iterator[Tab]:
    """Open a page in a browser without a window, that reaches nothing but this computer.

    Args:
        address: of the page.
        folder: for files of the browser.
        width, height: of the window, in pixels.
    """
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    to_it, write = os.pipe()
    read, from_it = os.pipe()

    def as_3_and_4() -> None:  # the numbers that Chromium expects; the pipes may have them already
        here, there = os.dup(to_it), os.dup(from_it)
        os.dup2(here, 3)
        os.dup2(there, 4)

    process = subprocess.Popen(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu"),
            *("--remote-debugging-pipe", f"--user-data-dir={folder / 'browser'}"),
            *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank"),
        ],
        preexec_fn=as_3_and_4,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_it)
    os.close(from_it)
    tab = Tab(write, read)
    try:
        [target] = [x for x in tab.call("Target.getTargets")["targetInfos"] if x["type"] == "page"]
        found = tab.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab.session = found["sessionId"]
        for domain in ("Network", "Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        tab.call("Page.navigate", url=address)
        tab.wait_for("document.body !== null")
        yield tab
    finally:
        process.terminate()
        process.wait()
        os.close(write)
        os.close(read)
