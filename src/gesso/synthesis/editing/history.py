"""Undo and redo: as edits never change a layout, a history is a list of layouts."""

from __future__ import annotations

from dataclasses import dataclass

from gesso.synthesis.editing.layout import Layout


@dataclass(frozen=True, eq=False)
class History:
    """A layout with what it was before, and what was undone; nothing about it ever changes.

    Layouts share what they have in common, so that a long history takes little more room than one layout.

    Attributes:
        present: The layout as it is.
        past: Earlier ones, the oldest first.
        future: Undone ones, the next first.
        limit: How many edits can be undone.
    """

    present: Layout
    past: tuple[Layout, ...] = ()
    future: tuple[Layout, ...] = ()
    limit: int = 100

    def then(self, layout: Layout) -> History:
        """After an edit; what was undone is forgotten."""
        return History(layout, (*self.past, self.present)[-self.limit :], (), self.limit)

    def undo(self) -> History:
        """One edit back; the same where there is none."""
        if not self.past:
            return self
        return History(self.past[-1], self.past[:-1], (self.present, *self.future), self.limit)

    def redo(self) -> History:
        """One edit on again; the same where none was undone."""
        if not self.future:
            return self
        return History(self.future[0], (*self.past, self.present), self.future[1:], self.limit)
