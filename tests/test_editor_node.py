"""The editor's document model in node: its own tests, its types, and that it draws and edits as Python does."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage.draw import polygon as skimage_polygon

from gesso.data.spaces import published
from gesso.editor.wire import DocumentWire
from gesso.errors import LabelError
from gesso.labels import LabelSpace
from gesso.synthesis import editing
from gesso.synthesis.editing import Layout, ObjectKey

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "src/gesso/editor/static"
SPACE = published("toy")
LONGEST = 300  # lines of a file of the page
EDITS_EACH = 25
Edit = tuple[str, dict[str, Any]]


def absent(what: str, reason: str) -> None:
    """A tool is not there: that fails in CI, where it must be, and skips elsewhere."""
    pytest.fail(f"{what} is absent; {reason}") if os.environ.get("CI") else pytest.skip(f"{what} is absent; {reason}")


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if not found:
        absent("node", "the editor's document model is tested in it")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def bridge(node: str) -> Any:
    """Answers of the document model to a list of jobs."""

    def ask(jobs: list[dict[str, Any]]) -> list[Any]:
        script = ROOT / "tests/editor/bridge.mjs"
        done = subprocess.run([node, str(script)], input=json.dumps(jobs), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        answers: list[Any] = json.loads(done.stdout)
        assert len(answers) == len(jobs)
        return answers

    return ask


def text(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def array(answer: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(answer), dtype=dtype).reshape(shape)


# --------------------------------------------------------------------------------------------------- the page by itself


def test_the_document_model_passes_its_own_tests(node: str) -> None:
    files = sorted(str(path) for path in (ROOT / "tests/editor").glob("*.test.mjs"))
    assert len(files) >= 7
    done = subprocess.run([node, "--test", *files], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"# pass (\d+)", done.stdout) or re.search(r"ℹ pass (\d+)", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 60


def compiler() -> str | None:
    local = Path(sys.prefix) / "page" / "node_modules" / ".bin" / "tsc"  # where make puts it
    return os.environ.get("GESSO_TSC") or shutil.which("tsc") or (str(local) if local.exists() else None)


def test_the_types_of_the_page_are_right() -> None:
    found = compiler()
    if not found:
        absent("tsc", "set GESSO_TSC to it, or install typescript: the page's types are checked by it")
    done = subprocess.run(
        [str(found), "-p", str(STATIC / "jsconfig.json")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout


def test_the_types_are_checked_strictly(tmp_path: Path) -> None:
    found = compiler()
    if not found:
        absent("tsc", "set GESSO_TSC to it, or install typescript: the page's types are checked by it")
    shutil.copy(STATIC / "jsconfig.json", tmp_path)
    (tmp_path / "wrong.js").write_text("/** @param {number} one */\nexport const twice = (one) => one.length;\n")
    done = subprocess.run(
        [str(found), "-p", str(tmp_path / "jsconfig.json")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert "TS2339" in done.stdout


def test_files_of_the_page_are_short_and_the_model_stands_alone() -> None:
    for path in sorted(STATIC.rglob("*.js")):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= LONGEST, f"{path.relative_to(ROOT)} has {len(lines)} lines"
    for path in sorted((STATIC / "model").glob("*.js")):
        imported = re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8"))
        assert all(name.startswith("./") and "/" not in name[2:] for name in imported), f"{path.name}: {imported}"


# ------------------------------------------------------------------------------------------------------------- shapes


def random_points(rng: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float64]:
    points = rng.uniform(-8, [width + 8, height + 8], (int(rng.integers(3, 12)), 2))
    # pointers give fractions, whole pixels and halves; the last two meet the middles of pixels exactly
    step = rng.choice([0.0, 0.25, 0.5, 1.0])
    return np.round(points / step) * step if step else points


def test_polygons_are_those_of_scikit_image(bridge: Any) -> None:
    rng = np.random.default_rng(6)
    jobs, expected = [], []
    for _ in range(1500):
        width, height = (int(n) for n in rng.integers(1, 60, 2))
        points = random_points(rng, width, height)
        covered = np.zeros((height, width), dtype=np.uint8)
        covered[skimage_polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, covered.shape)] = 1
        jobs.append({"job": "polygon", "points": points.tolist(), "width": width, "height": height})
        expected.append(covered)
    assert sum(covered.any() for covered in expected) > 1000
    for job, answer, covered in zip(jobs, bridge(jobs), expected, strict=True):
        np.testing.assert_array_equal(array(answer, "u1", *covered.shape), covered, err_msg=str(job))


def test_polygons_are_those_of_layouts(bridge: Any) -> None:
    rng = np.random.default_rng(7)
    every = [rng.uniform(-8, 48, (int(rng.integers(3, 9)), 2)) for _ in range(200)]
    jobs = [{"job": "polygon", "points": points.tolist(), "width": 40, "height": 30} for points in every]
    for points, answer in zip(every, bridge(jobs), strict=True):
        np.testing.assert_array_equal(array(answer, "u1", 30, 40) == 1, editing.masks.polygon(points, 30, 40))


# ---------------------------------------------------------------------------------------------------------------- PNG


def test_pillow_reads_what_the_page_writes(bridge: Any) -> None:
    rng = np.random.default_rng(8)
    kinds = {"encodeGray8": ("u1", 1), "encodeGray16": ("<u2", 1), "encodeRGB": ("u1", 3), "encodeRGBA32": ("<i4", 1)}
    jobs, given = [], []
    for kind, (dtype, channels) in kinds.items():
        for _ in range(10):
            height, width = (int(n) for n in rng.integers(1, 50, 2))
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            values = rng.integers(low, high, (height, width, channels), dtype=np.int64, endpoint=True).astype(dtype)
            jobs.append({"job": "write", "kind": kind, "width": width, "height": height, "values": text(values)})
            given.append(values)
    for job, answer, values in zip(jobs, bridge(jobs), given, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(answer))) as image:
            read = np.array(image)
        if job["kind"] == "encodeRGBA32":
            read = read.view("<i4")[..., 0]
        np.testing.assert_array_equal(read.reshape(values.shape), values)


def test_the_page_reads_what_pillow_writes(bridge: Any) -> None:
    rng = np.random.default_rng(9)
    jobs, given = [], []
    for dtype, channels in (("u1", 1), ("<u2", 1), ("u1", 2), ("u1", 3), ("u1", 4), ("?", 1)):
        for smooth in (False, True):  # of smooth pictures Pillow filters the lines
            height, width = (int(n) for n in rng.integers(20, 50, 2))
            slope = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.arange(1, channels + 1)
            noise = rng.integers(0, 2**15, (height, width, channels))
            values = ((slope if smooth else noise) % (2 if dtype == "?" else 256 if dtype == "u1" else 2**16)).astype(
                dtype
            )
            file = io.BytesIO()
            Image.fromarray(values[..., 0] if channels == 1 else values).save(file, "PNG")
            jobs.append({"job": "read", "file": base64.b64encode(file.getvalue()).decode()})
            given.append(values)
    for answer, values in zip(bridge(jobs), given, strict=True):
        dtype = "u1" if values.dtype == np.bool_ else values.dtype.str
        np.testing.assert_array_equal(array(answer["data"], dtype, *values.shape), values.astype(dtype))
        assert (answer["height"], answer["width"], answer["channels"]) == values.shape


# -------------------------------------------------------------------------------------------------------------- edits


def random_layout(rng: np.random.Generator, space: LabelSpace) -> Layout:
    """Two regions of stuff under some rectangles of things, taken apart and sent once over the wire."""
    height, width = (int(n) for n in rng.integers(20, 70, 2))
    stuff = [n for n in range(len(space) + 1) if n not in space.things]
    label = np.full((height, width), rng.choice(stuff))
    label[rng.integers(2, height) :] = rng.choice(stuff)
    instance = label.copy()
    for number in range(int(rng.integers(0, 7))):
        top, left = rng.integers(0, height - 3), rng.integers(0, width - 3)
        window = (slice(top, top + rng.integers(2, 14)), slice(left, left + rng.integers(2, 14)))
        label[window] = rng.choice(list(space.things))
        instance[window] = 26001 + number
    return DocumentWire.of(Layout.of(label, instance, space)).layout(space)


def random_edit(rng: np.random.Generator, layout: Layout) -> Edit:
    height, width = layout.shape
    keys = [list(layer.key) for layer in layout.layers]
    key = keys[rng.integers(len(keys))] if keys else [0, 12345]
    dx, dy = (int(n) for n in rng.integers(-15, 16, 2))
    class_index = int(rng.integers(len(layout.space)))
    mask = np.zeros((height, width), dtype=np.uint8)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    mask[top : top + int(rng.integers(1, 12)), left : left + int(rng.integers(1, 12))] = rng.integers(0, 2)
    mask[top, left] = 1
    some = [keys[n] for n in rng.permutation(len(keys))[: rng.integers(2, 4)]] if len(keys) > 1 else [key, key]
    scale = float(rng.choice([1, 1, 0.5, 0.3, 1.5, 2.4, 30]))
    edits: list[Edit] = [
        ("move_object", {"key": key, "dx": dx, "dy": dy, "scale": scale}),
        ("relabel_object", {"key": key, "class": class_index}),
        ("duplicate_object", {"key": key, "dx": dx, "dy": dy}),
        ("reorder_object", {"key": key, "to": str(rng.choice(["front", "back", "forward", "backward"]))}),
        ("merge_objects", {"keys": some}),
        ("split_object", {"key": key}),
        ("remove_object", {"key": key}),
        ("add_object", {"mask": text(mask), "class": class_index}),
        # ignored pixels have no name in another layout, which pasting in Python goes by
        ("paste_object", {"key": key if key[0] < len(layout.space) else [0, 12345], "at": [left, top]}),
        ("lift_region", {"x": left, "y": top}),
    ]
    return edits[rng.integers(len(edits))]


def applied(layout: Layout, edit: Edit) -> Layout:
    """The same edit by Python."""
    name, how = edit[0], dict(edit[1])
    if name == "add_object":
        mask = array(how["mask"], "u1", *layout.shape) == 1
        return editing.add_object(layout, mask, how["class"])[0]
    if name == "relabel_object":
        return editing.relabel_object(layout, ObjectKey(*how["key"]), how["class"])[0]
    if name == "paste_object":
        return editing.paste_object(layout, layout, ObjectKey(*how["key"]), tuple(how["at"]))[0]
    if "key" in how:
        how["key"] = ObjectKey(*how["key"])
    if "keys" in how:
        how["keys"] = [ObjectKey(*key) for key in how["keys"]]
    result = getattr(editing, name)(layout, **how)
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.long
def check_same(state: dict[str, Any], layout: Layout) -> None:
    np.testing.assert_array_equal(array(state["label"], "<u2", *layout.shape), layout.label)
    np.testing.assert_array_equal(array(state["instance"], "<i4", *layout.shape), layout.instance)
    ground = array(state["ground"], "<u2", *layout.shape).astype(np.int32)
    np.testing.assert_array_equal(np.where(ground == 65535, -1, ground), layout.ground_label)
    assert state["objects"] == [[*layer.key, layer.written_id] for layer in layout.layers]
    assert state["used"] == sorted(layout.used_ids)


def test_the_page_edits_as_python_does(bridge: Any) -> None:
    rng = np.random.default_rng(10)
    classes = [
        {"index": n, "name": c.name, "colour": c.colour, "thing": c.thing, "value": 0}
        for n, c in enumerate(SPACE.classes)
    ]
    jobs, expected, done, refused = [], [], {}, 0
    for _ in range(40):
        layout = random_layout(rng, SPACE)
        wire = json.loads(DocumentWire.of(layout).json_bytes())
        edits, states = [], [layout]
        for _ in range(EDITS_EACH):
            edits.append(random_edit(rng, layout))
            try:
                layout = applied(layout, edits[-1])
                states.append(layout)
                done[edits[-1][0]] = done.get(edits[-1][0], 0) + 1
            except LabelError:
                states.append(None)
                refused += 1
        jobs.append({"job": "edits", "wire": wire, "classes": classes, "edits": edits})
        expected.append(states)
    assert len(done) == 10
    assert min(done.values()) > 30, done
    assert refused > 30
    for job, answer, states in zip(jobs, bridge(jobs), expected, strict=True):
        layout = states[0]
        for number, (state, now) in enumerate(zip(answer["states"], states, strict=True)):
            said = f"edit {number}: {job['edits'][number - 1] if number else 'none'}"
            assert ("refused" in state) == (now is None), f"{said}: {state.get('refused')}"
            if now is not None:
                layout = now
                check_same(state, now)
        check_travelled(answer["wire"], layout)


def check_travelled(wire: dict[str, Any], layout: Layout) -> None:
    """What the page writes is what the server reads."""
    back = DocumentWire.parse(json.dumps(wire)).layout(SPACE)
    np.testing.assert_array_equal(back.label, layout.label)
    np.testing.assert_array_equal(back.instance, layout.instance)
    assert back.used_ids >= layout.used_ids
    for mine, other in zip(back.layers, layout.layers, strict=True):
        assert (mine.key, mine.written_id, mine.mask.box) == (other.key, other.written_id, other.mask.box)
        np.testing.assert_array_equal(mine.mask.cells, other.mask.cells)
