"""Finding what is to be predicted by names of files, folders, patterns, data sets and URLs."""

import glob
import os
from pathlib import Path
from typing import Dict, Iterable, List, Set

from detectron2.data import DatasetCatalog

from ..config import MAX_PIXELS
from ..data.image import IMAGE_SUFFIXES
from ..data.stored_pixels import NPY
from ..image_kind import COLOUR, ImageKind
from .inputs import Input, InputImage, InputStream, InputVideo
from .streams import is_url, name_of_url, shown_url

VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}


def find_inputs(
    sources: Iterable[str], max_pixels: int = MAX_PIXELS, kind: ImageKind = COLOUR
) -> List[Input]:
    """Find the images and videos that the sources name, each once.

    Args:
        sources: image files; video files; folders, for the images in them and below; patterns
            such as "photos/*.jpg", in which ** stands for folders too; names of registered data
            sets; numbers of cameras; URLs of streams, or of videos in the network.
        max_pixels, kind: see :class:`InputImage`. Folders hold arrays of NumPy (.npy), too, unless
            the kind is colour of 8 bits.

    Raises:
        FileNotFoundError: a source is nothing of that kind, or has no images.
        ValueError: a source is a video or a camera, and the kind is no colour of 8 bits.
    """
    inputs: Dict[str, Input] = {}
    for source in sources:
        for x in _find(source, max_pixels, kind):
            inputs[x.url if isinstance(x, InputStream) else x.file_name] = x
    for x in inputs.values():
        if isinstance(x, InputVideo) and kind != COLOUR:
            raise ValueError(f"The {x} gives colours of 8 bits, but the model takes {kind}.")
    return list(inputs.values())


def refuse_same_pictures(inputs: Iterable[Input]) -> None:
    """Make sure that each input has a picture of its own.

    Raises:
        ValueError: two would have the same.
    """
    first: Dict[str, str] = {}
    for x in inputs:
        if x.picture in first:
            raise ValueError(
                f"The pictures of '{first[x.picture]}' and '{x.file_name}' would both be "
                f"'{x.picture}'. Predict them into different folders."
            )
        first[x.picture] = x.file_name


def find_images(
    sources: Iterable[str], max_pixels: int = MAX_PIXELS, kind: ImageKind = COLOUR
) -> List[InputImage]:
    """Find the images that the sources name, each with a picture of its own.

    Arguments and errors as for :func:`find_inputs`.

    Raises:
        ValueError: a source names a video or a camera; or see :func:`refuse_same_pictures`.
    """
    images: List[InputImage] = []
    for x in find_inputs(sources, max_pixels, kind):
        if isinstance(x, InputVideo):
            raise ValueError(f"'{x.file_name}' is a video or a camera; give images.")
        images.append(x)
    refuse_same_pictures(images)
    return images


def _find(source: str, max_pixels: int, kind: ImageKind) -> List[Input]:
    """Find what one source names; see :func:`find_inputs`."""
    path = Path(source)
    suffixes = IMAGE_SUFFIXES if kind == COLOUR else IMAGE_SUFFIXES | {NPY}
    found: List[Input]
    if is_url(source):
        picture = f"{name_of_url(source).removesuffix('.mp4')}.mp4"
        found = [InputStream(shown_url(source), picture, url=source)]
    elif path.is_dir():
        # macOS keeps what other systems have no place for in "._photo.jpg" beside "photo.jpg".
        files = (p for p in path.rglob("*") if not p.name.startswith("._"))
        named = (p for p in sorted(files) if _is_named(p, suffixes))
        found = [_file(p, path, max_pixels, kind) for p in named]
    elif path.is_file():
        found = [_file(path, path.parent, max_pixels, kind)]
    elif source in DatasetCatalog:
        records = DatasetCatalog.get(source)
        paths = [Path(os.path.abspath(r["file_name"])) for r in records]
        folder = os.path.commonpath([p.parent for p in paths]) if paths else ""
        pictures = [str(p.relative_to(folder).with_suffix(".png")) for p in paths]
        found = [
            InputImage(r["file_name"], picture, source, r, max_pixels, kind)
            for r, picture in zip(records, pictures)
        ]
    elif source.isdecimal():
        found = [InputVideo(source, f"camera{source}.mp4", int(source))]
    elif glob.has_magic(source):
        fixed = next(k for k, part in enumerate(path.parts) if glob.has_magic(part))
        root, known = Path(*path.parts[:fixed]), suffixes | VIDEO_SUFFIXES
        matches = (Path(p) for p in glob.glob(source, recursive=True))
        found = [_file(p, root, max_pixels, kind) for p in sorted(matches) if _is_named(p, known)]
    else:
        raise FileNotFoundError(
            f"'{source}' is no image, folder or registered data set, no video, camera or URL."
        )
    if not found:
        raise FileNotFoundError(f"'{source}' holds no images ({', '.join(sorted(suffixes))}).")
    return found


def _is_named(path: Path, suffixes: Set[str]) -> bool:
    """Whether a path has one of the endings and is no folder.

    It may be a link that leads nowhere, which is named later as what cannot be read.
    """
    return path.suffix.lower() in suffixes and not path.is_dir()


def _file(path: Path, root: Path, max_pixels: int, kind: ImageKind) -> Input:
    """Make an input of a file; its picture lies where the file lies within ``root``."""
    relative = path.relative_to(root)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return InputVideo(str(path), str(relative.with_suffix(".mp4")))
    picture = str(relative.with_suffix(".png"))
    return InputImage(str(path), picture, max_pixels=max_pixels, kind=kind)
