from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.structures import Boxes, Instances
from PIL import Image

from helpers import NAMES
from scnet import Predictor
from scnet.inference import BACKENDS
from scnet.inference.predictor import above
from scnet.modeling.test_time_augmentation import SCNetWithTTA


def assert_same(one, other):
    assert len(one) == len(other) > 0
    assert torch.equal(one.pred_classes, other.pred_classes)
    torch.testing.assert_close(one.scores, other.scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor, atol=1e-2, rtol=1e-4)
    assert (one.pred_masks != other.pred_masks).float().mean() <= 1e-3


@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_image_gives_what_it_gives_alone(weights, images, tiny_cfg, batch_size):
    """Whatever else is in the batch, in the order of the images."""
    tiny_cfg.MODEL.WEIGHTS = weights
    plain = DefaultPredictor(tiny_cfg)
    predictor = Predictor(weights, batch_size=batch_size)
    found = list(predictor.stream(iter(images)))
    assert len(found) == len(images)
    for image, instances in zip(images, found):
        assert instances.image_size == image.shape[:2]
        expected = plain(image.astype(np.uint8))["instances"]
        assert_same(instances, expected)


def test_images_of_one_padded_size_are_predicted_together(weights, images):
    predictor = Predictor(weights, batch_size=4)
    batches, inference = [], predictor.backend.model.inference
    predictor.backend.model.inference = lambda x, **kw: batches.append(len(x)) or inference(x, **kw)
    assert len(list(predictor.stream(images))) == 4
    assert sorted(batches) == [1, 1, 2]


def test_arrays_and_files_in_either_order_of_channels(weights, images, tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), images[0])
    predictor = Predictor(weights)
    expected = predictor(images[0])
    rgb = Predictor(weights, array_format="RGB")
    for found in (predictor(path), rgb(images[0][:, :, ::-1]), rgb(str(path))):
        assert_same(found, expected)
    assert not torch.equal(rgb(images[0]).scores, expected.scores)


def test_gray_arrays_and_images_of_pillow(weights, images, tmp_path):
    """They are what their file is, in either order of channels."""
    gray, path = images[0][:, :, 0], str(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(gray).save(path, exif=exif)
    predictor, rgb = Predictor(weights), Predictor(weights, array_format="RGB")
    for x in (gray, gray[:, :, None], Image.fromarray(gray).convert("P")):
        assert_same(predictor(x), predictor(np.dstack([gray] * 3)))
    assert_same(predictor(Image.open(path)), predictor(path))
    colours = Image.fromarray(images[0][:, :, ::-1].copy())
    assert_same(rgb(colours), predictor(images[0]))
    [alone] = predictor.stream(colours)
    assert_same(alone, predictor(images[0]))


@pytest.mark.parametrize("image", [None, torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8), 1.5])
def test_one_thing_that_is_no_image_is_named(weights, image):
    for call in (Predictor(weights), lambda x: list(Predictor(weights).stream(x))):
        with pytest.raises(ValueError, match="Image number 1 is (None|a torch|a builtins.float)"):
            call(image)


def test_threshold_and_classes(weights, images):
    everything = Predictor(weights)(images[0])
    threshold = everything.scores.median().item()  # that of a detection, which is left out
    predictor = Predictor(weights, threshold=threshold)
    assert_same(predictor(images[0]), everything[everything.scores > threshold])
    last = predictor.backend.model.roi_heads.box_predictor[-1]
    assert last.test_score_thresh == threshold  # so what is left out gets no masks
    chosen = everything.pred_classes.unique()[:2].tolist()
    found = Predictor(weights, classes=[NAMES[c] for c in chosen])(images[0])
    assert_same(found, everything[torch.isin(everything.pred_classes, torch.tensor(chosen))])


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("given, expected", [(None, None), ("cpu", "cpu"), ("cuda:0", "cuda:0")])
def test_the_device_is_that_of_the_machine_or_given(weights, monkeypatch, gpu, given, expected):
    """Not that of the training, which an older config.yaml has."""
    asked = []

    def load(cfg, _):
        asked.append(cfg.MODEL.DEVICE)
        raise ValueError("enough")

    config = Path(weights).parent / "config.yaml"
    trained_on = "cpu" if gpu else "cuda"
    config.write_text(config.read_text().replace("MODEL:", f"MODEL:\n  DEVICE: {trained_on}", 1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("scnet.inference.pytorch_backend.load_model", load)
    more = {} if given is None else {"device": given}
    with pytest.raises(ValueError, match="enough"):
        Predictor(weights, **more)
    assert asked == [expected or ("cuda" if gpu else "cpu")]


def test_a_device_that_is_not_there_is_one_sentence(weights, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda', but no GPU is available to PyTorch"):
        Predictor(weights, device="cuda")
    assert str(Predictor(weights, device="cpu").backend.device) == "cpu"


def test_names_come_with_the_weights(weights):
    predictor = Predictor(weights)
    assert predictor.names == predictor.metadata.thing_classes == NAMES
    with pytest.raises(ValueError, match="does not know 'cat', 'dog'. It knows: disk, square"):
        Predictor(weights, classes=["disk", "cat", "dog"])


def test_images_are_read_when_they_are_needed(weights, images):
    given = []

    def endless():
        while True:
            given.append(1)
            yield images[0]

    next(Predictor(weights, batch_size=2).stream(endless()))
    assert len(given) == 2


def test_a_video_gives_its_frames(weights, video, monkeypatch):
    """A camera, too: OpenCV reads both in the same way."""
    predictor = Predictor(weights, batch_size=2)
    capture = cv2.VideoCapture(video)
    expected = [predictor(capture.read()[1]) for _ in range(3)]
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda x: opened(video if x == 0 else x))
    camera = predictor.stream(0)
    for found in (list(predictor.stream(video)), list(islice(camera, 3))):
        assert len(found) == 3
        for one, other in zip(found, expected):
            assert_same(one, other)
    with pytest.raises(ValueError, match="The camera '0' gives no more frames after 3"):
        next(camera)
    with pytest.raises(ValueError, match="clip.mp4' is more than one image. Use Predictor.stream"):
        predictor(video)


@pytest.mark.parametrize(
    "image, message",
    [
        ("broken.png", "broken.png"),
        ("nowhere.png", "'nowhere.png' is no image"),
        ("broken.mp4", "Cannot open video '.*broken.mp4'"),
        (np.zeros((8, 8, 4), np.uint8), "Image number 2 has 4 channels of the type uint8"),
        (np.zeros((8, 8, 3)), "number 2 has 3 channels of the type float64, but"),
        (np.zeros((8, 8), np.uint16), "number 2 has 1 channel of the type uint16, but"),
        (np.zeros((0, 8, 3), np.uint8), r"number 2 has the shape \(0, 8, 3\)"),
        (None, "number 2 is None, which cv2.imread returns"),
        (torch.zeros(3, 8, 8), r"number 2 is a torch.Tensor of shape \(3, 8, 8\). Give"),
        ([1, 2], "number 2 is a builtins.list. Give"),
        (Image.new("I;16", (8, 8)), "number 2 has more than 8 bits"),
        (np.zeros((1, 5000, 3), np.uint8), r"number 2 of height and width \(1, 5000\) cannot be"),
    ],
)
def test_what_cannot_be_predicted_is_named(weights, images, tmp_path, image, message):
    if isinstance(image, str) and image.startswith("broken"):
        (tmp_path / image).write_text("not an image")
        image = str(tmp_path / image)
    with pytest.raises((OSError, ValueError), match=message):
        list(Predictor(weights, batch_size=2).stream([images[0], image]))


def test_a_config_is_needed(weights, tmp_path, tiny_cfg):
    (tmp_path / "alone.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="no config.yaml beside them"):
        Predictor(str(tmp_path / "alone.pth"))
    with pytest.raises(FileNotFoundError, match="nowhere.pth' do not exist"):
        Predictor("nowhere.pth", tiny_cfg)
    with pytest.raises(ValueError, match="batch size must be 1 or more"):
        Predictor(weights, batch_size=0)
    with pytest.raises(ValueError, match="array_format must be"):
        Predictor(weights, array_format="rgb")


@pytest.mark.parametrize("file", ["model.onnx", "model.ts"])
def test_a_config_beside_an_exported_file_is_refused(tiny_cfg, file):
    """Rather than ignored: the file was exported with a config of its own."""
    with pytest.raises(ValueError, match=f"'{file}' was exported with its config"):
        Predictor(file, tiny_cfg)


def test_augmentation_of_the_config_is_used(weights, images, tiny_cfg):
    tiny_cfg.merge_from_list(["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64, 96)])
    predictor = Predictor(weights, tiny_cfg)
    assert isinstance(predictor.backend.model, SCNetWithTTA)
    image = torch.as_tensor(images[0][:, :, ::-1].transpose(2, 0, 1).copy())
    with torch.no_grad():
        height, width = image.shape[1:]
        [expected] = predictor.backend.model([{"image": image, "height": height, "width": width}])
    assert_same(predictor(images[0]), expected["instances"])


def test_files_and_images_of_pillow_may_have_as_many_pixels_as_the_config_says(
    weights, images, tiny_cfg, tmp_path
):
    path, (height, width) = str(tmp_path / "a.tif"), images[0].shape[:2]
    Image.fromarray(images[0]).save(path)
    tiny_cfg.INPUT.MAX_PIXELS = height * width
    for given in (path, Image.open(path)):
        assert Predictor(weights, tiny_cfg)(given).image_size == (height, width)
    tiny_cfg.INPUT.MAX_PIXELS = height * width - 2
    for given in (path, Image.open(path)):
        with pytest.raises(ValueError, match="INPUT.MAX_PIXELS"):
            Predictor(weights, tiny_cfg)(given)


def test_another_backend_is_chosen_by_the_ending(monkeypatch, images):
    """It gets what it needs, and its detections are chosen from as those of PyTorch."""

    class Backend:
        names = NAMES
        max_pixels = 100

        def __init__(self, *args):
            self.args = args

        def __call__(self, images):
            return [
                Instances(
                    image.shape[:2],
                    pred_boxes=Boxes(torch.rand(3, 4)),
                    scores=torch.tensor([0.9, 0.6, 0.4]),
                    pred_classes=torch.tensor([0, 1, 1]),
                )
                for image in images
            ]

    monkeypatch.setitem(BACKENDS, ".onnx", Backend)
    predictor = Predictor("model.onnx", threshold=0.5, classes=["square"], batch_size=3)
    assert predictor.backend.args == ("model.onnx", None, 0.5)
    found = list(predictor.stream(images))
    assert [x.scores.tolist() for x in found] == [[pytest.approx(0.6)]] * 4


def test_classes_have_thresholds_of_their_own(weights, images):
    every = Predictor(weights)(images[0])
    label = int(every.pred_classes[0])
    is_own, own = every.pred_classes == label, NAMES[label]
    predictor = Predictor(weights, threshold=1, class_thresholds={own: 0})  # the model gives all
    assert torch.equal(predictor(images[0]).scores, every.scores[is_own])
    others = Predictor(weights, class_thresholds={own: 1})(images[0])
    assert torch.equal(others.scores, every.scores[~is_own])
    with pytest.raises(ValueError, match="does not know 'cat'"):
        predictor.class_wise(0.5, {"cat": 0.5})
    found = Instances((9, 9), scores=torch.tensor([0.4, 0.6, 0.4, 0.6]))
    found.pred_classes = torch.tensor([0, 0, 1, 1])
    assert above(found, predictor.class_wise(0.5, {NAMES[1]: 0.3})).scores.tolist() == [
        *found.scores[1:].tolist()
    ]
