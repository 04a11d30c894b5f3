"""Participants, showings and votes in SQLite, each change in one transaction that is on the disk before it is acknowledged."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gesso.errors import DataError
from gesso.study.design import Side
from gesso.study.trials import Kind, Trial

SCHEMA = """
CREATE TABLE participants (
    number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, tab TEXT NOT NULL, started REAL NOT NULL
) STRICT;
CREATE TABLE trials (
    participant INTEGER NOT NULL REFERENCES participants, position INTEGER NOT NULL, kind TEXT NOT NULL,
    "left" TEXT NOT NULL, "right" TEXT NOT NULL, exposure REAL, correct TEXT,
    PRIMARY KEY (participant, position)
) STRICT;
CREATE TABLE showings (
    participant INTEGER NOT NULL, position INTEGER NOT NULL, showing TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (participant, position, showing),
    FOREIGN KEY (participant, position) REFERENCES trials
) STRICT;
CREATE TABLE votes (
    participant INTEGER NOT NULL, position INTEGER NOT NULL, side TEXT NOT NULL CHECK (side IN ('left', 'right')),
    showing TEXT NOT NULL, shown_ms TEXT NOT NULL, frame_ms REAL NOT NULL, response_ms REAL NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (participant, position),
    FOREIGN KEY (participant, position, showing) REFERENCES showings
) STRICT;
"""
MOST_PARTICIPANTS = 20_000  # a study that somebody floods stops before it fills the disk
MOST_SHOWINGS = 50  # of one trial; a page that is loaded again more often is not looking


class Refusal(Exception):
    """A request that is not counted: its HTTP status and what the participant is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Participant:
    """Who a token belongs to, and the trial that comes next.

    Attributes:
        number: 0, 1, ... in the order of enrolment; what is asked follows from it.
        tab: The tab of the browser that was opened last; others are refused.
        position: Of the first trial without a vote; equals `total` at the end.
        total: Trials, practice and checks of this participant.
    """

    number: int
    tab: str
    position: int
    total: int


@dataclass(frozen=True)
class Vote:
    """One answer and how the pictures were shown.

    Attributes:
        side: The picture that was chosen.
        showing: Which showing of the trial it answers.
        shown_ms: Measured milliseconds for which pictures were on the screen, in order; empty for unlimited time.
        frame_ms: Milliseconds of one frame of the participant's screen.
        response_ms: From the end of the exposure (from its beginning for unlimited time) to the answer.
    """

    side: Side
    showing: str
    shown_ms: tuple[float, ...]
    frame_ms: float
    response_ms: float


@dataclass(frozen=True)
class Answered:
    """A trial with its vote, as it was stored; `showings` counts how often the trial was shown before."""

    participant: int
    position: int
    trial: Trial
    vote: Vote
    showings: int


class Store:
    """The answers of one study. Every call opens the database anew, so that any thread or process may call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> None:
        """Make an empty database; readers do not block writers (write-ahead log)."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Meanwhile one idle connection is open, so that SQLite does not put its log away after each request (3 times slower)."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("SELECT count(*) FROM votes").fetchone()
            yield

    @contextmanager
    def _open(self, writing: bool) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction, which ends on the disk, or not at all.

        Raises:
            DataError: The file is missing or no database of a study.
        """
        if not self.path.is_file():
            raise DataError(f"{self.path} is missing: answers are kept there. Copy the whole study folder.")
        try:
            with closing(sqlite3.connect(self.path, timeout=20, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{self.path} cannot be used ({error}). If it is damaged, take a copy of the study folder; if the disk is full "
                "or read-only, make room."
            ) from error

    def enrol(self, draw: Callable[[int], Sequence[Trial]]) -> str:
        """Take a participant in; the new secret token.

        Args:
            draw: What participant `number` is asked.
        """
        token = secrets.token_urlsafe(24)
        with self._open(writing=True) as connection:
            (number,) = connection.execute("SELECT count(*) FROM participants").fetchone()
            if number >= MOST_PARTICIPANTS:
                raise Refusal(403, "This study takes no more participants.")
            connection.execute("INSERT INTO participants VALUES (?, ?, '', ?)", (number, token, time.time()))
            rows = [
                (number, position, t.kind, t.left, t.right, t.exposure, t.correct)
                for position, t in enumerate(draw(number))
            ]
            connection.executemany("INSERT INTO trials VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return token

    def open_tab(self, token: str) -> str:
        """From now on this participant answers in a new tab, and in no other; its secret name."""
        tab = secrets.token_urlsafe(12)
        with self._open(writing=True) as connection:
            participant = _participant(connection, token)
            connection.execute("UPDATE participants SET tab = ? WHERE number = ?", (tab, participant.number))
        return tab

    def find(self, token: str, tab: str) -> Participant:
        """Who asks.

        Raises:
            Refusal: Nobody has this token, or another tab took over.
        """
        with self._open(writing=False) as connection:
            return _present(connection, token, tab)

    def trial(self, participant: Participant, position: int) -> Trial:
        """A trial of this participant.

        Raises:
            Refusal: There is none at this position.
        """
        with self._open(writing=False) as connection:
            return _trial(connection, participant, position)

    def show(self, token: str, tab: str, position: int, showing: str) -> None:
        """Note that a trial is about to be seen, under a name that the page made up; without it no answer is taken.

        The same showing noted again, because the page did not hear that it was, changes nothing.

        Raises:
            Refusal: It is not this participant's next trial, or was shown too often.
        """
        with self._open(writing=True) as connection:
            participant = _present(connection, token, tab)
            _trial(connection, participant, position)
            if position != participant.position:
                raise Refusal(409, "This trial is not the next one: load the page again.")
            if _showings(connection, participant.number, position) >= MOST_SHOWINGS:
                raise Refusal(429, "This trial was shown too often.")
            row = (participant.number, position, showing, time.time())
            connection.execute("INSERT OR IGNORE INTO showings VALUES (?, ?, ?, ?)", row)

    def vote(self, token: str, tab: str, position: int, vote: Vote) -> tuple[Trial, bool]:
        """Record an answer once.

        Returns:
            The trial, and whether the vote was new: the same vote sent again is acknowledged and not counted.

        Raises:
            Refusal: Unknown participant, other tab, unknown trial, a trial that was not shown, or one answered otherwise.
        """
        with self._open(writing=True) as connection:
            participant = _present(connection, token, tab)
            trial = _trial(connection, participant, position)
            key = (participant.number, position)
            earlier = connection.execute(
                "SELECT side, showing FROM votes WHERE participant = ? AND position = ?", key
            ).fetchone()
            if earlier:
                if earlier != (vote.side, vote.showing):
                    raise Refusal(409, "This trial was answered already; the first answer counts.")
                return trial, False
            shown = "SELECT 1 FROM showings WHERE participant = ? AND position = ? AND showing = ?"
            if not connection.execute(shown, (*key, vote.showing)).fetchone():
                raise Refusal(409, "This trial was not shown yet, so it cannot be answered.")
            connection.execute(
                "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *key,
                    vote.side,
                    vote.showing,
                    json.dumps(vote.shown_ms),
                    vote.frame_ms,
                    vote.response_ms,
                    time.time(),
                ),
            )
        return trial, True

    def sizes(self) -> list[tuple[int, int]]:
        """Of each participant: trials answered, and trials in all."""
        query = """SELECT (SELECT count(*) FROM votes WHERE participant = number),
                          (SELECT count(*) FROM trials WHERE participant = number) FROM participants ORDER BY number"""
        with self._open(writing=False) as connection:
            return [(answered, total) for answered, total in connection.execute(query)]

    def answers(self) -> list[Answered]:
        """Every vote, by participant and position."""
        query = f"""SELECT participant, position, {_COLUMNS}, side, showing, shown_ms, frame_ms, response_ms,
                        (SELECT count(*) FROM showings s WHERE s.participant = v.participant AND s.position = v.position)
                    FROM votes v JOIN trials USING (participant, position) ORDER BY participant, position"""
        with self._open(writing=False) as connection:
            rows = connection.execute(query).fetchall()
        return [
            Answered(
                who, place, Trial(*asked), Vote(side, showing, tuple(json.loads(shown)), frame, response), showings
            )
            for who, place, *asked, side, showing, shown, frame, response, showings in rows
        ]


_COLUMNS = 'kind, "left", "right", exposure, correct'


def _participant(connection: sqlite3.Connection, token: str) -> Participant:
    query = """SELECT number, tab, (SELECT count(*) FROM votes WHERE participant = number),
                      (SELECT count(*) FROM trials WHERE participant = number) FROM participants WHERE token = ?"""
    row = connection.execute(query, (token,)).fetchone()
    if row is None:
        raise Refusal(401, "Nobody takes part under this token: load the page again.")
    return Participant(*row)


def _present(connection: sqlite3.Connection, token: str, tab: str) -> Participant:
    participant = _participant(connection, token)
    if not tab or participant.tab != tab:
        raise Refusal(423, "This study was opened in another tab or window: go on there.")
    return participant


def _trial(connection: sqlite3.Connection, participant: Participant, position: int) -> Trial:
    query = f"SELECT {_COLUMNS} FROM trials WHERE participant = ? AND position = ?"
    row = connection.execute(query, (participant.number, position)).fetchone()
    if row is None:
        raise Refusal(404, "There is no such trial.")
    kind: Kind = row[0]
    return Trial(kind, *row[1:])


def _showings(connection: sqlite3.Connection, number: int, position: int) -> int:
    query = "SELECT count(*) FROM showings WHERE participant = ? AND position = ?"
    (count,) = connection.execute(query, (number, position)).fetchone()
    return int(count)
