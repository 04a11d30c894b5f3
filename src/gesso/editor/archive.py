"""Project files as archives: a zip with known names alone, looked at before anything in it is decompressed."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from gesso.errors import DataError

END = struct.Struct(
    "<4s4H2LH"
)  # the record at the end of a zip: signature, disks, entries, directory's size and place, comment
ZIP64 = b"PK\x06\x07"
ZIP64_LENGTH = 20
DIRECTORY = 8192  # bytes of the list of entries; ours has some 600
ENTRIES = 16
RATIO = 1100  # of deflate's best, 1032: more is not what zip programs write
WRITTEN_WITH = "Give a project that the editor saved, unchanged."
TIME = (1980, 1, 1, 0, 0, 0)  # equal projects are equal files


def pack(entries: Mapping[str, bytes]) -> bytes:
    """A zip of these entries; pictures are stored, everything else deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            kind = zipfile.ZIP_STORED if name.endswith((".png", ".jpg")) else zipfile.ZIP_DEFLATED
            info = zipfile.ZipInfo(name, TIME)
            info.compress_type = kind
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return file.getvalue()


def unpack(content: bytes, allowed: Mapping[str, int], wanted: tuple[str, ...]) -> dict[str, bytes]:
    """Some entries of a zip.

    Args:
        content: The zip.
        allowed: Names that may be in it, and how many bytes each may have.
        wanted: Names of those to be decompressed; missing ones are left out.

    Raises:
        DataError: It is no zip, damaged, encrypted, holds other names (paths, for instance) or too many, or would be too large.
    """
    _refuse_odd_end(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            _refuse_entries(entries, allowed)
            return {one.filename: _read(archive, one) for one in entries if one.filename in wanted}
    except DataError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"The project cannot be read ({error}): it is damaged or cut off. Use another copy.") from None


def _refuse_odd_end(content: bytes) -> None:
    """See that the list of entries is short, before it is read; it stands at the end of a zip."""
    if not content.startswith(b"PK\x03\x04"):
        raise DataError(f"The project is no zip file ({len(content)} bytes came). {WRITTEN_WITH}")
    if len(content) < END.size or content[-END.size :][:4] != b"PK\x05\x06":
        raise DataError("The project is a zip that is cut off, or has a comment. Use another copy.")
    _, _, _, _, count, size, _, comment = END.unpack(content[-END.size :])
    wide = content[-END.size - ZIP64_LENGTH :].startswith(ZIP64)
    if comment or wide or count > ENTRIES or size > DIRECTORY:
        raise DataError(f"The project is a zip of {count} entries; projects have up to {ENTRIES}. {WRITTEN_WITH}")


def _refuse_entries(entries: list[zipfile.ZipInfo], allowed: Mapping[str, int]) -> None:
    names = [one.orig_filename for one in entries]
    if odd := [name for name in names if name not in allowed]:
        raise DataError(f"The project holds {odd[0][:80]!r}; allowed are {', '.join(allowed)}. {WRITTEN_WITH}")
    if len(set(names)) < len(names):
        raise DataError(f"The project holds two entries of one name. {WRITTEN_WITH}")
    for one in entries:
        if one.flag_bits & 1 or one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{one.filename} in the project is encrypted or packed in an unusual way. {WRITTEN_WITH}")
        if one.file_size > allowed[one.filename] or one.file_size > RATIO * max(one.compress_size, 1):
            raise DataError(
                f"{one.filename} in the project would be {one.file_size} bytes from {one.compress_size}; allowed are "
                f"{allowed[one.filename]}, and what deflate can do. {WRITTEN_WITH}"
            )


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The content of an entry: never more than it says, which was checked."""
    with archive.open(entry) as file:
        return file.read(entry.file_size)
