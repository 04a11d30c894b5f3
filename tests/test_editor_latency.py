"""The bench of the editor's latency: that it runs, and that its table is whole wherever it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("chromium")]
SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "editor_latency.py"
PARTS = ("prepare", "network", "wait", "decode", "model", "encode", "paint", "total")


def test_strokes_are_timed_and_the_table_is_whole_in_a_file(tiny_model: Path, tmp_path: Path) -> None:
    words = [tiny_model, "--sizes", "32x64", "--strokes", "2", "--json", tmp_path / "figures.json"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "40"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["size"], figures["strokes"]) == ("32x64", 2)
    assert figures["previews"] > 0
    heading = next(line for line in done.stdout.splitlines() if "size" in line)
    assert all(word in heading for word in (*PARTS, "previews/s"))
    for share in ("p50", "p95"):
        times = figures[share]
        # Of a stroke whose last preview was the photograph already, nothing is computed.
        assert 0 <= times["model"] < times["total"] and (times["model"] > 0 or figures["shown"] > 0)
        row = next(line for line in done.stdout.splitlines() if share in line)
        assert f"{times['total']:.1f}" in row and "…" not in row
