"""Programs of other libraries that cut large images, as docs/predict.md writes them."""

import re

import cv2
import numpy as np
import pytest

from helpers import REPOSITORY
from scnet import Predictor

pytestmark = pytest.mark.slow
WEIGHTS = "output/own_data/model_final.pth"
SIDE = 64


@pytest.fixture
def image(tmp_path):
    """Wider than a tile; no two places in it are alike."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, 110, 3), np.uint8)
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), pixels)
    return path, pixels


def program(word, weights, image, **numbers):
    """Run the program of the page that has a word in it: its variables.

    Args:
        numbers: the values of arguments that are other ones than on the page.
    """
    text = (REPOSITORY / "docs/predict.md").read_text()
    [code] = [x for x in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in x]
    assert WEIGHTS in code and "large.jpg" in code
    code = code.replace(WEIGHTS, weights).replace("large.jpg", str(image)).replace("=0.5", "=0.0")
    for name, value in numbers.items():
        code, count = re.subn(rf"\b{name}=\d+", f"{name}={value}", code)
        assert count == 1
    variables = {}
    exec(code.replace("output/sahi", str(image.parent / "sahi")), variables)
    return variables


def test_sahi_finds_what_the_predictor_finds(weights, image):
    """In an image that is one tile: the same objects, with the masks that its polygons can be."""
    pytest.importorskip("sahi", reason="sahi is not installed")
    path, pixels = image
    found = program("SCNetModel", weights, path, slice_height=110, slice_width=110)
    expected = Predictor(weights)(pixels)
    objects = found["result"].object_prediction_list
    assert (path.parent / "sahi").is_dir()
    model = found["model"].model
    assert len(objects) == len(expected) > 0
    objects = sorted(objects, key=lambda x: -x.score.value)
    np.testing.assert_allclose([x.score.value for x in objects], expected.scores, atol=1e-5)
    for x, number, mask in zip(objects, expected.pred_classes, expected.pred_masks.numpy()):
        assert x.category.name == model.names[number]
        same = (x.mask.bool_mask & mask).sum() / (x.mask.bool_mask | mask).sum()
        assert same > 0.9


def test_sahi_cuts_the_image(weights, image):
    """What it finds in two tiles is what the predictor finds in them, in their places."""
    pytest.importorskip("sahi", reason="sahi is not installed")
    predict = pytest.importorskip("sahi.predict")
    path, pixels = image
    model = program("SCNetModel", weights, path, slice_height=SIDE, slice_width=SIDE)["model"]
    options = {"slice_height": SIDE, "slice_width": SIDE, "perform_standard_pred": False}
    result = predict.get_sliced_prediction(
        str(path), model, **options, postprocess_type="NMS", postprocess_match_threshold=1.1
    )
    scores = [x.score.value for x in result.object_prediction_list]
    predictor = Predictor(weights)
    starts = (0, 110 - SIDE)
    expected = [predictor(pixels[:, x : x + SIDE]) for x in starts]
    assert len(scores) > 0
    np.testing.assert_allclose(
        sorted(scores), sorted(np.concatenate([x.scores for x in expected])), atol=1e-5
    )


def test_supervision_cuts_the_image(weights, image):
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    path, pixels = image
    found = program("InferenceSlicer", weights, path, slice_wh=SIDE, overlap_wh=16)
    merged, find = found["detections"], found["find"]
    assert len(merged) > 0 and merged.mask.shape[1:] == pixels.shape[:2]

    slicer = sv.InferenceSlicer(
        find, slice_wh=SIDE, overlap_wh=16, overlap_filter=sv.OverlapFilter.NONE
    )
    everything = slicer(pixels)
    starts = (0, 110 - SIDE)
    expected = [Predictor(weights)(pixels[:, x : x + SIDE]) for x in starts]
    boxes = [x.pred_boxes.tensor.numpy() + (start, 0) * 2 for x, start in zip(expected, starts)]
    order = [np.lexsort(b.T) for b in (everything.xyxy, np.concatenate(boxes))]
    np.testing.assert_allclose(
        everything.xyxy[order[0]], np.concatenate(boxes)[order[1]], atol=1e-3
    )
    assert len(merged) <= len(everything)
