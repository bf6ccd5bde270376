"""The page of a running job: nothing is kept while nobody looks, the frames are the job's, strangers get nothing."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from vs_smsr.jobs.report import Progress
from vs_smsr.jobs.video import upscale_video
from vs_smsr.options import VideoOptions
from vs_smsr.preview.watching import WatchPage
from vs_smsr.tiling import Tiler


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read()


def progress(level):
    def grey(size):
        return av.VideoFrame.from_ndarray(np.full((size, size, 3), level, np.uint8), "rgb24")

    return Progress(7, 9, 2.5, 0.5, 0.0, (grey(16), grey(32)))


def test_nothing_is_kept_while_nobody_looks():
    with WatchPage() as watch:
        watch.see("a", progress(100))
        assert watch._pair is None
        assert json.loads(get(f"{watch.url}state")) == {}
        watch.see("a", progress(100))
        assert json.loads(get(f"{watch.url}state"))["frames"] == 7
        after = Pillow.open(io.BytesIO(get(f"{watch.url}after.jpg")))
        assert after.size == (32, 32)
        assert abs(int(np.asarray(after)[5, 5, 0]) - 100) <= 2
        watch._asked -= 10  # the one who looked has gone
        watch.see("a", progress(50))
        assert watch._pair is None


def test_others_get_nothing():
    with WatchPage() as watch:
        assert watch.url.startswith("http://127.0.0.1:")
        root = re.match(r"http://[^/]+/", watch.url)[0]
        for wrong in (root, f"{root}state", f"{watch.url}nothing", f"{watch.url}../../etc/passwd"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                get(wrong)
        assert b"<title>vs-smsr" in get(watch.url)


def test_the_frames_are_those_of_the_job(demo_clip, tmp_path, stand_in):
    seen = []
    with WatchPage() as watch:

        def look(state):
            get(f"{watch.url}state")
            watch.see("demo.mp4", state)
            if state.frames == 30:
                seen.extend(Pillow.open(io.BytesIO(get(f"{watch.url}{name}.jpg"))) for name in ("before", "after"))

        options = VideoOptions(preset="ultrafast")
        upscale_video(demo_clip, tmp_path / "x2.mkv", Tiler(stand_in()), options, look)
    before, after = (np.asarray(one, np.float32) for one in seen)
    assert (before.shape, after.shape) == ((180, 320, 3), (360, 640, 3))
    assert np.abs(before.repeat(2, 0).repeat(2, 1) - after).mean() < 3  # the engine repeats pixels


def test_the_page_shows_both_frames(browser):
    wait = "new Promise(done => setTimeout(() => done(document.getElementById('after').naturalWidth), 200))"
    with WatchPage() as watch:
        browser.open(watch.url, 390, 844)
        shown = 0
        for _ in range(60):
            if shown:
                break
            watch.see("a", progress(90))
            shown = browser.run(wait)
        assert shown == 32
        assert browser.run("document.getElementById('before').naturalWidth") == 16
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert all(address.startswith("http://127.0.0.1:") for address in browser.requested())
