"""Test-time augmentation, step by step, against the reference implementation.

Each step gets the reference's result of the step before. A fifth of the regions is enough where
they do not depend on each other.
"""

import numpy as np
import pytest
import torch
from detectron2.data.transforms import HFlipTransform, ResizeTransform, TransformList
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from parity_tools import image_tensor, match, note
from scnet import get_cfg
from scnet.modeling.test_time_augmentation import SCNetWithTTA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(open_reference):
    return open_reference("scnet_r50_tta")


@pytest.fixture(scope="module")
def size(reference):
    return reference["raw_image"].shape[:2]


@pytest.fixture(scope="module")
def model(load_model, open_reference, reference):  # which skips before weights are drawn
    return load_model(open_reference("scnet_r50_infer")).eval()


@pytest.fixture(scope="module")
def augmented(model):
    return SCNetWithTTA(get_cfg(), model)


@pytest.fixture(scope="module")
def versions(reference, size):
    """The reference's six versions of the image, and their transforms."""
    inputs, transforms = [], []
    for k in range(6):
        inputs.append({"image": image_tensor(reference, f"aug/{k}/image")})
        height, width = inputs[k]["image"].shape[1:]
        steps = [ResizeTransform(*size, height, width)]
        if reference[f"aug/{k}/flip"]:
            steps.append(HFlipTransform(width))
        transforms.append(TransformList(steps))
    return inputs, transforms


@pytest.fixture(scope="module")
def proposed(augmented, versions):
    """Features and proposals per version."""
    with torch.no_grad():
        return list(zip(*(augmented._propose(x) for x in versions[0])))


def test_merged_proposals(augmented, proposed, versions, reference):
    """The same set, but for the boxes without area, which only the reference keeps."""
    boxes, logits = augmented._merge_proposals(proposed[1], versions[1])
    expected = reference["merged_proposals"]
    assert len(boxes) == len(expected)
    expected = expected[(expected[:, 2:4] > expected[:, :2]).all(axis=1)]
    ours, scores = boxes.numpy()[: len(expected)], logits.sigmoid().numpy()[: len(expected)]
    distance = np.abs(ours[None] - expected[:, None, :4]).max(axis=2)
    index, near = distance.argmin(axis=1), distance.min(axis=1) <= 1e-2
    note("augmented: proposals missing", 1 - near.mean(), "of those with an area")
    assert near.mean() >= 0.998  # borderline cases of suppression and of the last places
    assert np.abs(scores[index] - expected[:, 4])[near].max() <= 1e-4


def test_mean_boxes_and_scores(augmented, proposed, versions, reference):
    proposals = torch.as_tensor(reference["merged_proposals"][::5, :4])
    with torch.no_grad():
        boxes, scores = augmented._mean_boxes(proposed[0], versions[0], proposals, versions[1])
    distance = np.abs(boxes.numpy() - reference["merged_boxes"][::5]).max()
    note("augmented: mean boxes", distance, "pixels")
    assert distance <= 1e-2
    score = np.abs(scores.numpy() - reference["merged_scores"][::5]).max()
    note("augmented: mean scores", score, "absolute")
    assert score <= 1e-4


def test_detections(model, reference, size):
    boxes, scores = (torch.as_tensor(reference[f"merged_{x}"]) for x in ("boxes", "scores"))
    [instances] = model.roi_heads.suppress([boxes], [scores], [size])
    boxes, scores, labels = (reference[f"results/{x}"] for x in ("bboxes", "scores", "labels"))
    index, distance = match(instances, boxes, labels)
    assert sorted(index) == list(range(len(instances))), "not the same set of detections"
    assert distance.max() <= 1e-3
    assert np.abs(instances.scores.numpy()[index] - scores).max() <= 1e-6


def test_mean_masks(augmented, proposed, versions, reference, size):
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.as_tensor(reference["results/bboxes"][::5]))
    instances.pred_classes = torch.as_tensor(reference["results/labels"][::5])
    with torch.no_grad():
        masks = augmented._mean_masks(proposed[0], versions[0], instances, versions[1])
    instances.pred_masks = masks
    masks = detector_postprocess(instances, *size).pred_masks.numpy()
    wrong = (masks != reference.masks("results/masks")[::5]).mean(axis=(1, 2)).max()
    note("augmented: masks", wrong, "of the pixels of a mask")
    assert wrong <= 5e-4
