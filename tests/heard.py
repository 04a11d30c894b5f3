"""What a test compared, kind by kind, so that none goes quiet.

Golden tests take everything from the files, and an expectation that is looked up under a wrong name is an empty one. Whatever an
item documents has to be compared somewhere; in a folder named by `GESSO_GOLDEN` a kind may be absent, and then the test skips.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support import COMPARED


class Heard:
    """Counts what a test compares of one item.

    Args:
        meta: The item's JSON.
        kinds: What has to be compared in any case: keys of the JSON, or beginnings of names of tensors.
    """

    def __init__(self, meta: dict[str, Any], *kinds: str) -> None:
        self.meta = meta
        self.counts = dict.fromkeys(kinds, 0)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """What is compared inside is of this kind, of which there has to be something."""
        before = COMPARED.get(self.meta["item"], 0)
        yield
        self.counts[kind] = self.counts.get(kind, 0) + COMPARED.get(self.meta["item"], 0) - before

    def check(self, names: Any = ()) -> None:
        """Fail for a kind that is there but was not compared; skip for one that is not there.

        Args:
            names: Of the item's tensors.
        """
        quiet = [kind for kind, count in self.counts.items() if not count]
        there = [kind for kind in quiet if self.meta.get(kind) or any(name.startswith(kind) for name in names)]
        if there or (quiet and not os.environ.get("GESSO_GOLDEN")):
            pytest.fail(f"{self.meta['item']}: nothing was compared of {', '.join(there or quiet)}")
        if quiet:
            pytest.skip(f"{self.meta['item']} holds no {', '.join(quiet)}")
