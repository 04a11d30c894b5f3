"""Uploads of the editor: maps and photographs, whole and spoilt."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from fastapi import UploadFile
from PIL import Image

from gesso.editor import security
from gesso.editor.security import Limits, read_instances, read_label, read_photograph, read_png
from gesso.errors import DataError, LabelError
from served import LIMITS, as_rgba, bomb, jpeg_of, png
from styled import photograph, scene

pytestmark = pytest.mark.usefixtures("one_thread")


def test_maps_are_read_as_they_are_stored() -> None:
    generator = np.random.default_rng(1)
    gray, deep = (
        generator.integers(0, 256, (5, 7), dtype=np.uint8),
        generator.integers(0, 65536, (5, 7), dtype=np.uint16),
    )
    assert (read_png(png(gray), LIMITS) == gray).all()
    assert (read_label(png(deep), LIMITS) == deep).all() and read_label(png(deep), LIMITS).dtype == np.uint16
    assert (read_png(png(np.dstack([gray, gray])), LIMITS) == gray).all(), "alpha is dropped"
    upload = UploadFile(io.BytesIO(png(gray)), filename="../../etc/passwd")
    assert (read_png(upload, LIMITS) == gray).all()
    few = gray % 4
    palette = Image.fromarray(few)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    content = io.BytesIO()
    palette.save(content, "PNG", bits=2)
    assert (read_png(content.getvalue(), LIMITS) == few).all()
    ones = io.BytesIO()
    Image.fromarray(gray > 99).save(ones, "PNG")
    assert (read_png(ones.getvalue(), LIMITS) == (gray > 99)).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_few_bits_keeps_its_values(depth: int) -> None:
    values = np.arange(16, dtype=np.uint8).reshape(2, 8) % 2**depth
    bits = np.unpackbits(values[..., None], axis=2)[..., 8 - depth :].reshape(2, -1)
    rows = b"".join(b"\0" + bytes(np.packbits(row)) for row in bits)
    content = bytearray(bomb(8, 2, zlib.compress(rows)))
    content[24] = depth
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    assert (read_png(bytes(content), LIMITS) == values).all()


def test_ids_of_all_32_bits_arrive() -> None:
    ids = np.array([[0, 1, -1], [2**31 - 1, -(2**31), 26001]], dtype=np.int32)
    assert (read_instances(png(as_rgba(ids)), LIMITS) == ids).all()
    gray = np.array([[0, 65535, 33001]], dtype=np.uint16)
    assert (read_instances(png(gray), LIMITS) == gray).all()
    with pytest.raises(LabelError, match="3 channels"):
        read_instances(png(photograph()), LIMITS)


def test_photographs_are_read_upright_and_reduced() -> None:
    picture = photograph()
    assert (read_photograph(png(picture), LIMITS) == picture).all()
    assert (read_photograph(png(np.dstack([picture, picture[..., :1]])), LIMITS) == picture).all(), "alpha is dropped"
    gray16 = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    assert (read_photograph(png(gray16), LIMITS) == (gray16 >> 8)[..., None]).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert read_photograph(jpeg_of(picture, exif=exif), LIMITS).shape == (64, 32, 3)
    large = np.kron(np.array([[0, 200], [100, 50]], dtype=np.uint8), np.ones((200, 300), dtype=np.uint8))
    for content in (png(np.dstack([large] * 3)), jpeg_of(large), jpeg_of(large, exif=exif)):
        read = read_photograph(content, Limits(pixels=6000))
        assert 5000 < read.shape[0] * read.shape[1] <= 6000
        corners = sorted(int(read[y, x].mean()) for y in (3, -4) for x in (3, -4))
        assert np.abs(np.subtract(corners, [0, 50, 100, 200])).max() < 4
    palette = Image.fromarray(picture).quantize(8)
    content = io.BytesIO()
    palette.save(content, "PNG", transparency=bytes(range(8)))
    assert (read_photograph(content.getvalue(), LIMITS) == np.asarray(palette.convert("RGB"))).all()


def test_photographs_of_other_kinds_are_refused() -> None:
    for content, said in (
        (b"RIFF____WEBPVP8 ", "neither PNG nor JPEG"),
        (bomb(30_000, 30_000), "far too many pixels"),
        (bomb(9000, 9000), "9000 x 9000"),
        (jpeg_of(photograph())[:300], "damaged or cut off"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "damaged or cut off"),
        (jpeg_of(photograph()) + b"\xff\xda" * 101, "very many scans"),
    ):
        with pytest.raises(DataError, match=said):
            read_photograph(content, LIMITS)


def test_spoilt_files_are_read_or_refused_never_worse() -> None:
    """Bytes changed by chance, with checksums mended, so that the damage reaches the decoders."""
    chance = random.Random(6)
    label, instance = scene()
    whole = [png(label.astype(np.uint16)), png(as_rgba(instance)), jpeg_of(photograph()), png(photograph()[:8])]
    outcomes: Counter[str] = Counter()
    for _ in range(400):
        content = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(min(len(content), 200))] = chance.randrange(256)
        mended = with_checksums(bytes(content))
        for read in (read_png, read_label, read_instances, read_photograph):
            try:
                outcomes[str(read(mended, LIMITS).dtype)] += 1
            except (DataError, LabelError):
                outcomes["refused"] += 1
    assert outcomes["refused"] > 100 and outcomes["uint8"] > 50


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have right checksums, as far as its chunks can be told apart."""
    mended, start = bytearray(content), len(security.PNG_MAGIC)
    while content.startswith(security.PNG_MAGIC) and start + 12 <= len(mended):
        (length,) = struct.unpack(">I", mended[start : start + 4])
        end = start + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[start + 4 : end]))
        start = end + 4
    return bytes(mended)
