"""Files as people upload them to the editor, and hostile ones: damaged, too large, lying, of other kinds."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from edited import save
from gesso.editor.wire import DocumentWire
from gesso.labels import LabelSpace
from gesso.synthesis.editing import Layout
from served import as_rgba, bomb, jpeg_of, png
from styled import SPACE, photograph, scene

Random = random.Random
LONG = 2_000_000
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 0.5, 2**31, 2**63, -(2**31), 1e308, float("nan"), float("inf"), int("9" * 400), 10**6),
    *(-(10**6), 16384, 65536, "", "a" * 300, "\ud800", "../../etc/passwd", [], [[]], [1] * 2000, {}, {"a": {}}),
)


def damaged(content: bytes, chance: Random) -> bytes:
    """A file cut off, doubled, or with some bytes changed; often with the checksums of a PNG mended."""
    how = chance.randrange(5)
    if how == 0 or not content:
        return content[: chance.randrange(len(content) + 1)]
    if how == 1:
        return content + bytes(chance.randrange(256) for _ in range(chance.randrange(64))) + content[:99]
    changed = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        changed[chance.randrange(min(len(changed), chance.choice((64, 400, len(changed)))))] = chance.randrange(256)
    return bytes(changed) if how == 2 else with_sums(bytes(changed))


def with_sums(content: bytes) -> bytes:
    """A PNG whose checksums are right, as far as its chunks can be told apart."""
    mended, start = bytearray(content), 8
    while start + 12 <= len(mended):
        end = start + 8 + int.from_bytes(mended[start : start + 4], "big")
        mended[end : end + 4] = (
            struct.pack(">I", zlib.crc32(mended[start + 4 : end])) if end + 4 <= len(mended) else b""
        )
        start = end + 4
    return bytes(mended[: len(content)])


def chunked(content: bytes, kind: bytes, more: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(more)) + kind + more + struct.pack(">I", zlib.crc32(kind + more))
    return content[:33] + chunk + content[33:]


def zipped(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


@dataclass(frozen=True)
class Files:
    """What is uploaded: whole files by what they are for, and hostile ones.

    Attributes:
        whole: By the name of the field.
        hostile: Of all kinds.
        project: A project file.
        document: The JSON of a document.
    """

    project: bytes
    document: bytes
    whole: dict[str, tuple[bytes, ...]]
    hostile: tuple[bytes, ...]

    @staticmethod
    def of(project: bytes) -> Files:
        label, instance = scene()
        gray, ids, photo = png(label.astype(np.uint8)), png(as_rgba(instance)), png(photograph())
        palette = Image.fromarray(label.astype(np.uint8))
        palette.putpalette([n for one in SPACE.colours.tolist() for n in one])
        whole = {
            "label": (gray, png(label.astype(np.uint16)), png(label.astype(np.uint8), bits=4)),
            "instance": (ids, png((instance % 999).astype(np.uint16)), png((label % 5).astype(np.uint8))),
            "photograph": (photo, jpeg_of(photograph()), png(photograph()[..., 0]), png(photograph()[:7, :3])),
            "file": (
                png(SPACE.to_values(label).astype(np.uint8)),
                save(palette, "PNG"),
                png(label_colours(SPACE, label)),
                ids,
                photo,
                project,
            ),
        }
        return Files(project, whole_document(), whole, hostile_files(gray, project))


def label_colours(space: LabelSpace, label: Any) -> Any:
    return np.vstack([space.colours, [[0, 0, 0]]])[label].astype(np.uint8)


def whole_document() -> bytes:
    label, instance = scene()
    return DocumentWire.of(Layout.of(label, instance.astype(np.int32), SPACE), "fuzz").json_bytes()


def hostile_files(gray: bytes, project: bytes) -> tuple[bytes, ...]:
    """Bombs, other kinds, and files whose insides lie."""
    many = [Image.fromarray(photograph(n)) for n in range(3)]
    zeros = zlib.compress(bytes(4_000_000), 9)
    packed = b"zTXt", b"iCCP"
    return (
        *(
            b"",
            b"/etc/passwd",
            b"../../etc/passwd\n",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"RIFF0000WEBPVP8 ",
            b"%PDF-1.7",
        ),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        *(bomb(30_000, 30_000), bomb(30_000, 30_000, zeros), bomb(2**31 - 1, 2**31 - 1), bomb(0, 0), bomb(16384, 1)),
        *(bomb(128, 128, zeros), bomb(129, 129), bomb(128, 128), bomb(1, 1, b"\x78\x9c"), bomb(1, 2**32 - 1)),
        *(chunked(gray, kind, b"a\0\0" + zeros) for kind in packed),
        *(chunked(gray, b"iTXt", b"a\0\1\0\0\0" + zeros), chunked(gray, b"eXIf", b"MM\0*\0\0\0\x08\xff\xff")),
        *(chunked(gray, b"tRNS", bytes(300)), chunked(gray, b"acTL", struct.pack(">II", 2**31, 0)), gray[:-12] * 3),
        *(save(many[0], kind, save_all=True, append_images=many[1:]) for kind in ("PNG", "GIF")),
        *(save(many[0], kind) for kind in ("TIFF", "WEBP", "BMP")),
        *(jpeg_of(photograph()) + b"\xff\xda" * 101, b"\xff\xd8\xff" + bytes(50), bytes(1000), bytes(LONG // 3 * 2)),
        *(zipped({"../../../tmp/escaped": b"x"}), zipped({"document.json": bytes(3_000_000)}), zipped({}), b"PK\3\4"),
        *(zipped({"project.json": b"[" * 200_000, "document.json": b"{}"}), project[:-5], project + b"comment"),
        zipped({"project.json": b"{}", "document.json": b"null", "/etc/passwd": b""}),
    )


def changed_json(content: bytes, chance: Random) -> bytes:
    """JSON in which one value is another: of another type, too large, damaged, or gone."""
    whole = json.loads(content)
    inside: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            inside.append((value, key))
            collect(value[key])

    collect(whole)
    for _ in range(chance.choice((1, 1, 1, 3))):
        place, key = chance.choice(inside)
        try:
            place[key] = other_value(place[key], chance)
        except (KeyError, IndexError):  # an earlier change took it away
            continue
    return json.dumps(whole).encode()


def other_value(value: Any, chance: Random) -> Any:
    if isinstance(value, str) and chance.random() < 0.5:
        return value[: chance.randrange(len(value) + 1)] + chance.choice(("", "====", "é", "AAAA"))
    return chance.choice((*ODD, value, [value, value]))
