"""What comes from outside: pictures of every kind, and posts no honest page would send."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from page.events import full_mask

LINE = ((100, 250), (400, 250))


def file_bytes(image: Image.Image, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def gradient(width: int, height: int, mode: str = "RGB") -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).convert(mode)


def data_url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def mask_url(width: int, height: int) -> str:
    return data_url(file_bytes(Image.new("L", (width, height), 255)))


BAD_POSTS = {
    "not base64": (1, "data:image/png;base64,%%%%"),
    "a JPEG called PNG": (1, data_url(file_bytes(Image.new("L", (1024, 1024), 255), "JPEG"))),
    "another size": (1, mask_url(64, 64)),
    "far too large": (1, "data:image/png;base64," + "A" * 13_000_000),
    "steps NaN": (4, float("nan")),
    "steps 10000": (4, 10000),
    "seed missing": (2, None),
    "candidates 9": (5, 9),
    "a model that is not there": (6, 99),
}


def test_bad_posts_get_a_message_and_the_server_lives(tab):
    tab.page.get_by_label("Lock").check()
    tab.stroke(*LINE)
    tab.set_steps(1)
    for name, (place, value) in BAD_POSTS.items():
        tab.altered_post(lambda data, place=place, value=value: data.__setitem__(place, value))
        tab.click("Redraw")
        tab.page.wait_for_selector(".sundae[data-busy='0'] .message:not([hidden])")
        assert "went wrong" not in tab.text(".message p"), name
        tab.plain_post()
    tab.redraw()
    assert tab.page.locator(".message").is_hidden()


def test_redraw_without_a_mask_says_so(tab):
    tab.click("Redraw")
    tab.wait_for_text(".message p", "Paint over what should change")


def test_a_full_queue_is_a_kind_message(tab):
    tab.stroke(*LINE)
    answer = '{"detail": "Queue is full. Max size is 20 and size is 20."}'
    tab.page.route("**/queue/join*", lambda route: route.fulfill(status=503, body=answer))
    tab.click("Redraw")
    tab.wait_for_text(".message p", "The server did not take the job")
    tab.errors.clear()  # the browser logs the 503
    tab.plain_post()
    tab.set_steps(1)
    tab.redraw()


@pytest.mark.parametrize("way", ["open", "drop", "paste"])
def test_a_picture_is_loaded_and_comes_back_at_its_size(tab, server, way):
    image = gradient(500, 700)
    if way == "open":
        tab.page.locator("[data-file]").set_input_files(
            {"name": "open.png", "mimeType": "image/png", "buffer": file_bytes(image)}
        )
    else:
        tab.drop(f"{way}.png", file_bytes(image), way)
    tab.wait_for_text("#status", f"{way}.png, 500 × 700")
    uploads = [
        path for path in server.files.rglob("*.png") if "sundae" not in str(path.relative_to(server.files))
    ]
    assert uploads == [], "the upload must not stay on disk"
    tab.stroke(*LINE)
    tab.set_steps(1)
    tab.redraw()
    result = tab.download()[0]
    assert result.size == (500, 700)
    changed = (np.asarray(result.convert("RGB")) != np.asarray(image)).any(-1)
    assert changed.any()
    assert not changed[~tab.mask()].any()


def test_a_large_picture_is_painted_in_a_smaller_view(tab):
    image = gradient(2400, 900)
    tab.drop("large.png", file_bytes(image))
    tab.wait_for_text("#status", "large.png, 2400 × 900")
    tab.stroke((900, 400), (1200, 400))
    assert tab.mask().shape == (768, 2048)
    tab.set_steps(1)
    tab.redraw()
    result = tab.download()[0]
    assert result.size == (2400, 900)
    changed = (np.asarray(result.convert("RGB")) != np.asarray(image)).any(-1)
    assert changed.any()
    assert not changed[~full_mask(tab.mask(), (2400, 900))].any()


def test_what_is_no_picture_is_refused_and_the_old_one_stays(tab):
    tab.stroke(*LINE)
    before = tab.mask()
    for name, data in (("notes.png", b"not a picture at all"), ("tiny.png", file_bytes(gradient(2, 2)))):
        tab.drop(name, data)
        tab.page.wait_for_selector(".message:not([hidden])")
        tab.click("Dismiss the message")
    assert np.array_equal(tab.mask(), before)
    tab.set_steps(1)
    tab.redraw()
