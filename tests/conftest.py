"""Fixtures for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import shared_folder


@pytest.fixture(scope="session")
def camvid() -> Path:
    return shared_folder("data/camvid")


@pytest.fixture(scope="session")
def cityscapes_sample() -> Path:
    return shared_folder("data/cityscapes_sample")


@pytest.fixture(scope="session")
def coco_stuff_sample() -> Path:
    return shared_folder("data/coco_stuff_sample")
