"""Predicting files: what a predictor finds in them becomes pictures, json and label maps."""

import signal
from contextlib import ExitStack
from itertools import islice
from typing import (
    Callable,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from torch import Tensor
from tqdm import tqdm

from ..overwrite import refuse_impossible_outputs, refuse_to_replace
from .coco_dataset import CocoDataset
from .coco_results import CocoResults
from .find_inputs import find_inputs, refuse_same_pictures
from .geojson import GeoJson
from .inputs import Frame, Input, InputImage, InputVideo
from .interrupts import Interrupts
from .outputs import LabelMaps, Pictures, Writer
from .predictor import Predictor, above, batches
from .tracking import number_objects, require_trackers


class Outcome(NamedTuple):
    """What came of :func:`predict_files`.

    Attributes:
        done: the number of images and frames that were predicted.
        failed: a message for each image and video that could not be read or predicted, or only
            in part.
        stopped: the number of the signal that ended it too early; None if none did. Ctrl-C is not
            too early for a camera or a live stream, which has no other end.
    """

    done: int
    failed: List[str]
    stopped: Optional[int]


def predict_files(
    predictor: Predictor,
    sources: Sequence[str],
    *,
    pictures: Optional[str] = None,
    results: Optional[str] = None,
    annotations: Optional[str] = None,
    masks: Optional[str] = None,
    coco: Optional[str] = None,
    geojson: Optional[str] = None,
    polygons: Optional[float] = None,
    threshold: float = 0.5,
    class_thresholds: Optional[Mapping[str, float]] = None,
    json_threshold: float = 0.0,
    track: bool = False,
    limit: Optional[int] = None,
    overwrite: bool = False,
    strict: bool = False,
) -> Outcome:
    """Predict images, videos and what a camera sees, and write what is found.

    Ctrl-C and SIGTERM end it; what was predicted until then is written.

    Args:
        predictor: its own threshold holds for all that is written.
        sources: see :func:`find_inputs`.
        pictures: the folder of the pictures, see :class:`Pictures`.
        results: the json file, see :class:`CocoResults`.
        annotations: a COCO json whose ids of images and categories ``results`` and ``coco`` have;
            by default that of the data set, if there is no other source.
        masks: the folder of the label maps, see :class:`LabelMaps`.
        coco: the json file of a data set, see :class:`CocoDataset`.
        geojson: the file of :class:`GeoJson`.
        polygons: the tolerance of :class:`CocoDataset`.
        threshold: what has a higher score is in the pictures, label maps, ``coco`` and ``geojson``.
        class_thresholds: by name, what takes the place of ``threshold`` for some classes.
        json_threshold: what has a higher score is in ``results``. AP needs all detections.
        track: number the objects of videos, see :class:`Tracker`. What is above ``threshold``
            begins a track; the predictor should give all above tracking.LOWEST_SCORE.
        limit: stop after this many images or frames.
        overwrite: replace files that exist.
        strict: an image or video that cannot be read or predicted is an error, which ends it.

    Raises:
        FileExistsError: a file exists, and ``overwrite`` is False.
        OSError: see :func:`refuse_impossible_outputs`; or a file cannot be written.
        ValueError: there is nothing to write; ``limit`` is less than 1; ``track`` is asked for
            with images, or without the package that it needs; the model does not know a
            class of ``class_thresholds``; or see
            :func:`find_inputs`, :func:`refuse_same_pictures`, :func:`refuse_impossible_outputs`
            and :class:`CocoResults`; with ``strict`` see :meth:`Predictor.stream`.
    """
    if limit is not None and limit < 1:
        raise ValueError("--limit must be 1 or more.")
    drawn = predictor.class_wise(threshold, class_thresholds)
    all_inputs = find_inputs(sources, predictor.backend.max_pixels, predictor.kind)
    inputs = all_inputs[:limit]
    if track:
        refuse_to_track_images(inputs)
        require_trackers()
    writers: List[Tuple[Writer, Union[float, Tensor]]] = []  # and the lowest score for each
    if pictures:
        writers.append((Pictures(pictures, predictor.names), drawn))
    if masks:
        writers.append((LabelMaps(masks), drawn))
    if writers:
        refuse_same_pictures(inputs)
    if results or coco:
        annotations = annotations or annotations_of(inputs)
    if results:
        writers.append((CocoResults(results, predictor.names, annotations), json_threshold))
    if coco:
        writers.append((CocoDataset(coco, predictor.names, annotations, polygons), drawn))
    if geojson:
        writers.append((GeoJson(geojson, predictor.names), drawn))
    if not writers:
        raise ValueError("Nothing to write. Give --output, --json, --coco, --geojson or --masks.")
    outputs = [path for writer, _ in writers for path in writer.paths(inputs)]
    read = [*(x.file_name for x in all_inputs), *([annotations] if annotations else [])]
    refuse_impossible_outputs(outputs, read)
    if not overwrite:
        refuse_to_replace(outputs)
    for writer, _ in writers:
        writer.check(inputs)

    counts = [x.count() for x in inputs]
    known = [count for count in counts if count is not None]  # a camera does not know
    total = min(sum(known), limit or sum(known)) if len(known) == len(counts) else None
    failed: List[str] = []

    def fail(error: Exception) -> None:
        if strict:
            raise error
        failed.append(str(error))

    frames = islice(readable_frames(inputs, fail), limit)
    done = 0
    with Interrupts() as interrupts, ExitStack() as stack:
        for writer, _ in writers:
            stack.enter_context(writer)
        predicted = predict_frames(predictor, frames, fail)
        predicted = number_objects(predicted, drawn) if track else predicted
        found = interrupts.until_interrupted(predicted)
        for frame, instances in tqdm(found, "Predicting", total, unit="image"):
            for writer, lowest in writers:
                writer.write(frame, above(instances, lowest))
            done += 1
    stopped = interrupts.received
    if stopped == signal.SIGINT and any(is_live(x) for x in inputs):
        stopped = None
    return Outcome(done, failed, stopped)


def refuse_to_track_images(inputs: Iterable[Input]) -> None:
    """Make sure that all inputs are videos.

    Raises:
        ValueError: one is not.
    """
    for x in inputs:
        if not isinstance(x, InputVideo):
            raise ValueError(f"--track is for videos and streams, but '{x.file_name}' is an image.")


def is_live(source: Input) -> bool:
    """Whether an input is a camera or a live stream."""
    return isinstance(source, InputVideo) and source.is_live


def readable_frames(inputs: Iterable[Input], fail: Callable[[Exception], None]) -> Iterator[Frame]:
    """Read all frames of all inputs, each when it is needed.

    Args:
        fail: gets the error of an input that cannot be read, or not to its end.
    """
    for source in inputs:
        try:
            yield from source.frames()
        except (OSError, ValueError) as error:
            fail(error)


def predict_frames(
    predictor: Predictor, frames: Iterator[Frame], fail: Callable[[Exception], None]
) -> Iterator[Tuple[Frame, Instances]]:
    """Find the objects in frames, as many at a time as the predictor takes.

    Args:
        fail: gets the error of a frame that cannot be predicted.
    """
    for batch in batches(frames, predictor.batch_size):
        yield from _predict_batch(predictor, batch, fail)


def _predict_batch(
    predictor: Predictor, batch: List[Frame], fail: Callable[[Exception], None]
) -> List[Tuple[Frame, Instances]]:
    """Find the objects in frames together; one by one, if a frame among them cannot be used."""
    try:
        return list(zip(batch, predictor.stream(batch)))
    except ValueError as error:
        if len(batch) == 1:
            fail(error)
            return []
    return [found for frame in batch for found in _predict_batch(predictor, [frame], fail)]


def annotations_of(inputs: Sequence[Input]) -> Optional[str]:
    """The json of the data set that the inputs are; None if they are none, or several."""
    sets = {x.dataset if isinstance(x, InputImage) else None for x in inputs}
    name = sets.pop() if len(sets) == 1 else None
    return MetadataCatalog.get(name).get("json_file") if name else None
