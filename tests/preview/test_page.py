"""The page in a browser: mouse, touch and keys move the divider, nothing comes from outside, small screens hold it."""

from __future__ import annotations

import numpy as np
import pytest

from vs_smsr.errors import OutputExistsError
from vs_smsr.preview.page import ACTIVE, Page, Scene, overlay, render, write_page

WIDTH, HEIGHT = 640, 360
PLACE = "Number(document.getElementById('divider').getAttribute('aria-valuenow'))"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    random = np.random.default_rng(5)
    masks = overlay(random.random((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.bool_))

    def scene(number):
        layers = [np.full((HEIGHT, WIDTH, 3), shade, np.uint8) for shade in (40, 90, 200)]
        return Scene(f"0:0{number}.0", f"Sample {number} <b>", layers, [None, None, masks])

    made = Page(
        title="a </script> & b.mkv",
        subtitle="x2",
        layers=["Bicubic", "Lanczos", "smsr"],
        left=0,
        right=2,
        scenes=[scene(1), scene(2)],
        table=[["The whole job", "Time", "Size"], ["smsr", "1 min 00 s", "3M"]],
        notes=["A note."],
        legend=((ACTIVE, "works"),),
    )
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(made, path, overwrite=False)
    with pytest.raises(OutputExistsError):
        write_page(made, path, overwrite=False)
    return path.as_uri()


@pytest.fixture
def opened(browser, page):
    browser.open(page)
    return browser


def box(browser, identity):
    return browser.run(
        f"(r => [r.x, r.y, r.width, r.height])(document.getElementById('{identity}').getBoundingClientRect())"
    )


def test_the_mouse_moves_the_divider(opened):
    assert opened.run(PLACE) == 50
    x, y, width, height = box(opened, "view")
    opened.mouse((x + width / 2, y + height / 2), (x + 0.8 * width, y + height / 2))
    assert opened.run(PLACE) == 80
    opened.mouse((x + 0.25 * width, y + 20))
    assert opened.run(PLACE) == 25
    clip = opened.run("document.getElementById('over').style.clipPath")
    edge = float(clip.rsplit(" ", 1)[1].rstrip("px)"))
    stage_x, _, _, _ = box(opened, "stage")
    assert stage_x + edge == pytest.approx(x + 0.25 * width, abs=1)  # the picture is cut where the divider is


def test_touch_moves_the_divider(browser, page):
    browser.open(page, 390, 844)
    x, y, width, height = box(browser, "divider")
    middle = (x + width / 2, y + height / 2)
    browser.touch(middle, (middle[0] - 40, middle[1]), (middle[0] - 80, middle[1]))
    _, _, view, _ = box(browser, "view")
    assert browser.run(PLACE) == pytest.approx(50 - 100 * 80 / view, abs=1)


def test_keys(opened):
    for _ in range(5):
        opened.key("ArrowRight")
    assert opened.run(PLACE) == 60
    opened.key("Home")
    assert opened.run(PLACE) == 0
    opened.key("ArrowDown")
    assert opened.run("document.getElementById('caption').textContent") == "Sample 2 <b>"
    assert opened.run("getComputedStyle(document.getElementById('over-mask')).display") == "none"
    opened.key("m")
    assert opened.run("getComputedStyle(document.getElementById('over-mask')).display") == "block"
    opened.key("x")
    assert opened.run("document.getElementById('tag-left').textContent") == "smsr"


def test_one_to_one_is_one_pixel_for_one(opened):
    for zoom in (1, 2, 4):
        opened.key(str(zoom))
        assert box(opened, "stage")[2:] == [zoom * WIDTH, zoom * HEIGHT]
    assert opened.run("document.getElementById('over').naturalWidth") == WIDTH
    scroll = "document.getElementById('view').scrollLeft"
    before = opened.run(scroll)
    x, y, width, _height = box(opened, "view")
    opened.mouse((x + 0.2 * width, y + 50), (x + 0.2 * width - 100, y + 50))
    assert opened.run(scroll) == before + 100  # the picture moves, not the divider
    assert opened.run(PLACE) == 50


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_comes_from_outside_and_nothing_sticks_out(browser, page, width):
    browser.open(page, width)
    browser.key("m")
    assert browser.requested() == {page}
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelector('h1').textContent") == "a </script> & b.mkv"


def test_no_address_in_the_page():
    picture = np.zeros((4, 4, 3), np.uint8)
    text = render(Page("t", "s", ["a"], 0, 0, [Scene("1", "d", [picture])], [["x"], ["y"]]))
    assert "http" not in text.replace("http-equiv", "")
    assert "{{" not in text
    assert "<kbd>M</kbd>" not in text  # no key for masks where there are none
