"""The golden folder as a fixture."""

from __future__ import annotations

import pytest

from support import Golden, golden_folder


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden(golden_folder())
