"""A real browser for tests: Chromium over its own pipe, with nothing to install."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_ANSWER_SECONDS = 30
_KEYS = {"Tab": 9, "Enter": 13}


class Browser:
    """One page of one browser."""

    def __init__(self, folder):
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser reads 3 and writes 4; first out of the way, should one of ours be these.
        ours = [fcntl.fcntl(one, fcntl.F_DUPFD, 20) for one in (to_read, to_write)]

        def hand_over():
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        self._process = subprocess.Popen(
            [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
            preexec_fn=hand_over,  # noqa: PLW1509 - The browser wants these two numbers.
            pass_fds=(3, 4), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for one in (*ours, to_read, to_write):
            os.close(one)
        self._buffer, self._number, self._events, self._session = b"", 0, [], None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def close(self):
        """End it."""
        with contextlib.suppress(Exception):
            os.killpg(self._process.pid, 9)
        self._process.wait(10)
        os.close(self._read)
        os.close(self._write)

    def size(self, width, height):
        """Be a screen of this size."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def theme(self, name):
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self._ask("Emulation.setEmulatedMedia", features=features)

    def go(self, url):
        """Open an address, and wait for it."""
        with self.loading():
            self._ask("Page.navigate", url=url)

    def click(self, selector):
        """Click something that leads to another page, and wait for that."""
        with self.loading():
            assert self.run(f"!!document.querySelector({json.dumps(selector)})"), selector
            self.run(f"setTimeout(() => document.querySelector({json.dumps(selector)}).click())")

    def fill(self, selector, text):
        """Write into a field as a person does."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        self._ask("Input.insertText", text=text)

    def press(self, key):
        """Press a key."""
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "char" else {}
            if kind == "char" and not text:
                continue
            self._ask(
                "Input.dispatchKeyEvent",
                type=kind, key=key, windowsVirtualKeyCode=_KEYS[key], **text,
            )  # fmt: skip

    def run(self, script):
        """Return what a script says."""
        done = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def text(self):
        """Return what a reader sees."""
        return self.run("document.body.innerText")

    def complaints(self):
        """Return what the browser has complained about, such as a broken policy.

        That an answer was an error, like the form for who is not signed in, is none of it.
        """
        self.run("0")
        entries = [
            one["params"]["entry"] for one in self._events if one["method"] == "Log.entryAdded"
        ]
        return [one["text"] for one in entries if "the server responded" not in one["text"]]

    def cookies(self):
        """Return the cookies."""
        return self._ask("Network.getAllCookies")["cookies"]

    def picture(self, path):
        """Take a picture of the whole page."""
        done = self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(done["data"]))

    @contextlib.contextmanager
    def loading(self):
        """Wait until a page has been loaded that begins to load in here."""
        before = self._loads()
        yield
        deadline = time.monotonic() + _ANSWER_SECONDS
        while self._loads() == before:
            assert time.monotonic() < deadline, "no page was loaded"
            self._take(0.1)

    def _loads(self):
        return sum(one["method"] == "Page.loadEventFired" for one in self._events)

    def _ask(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            for found in self._take(0.2):
                if found.get("id") == self._number:
                    assert "error" not in found, found
                    return found["result"]
        raise AssertionError(f"the browser does not answer {method}")

    def _take(self, seconds):
        """Read what has come; keep events, return answers."""
        ready, _, _ = select.select([self._read], [], [], seconds)
        if ready:
            self._buffer += os.read(self._read, 1 << 20)
        answers = []
        while b"\0" in self._buffer:
            one, _, self._buffer = self._buffer.partition(b"\0")
            message = json.loads(one)
            (self._events if "method" in message else answers).append(message)
        return answers
