"""The page that leads from one's own folder to photographs: its commands, as they stand there, on a folder of toy scenes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gesso.cli import main
from gesso.data import toy

PAGE = Path(__file__).resolve().parents[1] / "docs" / "ten-minutes.md"
ELSEWHERE = ("python3", ".", "pip")  # tried by the stage of CI that installs the wheel
OPENS = "edit"  # serves until it is stopped: tested in a browser
SECONDS = "0.05"  # minutes, instead of five


def commands() -> list[list[str]]:
    """What the page has readers type."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def own_folder(folder: Path) -> None:
    """Photographs and maps as somebody has them: JPEGs, maps in colours, names of their own, no instance maps."""
    colours = np.array([each.colour for each in toy.space().classes], np.uint8)
    for number in range(10):
        split = folder / ("val" if number % 5 == 4 else "train")
        scene = toy.scene(7, number, 64, 128)
        for kind in ("images", "labels"):
            (split / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(scene.image)).save(split / "images" / f"street_{number:02}.jpg", quality=95)
        Image.fromarray(colours[scene.label]).save(split / "labels" / f"street_{number:02}.png")


def name_classes(file: Path) -> None:
    """What the page asks readers to do by hand."""
    names = {tuple(each.colour): each.name for each in toy.space().classes}
    space = json.loads(file.read_text())
    for each in space["classes"]:
        each["name"] = names[tuple(each["colour"])]
        each["thing"] = each["name"] in ("car", "person", "tree")
    file.write_text(json.dumps(space))


def gesso(words: list[str]) -> None:
    """Run a command in this process; its end is the test's only where it failed."""
    try:
        main(words)
    except SystemExit as end:
        assert not end.code, words


@pytest.mark.long
def test_the_page_leads_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    own_folder(Path("my"))
    ran = []
    for program, *words in commands():
        if program in ELSEWHERE:
            continue
        assert program == "gesso"
        if words[0] == OPENS:
            assert Path(words[1]).exists() and Path(words[3]).exists()
            continue
        if words[0] == "train":
            words[words.index("--minutes") + 1] = SECONDS
            words += ["--height", "64", "--width", "128", "--generator-width", "8", "--device", "cpu"]
        gesso(words)
        said = capsys.readouterr()
        ran.append(words[0])
        if "--write-labels" in words:
            name_classes(Path("my/labels.json"))
        elif words[0] == "doctor":
            assert "0 errors" in said.out
    assert ran == ["doctor", "doctor", "train", "generate", "styles", "generate", "export"]
    assert all(Path(name).stat().st_size for name in ("first/contact-sheet.png", "styles.png", "model.onnx"))
    made = sorted(path.name for path in Path("photographs").glob("*.png"))
    assert made == ["street_04.png", "street_09.png"]
