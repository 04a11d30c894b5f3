"""Videos in and out, by the program ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.checkpoints import write_safely
from gesso.errors import ConfigError, DataError, LabelError
from gesso.labels import ByteArray, LabelSpace, indices_from_colours
from gesso.pictures import Picture

CODECS = {
    ".mp4": ("-c:v", "libx264", "-crf", "16", "-movflags", "+faststart"),
    ".webm": ("-c:v", "libvpx-vp9", "-crf", "18", "-b:v", "0"),
}
READ = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v")
NEAR = 16.0  # distance of colours (Euclidean, of 442) that compression moves flat areas by, at most
BLENDED = 0.1  # share of pixels that may be neither class's colour, as at the borders of compressed ones


def is_video(path: Path) -> bool:
    """Whether a name is that of a video."""
    return path.suffix.lower() in READ


def require_ffmpeg(path: Path) -> str:
    """Where ffmpeg is.

    Raises:
        ConfigError: It is not installed.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise ConfigError(
            f"{path} is a video, which needs the program ffmpeg, and there is none on the PATH. Install it (apt install ffmpeg, "
            "brew install ffmpeg, winget install ffmpeg), or use folders of frames instead of videos."
        )
    return found


def refuse_other_videos(path: Path) -> None:
    """See that a video can be written under this name.

    Raises:
        ConfigError: It is of another kind, or ffmpeg is not installed.
    """
    if path.suffix.lower() not in CODECS:
        raise ConfigError(f"{path}: videos are written as {' or '.join(CODECS)}; or name a folder for frames.")
    require_ffmpeg(path)


def write_video(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """Write frames (H, W, 3) uint8 of one size as H.264 (.mp4) or VP9 (.webm); sides that are odd get one pixel more.

    The video is put in place when it is whole.

    Raises:
        ConfigError: ffmpeg is missing, or refuses.
        TrainingError: The disk is full or refuses.
    """
    refuse_other_videos(path)
    ffmpeg = require_ffmpeg(path)
    pictures = iter(frames)
    first = next(pictures)
    height, width = first.shape[:2]
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-")
    even = ("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p")

    def write(temporary: Path) -> None:
        words = [ffmpeg, "-y", "-loglevel", "error", *raw, *CODECS[path.suffix.lower()], *even, str(temporary)]
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=said) as process:
                assert process.stdin
                try:
                    process.stdin.write(first.tobytes())
                    for picture in pictures:
                        process.stdin.write(picture.tobytes())
                    process.stdin.close()
                except BrokenPipeError:  # it ended early; what it said comes below
                    pass
            said.seek(0)
            _refuse_failure(process.returncode, said.read(), path, temporary)

    write_safely(path, write)


def _refuse_failure(code: int, said: bytes, path: Path, made: Path) -> None:
    if code or not made.is_file():
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise ConfigError(
            f"ffmpeg could not write {path} (exit code {code}): {last[0]}. The frames are kept: name a folder to have them, or "
            "another ending."
        )


def read_frames(video: Path, folder: Path) -> list[Path]:
    """Write the frames of a video into a folder as PNGs, 000001.png and on.

    Raises:
        ConfigError: ffmpeg is missing.
        DataError: It cannot read the video.
    """
    if not video.is_file():
        raise DataError(f"The video {video} does not exist; check the path.")
    words = [
        require_ffmpeg(video),
        "-loglevel",
        "error",
        "-i",
        str(video),
        "-pix_fmt",
        "rgb24",
        str(folder / "%06d.png"),
    ]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    frames = sorted(folder.glob("*.png"))
    if done.returncode or not frames:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it holds no frames"]
        raise DataError(
            f"ffmpeg cannot read {video}: {last[0]}. Give a video that it plays, or a folder of label maps."
        )
    return frames


def layout_of(picture: ByteArray, space: LabelSpace, origin: str) -> npt.NDArray[np.int32]:
    """Class indices (H, W) of a frame whose classes are painted in their colours.

    Pixels near a class's colour are of that class. The others, blends that compression leaves at borders, take the class of the
    nearest pixel that is clear: the nearest colour may be that of a class that is not even there.

    Args:
        picture: (H, W, 3) uint8.
        space: Its colours.
        origin: The frame, for messages.

    Raises:
        LabelError: Too many pixels are of no class's colour.
    """
    indices, report = indices_from_colours(picture, space, NEAR)
    black = np.linalg.norm(picture.astype(np.float32), axis=-1) <= NEAR  # means "ignored", which is clear too
    unclear = (indices == len(space)) & ~black
    share = float(unclear.mean())
    if share > BLENDED:
        listed = ", ".join(f"{colour} ({pixels} pixels)" for colour, pixels in report.worst[:4])
        raise LabelError(
            f"{share:.0%} of the pixels of {origin} are in no colour of {space.name}: {listed}. Up to {BLENDED:.0%}, blends at "
            "borders, are taken. Give a video of label maps in the colours of the model's classes, without loss (ffmpeg -c:v "
            "ffv1, or -c:v libx264rgb -crf 0) and without scaling; or a folder of label maps."
        )
    if not unclear.any():
        return indices
    nearest = ndimage.distance_transform_edt(unclear, return_distances=False, return_indices=True)
    filled: npt.NDArray[np.int32] = indices[tuple(nearest)]
    return filled
