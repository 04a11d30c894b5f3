"""The editor's page as somebody who paints uses it: what its browser tests share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Page

from gesso.data.spaces import published

SPACE = published("toy")
SKY, ROAD, GRASS, TREE, CAR = (SPACE.index(name) for name in ("sky", "road", "grass", "tree", "car"))
SHAPE = (64, 128)  # of most documents here

# What tests ask the page for; `gesso` is the App.
HELP = """async () => {
    const [documents, edits, raster] = await Promise.all(
        ["document", "edits", "raster"].map(name => import(`/model/${name}.js`)));
    const { view } = gesso;
    const hex = bytes => [...new Uint8Array(bytes)].map(byte => byte.toString(16).padStart(2, "0")).join("");
    window.ask = {
        blank: ([height, width, index]) =>
            gesso.replaceDocument(documents.emptyDocument(width, height, gesso.model.classes, index)),
        place: ([x, y, pane]) => {
            const { left, top } = view[pane].element.getBoundingClientRect();
            const origin = view.viewport.origin(view[pane]);
            return [left + origin.x + x * view.viewport.scale, top + origin.y + y * view.viewport.scale];
        },
        map: name => [...documents.flatten(gesso.document)[name]],
        seen: () => {
            view.draw();
            const { canvas, context } = view.bitmap;
            return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
        },
        screen: async () => {
            view.draw();
            const { canvas } = view.layout.base;
            const { data } = view.layout.base.getImageData(0, 0, canvas.width, canvas.height);
            return hex(await crypto.subtle.digest("SHA-256", data));
        },
        put: ([index, x, y, width, height]) => {
            const mask = { x, y, width, height, bits: new Uint8Array(width * height).fill(1) };
            gesso.apply("Put", document => edits.paint(document, mask, index, { into: "new" }).document);
            return gesso.document.objects.at(-1)?.key ?? 0;
        },
        lock: key => gesso.apply("Lock", document => edits.setLocked(document, key, true)),
        objects: () => gesso.document.objects.map(({ key, class: index, id, mask: { x, y, width, height } }) =>
            ({ key, index, id, box: [x, y, width, height] })),
    };
}"""


class Corner(NamedTuple):
    """A place in pixels of the picture; (0, 0) is the upper left corner of its first pixel."""

    x: float
    y: float


class Canvas:
    """The page, as somebody who paints uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.evaluate(HELP)

    def ask(self, name: str, argument: Any = None) -> Any:
        return self.page.evaluate(f"argument => ask.{name}(argument)", argument)

    def blank(self, index: int = SKY, shape: tuple[int, int] = SHAPE) -> None:
        self.ask("blank", [*shape, index])

    def hold(self, tool: str, index: int | None = None, **options: Any) -> None:
        chosen = {} if index is None else {"classIndex": index}
        self.page.evaluate("tool => gesso.setTool(tool)", {"name": tool, **chosen, **options})

    def go(self, x: float, y: float, pane: str = "layout", steps: int = 1) -> None:
        across, down = self.ask("place", [x, y, pane])
        self.page.mouse.move(across, down, steps=steps)

    def click(self, x: float, y: float, pane: str = "layout") -> None:
        self.go(x, y, pane)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, *corners: tuple[float, float], pane: str = "layout") -> None:
        self.go(*corners[0], pane)
        self.page.mouse.down()
        for corner in corners[1:]:
            self.go(*corner, pane, steps=6)
        self.page.mouse.up()

    @property
    def label(self) -> npt.NDArray[np.int64]:
        return self._map("label")

    @property
    def instance(self) -> npt.NDArray[np.int64]:
        return self._map("instance")

    def _map(self, name: str) -> npt.NDArray[np.int64]:
        height, width = self.page.evaluate("[gesso.document.height, gesso.document.width]")
        return np.array(self.ask("map", name)).reshape(height, width)

    @property
    def seen(self) -> npt.NDArray[np.uint8]:
        """The layout as it is drawn, one pixel per pixel."""
        height, width = self.page.evaluate("[gesso.document.height, gesso.document.width]")
        return np.array(self.ask("seen"), dtype=np.uint8).reshape(height, width, 4)[..., :3]

    @property
    def objects(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("objects")
        return found

    @property
    def tool(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("gesso.tool")
        return found

    @property
    def selection(self) -> list[int]:
        found: list[int] = self.page.evaluate("[...gesso.selection]")
        return found
