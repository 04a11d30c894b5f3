"""What is measured, as files: frozen pydantic models, and documents of them that are saved and read as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from gesso.errors import DataError

FORMAT_VERSION = 1


class Frozen(BaseModel):
    """Part of a document: never changed, nothing unknown in it; what is not finite is written as a word."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Document(Frozen):
    """A file of its own.

    Attributes:
        format_version: Of the file.
    """

    format_version: int = FORMAT_VERSION

    what: ClassVar[str]
    """What errors call it, with its article."""

    command: ClassVar[str]
    """What writes it."""

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            TrainingError: The disk is full or refuses; an older file is as it was.
        """
        from gesso.checkpoints import write_safely  # which needs torch; reading does not

        def write(temporary: Path) -> None:
            temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

        write_safely(path, write)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: The file is missing, of a later version, or something else.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
            raise DataError(f"{path} cannot be read as {cls.what}: {reason}. {cls.command} writes one.") from None
        made = document.get("format_version") if isinstance(document, dict) else None
        if isinstance(made, int) and made > FORMAT_VERSION:
            raise DataError(f"{path} has format version {made}; this gesso reads up to {FORMAT_VERSION}: update gesso.")
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            raise DataError(
                f"{path} is not {cls.what} that this gesso reads: {'.'.join(map(str, first['loc']))}: {first['msg']}. "
                f"Run {cls.command} again."
            ) from None
