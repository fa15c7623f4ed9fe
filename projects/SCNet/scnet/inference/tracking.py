"""Tracking: an object of a video has the same number in all frames that show it."""

from importlib import import_module
from types import ModuleType
from typing import Any, Dict, Iterable, Iterator, Tuple, Union

import numpy as np
import torch
from detectron2.structures import Instances

from .inputs import DEFAULT_RATE, Frame, InputVideo

LOWEST_SCORE = 0.1  # of what continues a track (ByteTrack, arXiv:2110.06864, Sec. 3)
LOST_SECONDS = 1.0  # after which an object that was not seen comes back with another number


def require_trackers() -> ModuleType:
    """Import the optional package trackers.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module("trackers")
    except ModuleNotFoundError as error:
        if error.name != "trackers":
            raise
        raise ValueError(
            "Tracking needs the package trackers, which is not installed. Run python -m pip "
            "install 'trackers>=2.6.1' (the extra 'track' of this package; docs/video.md says what "
            "it does to OpenCV on a server)."
        ) from error


class Tracker:
    """Numbers the objects of one video with ByteTrack (https://arxiv.org/abs/2110.06864).

    It is that of the package trackers, which looks at boxes and scores, and not at classes. Here
    each class has one of its own: a model may find two classes at one place, whose numbers would be
    mixed up. So all that has one number has one class.
    """

    def __init__(self, thresholds: Union[float, torch.Tensor], rate: float = DEFAULT_RATE):
        """Begin a video.

        Args:
            thresholds: what has a higher score begins a track; one for all, or (K,) for the
                classes. What has a lower one, but more than LOWEST_SCORE, continues a track.
            rate: frames per second.

        Raises:
            ValueError: the package is not installed.
        """
        self.package = require_trackers()
        self.thresholds, self.rate = thresholds, rate
        self.trackers: Dict[int, Any] = {}  # of the classes
        self.numbers: Dict[Tuple[int, int], int] = {}  # of the tracks of all trackers
        self.time = float("-inf")

    def update(self, instances: Instances, time: float) -> Instances:
        """Number what was found in the next frame.

        Args:
            instances: R objects on the CPU, best all that have a score above LOWEST_SCORE.
            time: of the frame in seconds, more than that of the one before.

        Returns:
            the same with ``track_ids``, (R,) int64: from 1, and 0 for what has no number, as when
            an object is seen for the first time.

        Raises:
            ValueError: the frame does not come after the one before.
        """
        from supervision import Detections

        if time <= self.time:
            raise ValueError(f"A frame at {time} s cannot follow one at {self.time} s.")
        step, self.time = time - self.time, time
        ids = torch.zeros(len(instances), dtype=torch.int64)
        boxes, scores = instances.pred_boxes.tensor.numpy(), instances.scores.numpy()
        classes = instances.pred_classes.numpy()
        usable = scores > LOWEST_SCORE
        for k in sorted({*classes[usable].tolist(), *self.trackers}):
            rows = np.flatnonzero(usable & (classes == k))
            found = Detections(boxes[rows], confidence=scores[rows], data={"row": rows})
            tracker = self._tracker(k)
            if np.isfinite(step):  # that of slow streams may be longer than LOST_SECONDS
                tracker.maximum_time_without_update = max(LOST_SECONDS, 1.5 * step)
            tracked = tracker.update(found, timestamp=time)
            for row, track in zip(tracked.data.get("row", ()), tracked.tracker_id):
                if track >= 0:
                    ids[row] = self.numbers.setdefault((k, int(track)), len(self.numbers) + 1)
        return Instances(instances.image_size, **instances.get_fields(), track_ids=ids)

    def _tracker(self, k: int) -> Any:
        """The tracker of a class, which is made when it is needed first."""
        if k not in self.trackers:
            of_classes = self.thresholds
            threshold = float(of_classes[k] if isinstance(of_classes, torch.Tensor) else of_classes)
            self.trackers[k] = self.package.ByteTrackTracker(
                lost_track_buffer=round(30 * LOST_SECONDS),  # it counts them at 30 per second
                frame_rate=self.rate,
                track_activation_threshold=threshold,
                high_conf_det_threshold=threshold,
            )
        return self.trackers[k]


def number_objects(
    found: Iterable[Tuple[Frame, Instances]], thresholds: Union[float, torch.Tensor]
) -> Iterator[Tuple[Frame, Instances]]:
    """Number what was found in the frames of videos, from 1 in each video.

    Args:
        found: all frames of a video, then those of the next.
        thresholds: see :class:`Tracker`.
    """
    source = None
    for frame, instances in found:
        if frame.source is not source:
            source = frame.source
            assert isinstance(source, InputVideo)
            tracker = Tracker(thresholds, source.rate)
        yield frame, tracker.update(instances, frame.time)
