"""Predicting files: what a predictor finds in them becomes pictures, json and label maps."""

from contextlib import ExitStack
from itertools import islice, tee
from typing import List, Optional, Sequence

from detectron2.data import MetadataCatalog
from tqdm import tqdm

from ..overwrite import refuse_to_replace
from .inputs import Input, InputImage, find_inputs, frames_of
from .outputs import CocoResults, LabelMaps, Pictures, Writer
from .predictor import Predictor


def predict_files(
    predictor: Predictor,
    sources: Sequence[str],
    *,
    pictures: Optional[str] = None,
    results: Optional[str] = None,
    annotations: Optional[str] = None,
    masks: Optional[str] = None,
    limit: Optional[int] = None,
    overwrite: bool = False,
) -> int:
    """Predict images, videos and what a camera sees, until Ctrl-C, and write what is found.

    Args:
        sources: see :func:`find_inputs`.
        pictures: the folder of the pictures, see :class:`Pictures`.
        results: the json file, see :class:`CocoResults`.
        annotations: a COCO json whose ids of images and categories ``results`` has; by default
            that of the data set, if there is no other source.
        masks: the folder of the label maps, see :class:`LabelMaps`.
        limit: stop after this many images or frames.
        overwrite: replace files that exist.

    Returns:
        the number of images and frames.

    Raises:
        FileExistsError: a file exists, and ``overwrite`` is False.
        ValueError: there is nothing to write; ``limit`` is less than 1; or see
            :func:`find_inputs`, :class:`CocoResults` and :meth:`Predictor.stream`.
    """
    if limit is not None and limit < 1:
        raise ValueError("--limit must be 1 or more.")
    inputs = find_inputs(sources)[:limit]
    writers: List[Writer] = []
    if pictures:
        writers.append(Pictures(pictures, predictor.names))
    if masks:
        writers.append(LabelMaps(masks))
    if results:
        annotations = annotations or annotations_of(inputs)
        writers.append(CocoResults(results, predictor.names, annotations))
    if not writers:
        raise ValueError("Nothing to write. Give --output, --json or --masks.")
    if not overwrite:
        refuse_to_replace([path for w in writers for path in w.paths(inputs)])

    counts = [x.count() for x in inputs]
    known = [count for count in counts if count is not None]  # a camera does not know
    total = min(sum(known), limit or sum(known)) if len(known) == len(counts) else None
    frames, ahead = tee(islice(frames_of(inputs), limit))
    found = zip(frames, predictor.stream(ahead))
    done = 0
    with ExitStack() as stack:
        for writer in writers:
            stack.enter_context(writer)
        try:
            for frame, instances in tqdm(found, "Predicting", total, unit="image"):
                for writer in writers:
                    writer.write(frame, instances)
                done += 1
        except KeyboardInterrupt:
            print("Stopped.")
    return done


def annotations_of(inputs: Sequence[Input]) -> Optional[str]:
    """The json of the data set that the inputs are; None if they are none, or several."""
    sets = {x.dataset if isinstance(x, InputImage) else None for x in inputs}
    name = sets.pop() if len(sets) == 1 else None
    return MetadataCatalog.get(name).get("json_file") if name else None
