"""The golden folder as a fixture, and a last line that says how much of it was compared."""

from __future__ import annotations

from typing import Any

import pytest

from support import COMPARED, Golden, golden_folder


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden(golden_folder())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COMPARED:
        listed = ", ".join(f"{item} {count}" for item, count in sorted(COMPARED.items()))
        terminalreporter.write_line(
            f"golden: {len(COMPARED)} items, {sum(COMPARED.values())} values compared: {listed}"
        )
