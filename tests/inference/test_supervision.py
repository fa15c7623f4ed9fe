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
