"""What the package supervision makes of what a predictor finds, as docs/predict.md says."""

import numpy as np
import pytest

from scnet import Predictor

sv = pytest.importorskip("supervision", reason="supervision is not installed")


def test_instances_become_detections(weights, images):
    instances = Predictor(weights)(images[0])
    detections = sv.Detections.from_detectron2({"instances": instances})
    assert len(detections) == len(instances) > 0
    np.testing.assert_array_equal(detections.xyxy, instances.pred_boxes.tensor)
    np.testing.assert_array_equal(detections.confidence, instances.scores)
    np.testing.assert_array_equal(detections.class_id, instances.pred_classes)
    np.testing.assert_array_equal(detections.mask, instances.pred_masks)


def test_the_slicer_takes_a_predictor(weights):
    """Its own way to cut images, with masks of the whole image in memory."""
    predictor = Predictor(weights)
    sizes = []

    def find(tile):
        sizes.append(tile.shape)
        return sv.Detections.from_detectron2({"instances": predictor(tile)})

    image = np.random.default_rng(0).integers(0, 255, (64, 110, 3), dtype=np.uint8)
    detections = sv.InferenceSlicer(find, slice_wh=64, overlap_wh=16)(image)
    assert len(sizes) >= 2 and set(sizes) == {(64, 64, 3)}
    assert len(detections) > 0 and detections.mask.shape[1:] == (64, 110)
    assert detections.xyxy[:, 2].max() > 64
