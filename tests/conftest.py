"""Where the shared data lies, and what every test may ask for.

`GESSO_SHARED` names the folder with `data/` and `golden/`; by default it lies beside the clone. On a machine without it the
tests that need it skip and say so; where `CI` is set, they fail instead, so that nothing passes there by not running.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("GESSO_SHARED", Path(__file__).parents[2] / "shared"))


def shared_folder(name: str) -> Path:
    folder = SHARED / name
    if folder.is_dir():
        return folder
    reason = f"{folder} is absent; set GESSO_SHARED to the folder that holds data/ and golden/"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def camvid() -> Path:
    return shared_folder("data/camvid")


@pytest.fixture(scope="session")
def cityscapes_sample() -> Path:
    return shared_folder("data/cityscapes_sample")


@pytest.fixture(scope="session")
def coco_stuff_sample() -> Path:
    return shared_folder("data/coco_stuff_sample")
