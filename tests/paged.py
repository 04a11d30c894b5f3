"""The editor's page in a browser: what its tests share. A server, somebody who visits, and what they see.

Most tests use a model whose photograph is its style map (`styled.Mirror`), so that every pixel says what it wears.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, sync_playwright

from gesso.editor.server import create_app, server
from gesso.serving import listen
from gesso.synthesis.synthesizer import Synthesizer
from styled import colour

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
Pixels = npt.NDArray[np.uint8]

# The photograph of the present document in full, pixel by pixel; null while another one is shown.
PHOTOGRAPH = """() => {
    const { picture, document } = window.gesso;
    if (picture?.document !== document || !picture.whole) return null;
    const { width, height } = picture.bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(picture.bitmap, 0, 0);
    return [height, width, [...context.getImageData(0, 0, width, height).data]];
}"""
IS_LEFT, IS_RIGHT = np.s_[15:23, 5:15], np.s_[17:25, 22:43]  # inside the cars of `scene`


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium; without it tests are skipped, and fail in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        reason = "chromium is not installed; pages are tested in it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def somebody(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of one's own, in which nothing may go wrong unseen: no error of a script, none in the console.

    What the content security policy forbids is said in the console, and counts.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda message: wrong.append(message.text) if is_fault(message) else None)
    yield context
    context.close()
    assert wrong == []


def is_fault(message: ConsoleMessage) -> bool:
    """Whether a message of the console is a fault of the page: all errors but that the server refused, or is not there."""
    is_answer = message.text.startswith("Failed to load resource") and "/api/" in message.location["url"]
    is_socket = message.text.startswith("WebSocket connection to") and "/api/live" in message.text
    return message.type == "error" and not is_answer and not is_socket


@contextmanager
def served(synthesizer: Synthesizer, port: int = 0, **options: Any) -> Iterator[str]:
    """The address of the editor, served by this process."""
    running, listening = server(create_app(synthesizer, **options)), listen("127.0.0.1", port)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def served_apart(model: Path, data: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address and process of `gesso edit`."""
    command = [sys.executable, "-m", "gesso", "edit", model, "--data", data, "--port", str(port), "--no-browser"]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = next((m for line in process.stdout if (m := re.search(r"(http://[\d.:]+)", line))), None)
            assert found, "gesso edit tells its address"
            yield found.group(1), process
        finally:
            process.kill()


def visit(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    return page


# Leaves every style to chance, as a layout begins that came without a photograph.
UNDRESS = """() => {
    const { document } = gesso;
    const objects = document.objects.map((object) => ({ ...object, style: null }));
    gesso.replaceDocument({ ...document, objects, styles: { ...document.styles, classes: {}, z: null } });
}"""


def start(context: BrowserContext, address: str, example: str = "one", dressed: bool = False) -> Page:
    """Open the page, and one of the layouts to start from: in chance styles, or those of its photograph."""
    page = visit(context, address)
    page.locator(".card", has_text=example).first.click()
    page.wait_for_function("() => !window.gesso.empty")
    if not dressed:
        page.evaluate(UNDRESS)
    return page


def look(page: Page) -> Pixels:
    """The photograph of what is painted now, (H, W, 3)."""
    height, width, values = page.wait_for_function(PHOTOGRAPH).json_value()
    return np.array(values, dtype=np.uint8).reshape(height, width, 4)[..., :3]


def row(page: Page, name: str) -> Locator:
    return page.locator(".object-name", has_text=name)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def saved(page: Page, item: str) -> bytes:
    """What an entry of the menu Save hands to the downloads."""
    press(page, "Save")
    with page.expect_download() as found:
        page.get_by_role("menuitem", name=item).click()
    return Path(found.value.path()).read_bytes()


def offer(page: Page, item: str, name: str, content: bytes) -> None:
    """Open a file by an entry of the menu Open."""
    press(page, "Open")
    with page.expect_file_chooser() as found:
        page.get_by_role("menuitem", name=item).click()
    found.value.set_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})


def png(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def pixels(content: bytes) -> npt.NDArray[Any]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def is_worn(photo: Pixels, where: Any, vector: tuple[float, ...]) -> bool:
    return bool((np.abs(photo[where].astype(int) - colour(vector)) <= 1).all())


def wait_until(page: Page, true: Callable[[Pixels], bool]) -> Pixels:
    """The photograph, once something is true of it."""
    for _ in range(100):
        photo = look(page)
        if true(photo):
            return photo
        page.wait_for_timeout(50)
    raise AssertionError("it never became true")
