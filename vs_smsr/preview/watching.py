"""Watching a video being made: a page on this machine, which costs something only while somebody looks at it."""

from __future__ import annotations

import io
import json
import secrets
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

import av
from PIL import Image as Pillow

from vs_smsr.jobs.report import Progress
from vs_smsr.preview.page import part

LOOKING = 3.0  # seconds after a request that somebody still looks; the page asks every second
QUALITY = 90  # of JPEG


class Watch(Protocol):
    """Whoever looks on."""

    def see(self, name: str, progress: Progress) -> None:
        """Called after each frame of a job, with the name of its source."""


class WatchPage:
    """Serves the latest frame before and after, at an address of this machine that cannot be guessed.

    As a context manager it serves; `see` is called with the progress of a job.

    Attributes:
        url: of the page.
    """

    def __init__(self) -> None:
        self._asked = float("-inf")
        self._state: dict[str, Any] = {}
        self._pair: tuple[av.VideoFrame, av.VideoFrame] | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._path = f"/{secrets.token_urlsafe(9)}/"
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{self._path}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="smsr watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def see(self, name: str, progress: Progress) -> None:
        """Keep the frames if somebody looks, else let go of them."""
        looking = time.monotonic() - self._asked < LOOKING
        with self._lock:
            self._pair = progress.pair if looking else None
            if looking:
                self._state = {
                    "name": name,
                    "shown": progress.pair is not None,
                    "frames": progress.frames,
                    "total": progress.total,
                    "fps": progress.fps,
                }

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Content type and body for a path of the server; None: there is nothing."""
        if not path.startswith(self._path):
            return None
        self._asked = time.monotonic()
        with self._lock:
            state, pair = self._state, self._pair
        what = path.removeprefix(self._path).partition("?")[0]
        if what == "":
            return "text/html; charset=utf-8", part("watch.html").encode()
        if what == "state":
            return "application/json", json.dumps(state).encode()
        if what in ("before.jpg", "after.jpg") and pair:
            return "image/jpeg", _jpeg(pair[what == "after.jpg"])
        return None


def _jpeg(frame: av.VideoFrame) -> bytes:
    data = io.BytesIO()
    Pillow.fromarray(frame.to_ndarray(format="rgb24")).save(data, "JPEG", quality=QUALITY)
    return data.getvalue()


def _handler(watch: WatchPage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = watch.answer(self.path)
            if found is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            kind, body = found
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The terminal belongs to the job."""

    return Handler
