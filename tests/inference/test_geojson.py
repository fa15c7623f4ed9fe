"""Outlines in the coordinates of georeferenced images."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from scnet.inference.geojson import GeoJson, WorldFile
from scnet.inference.inputs import Frame, InputImage
from scnet.inference.mask_formats import RLEMasks, to_rle
from scnet.inference.predict_files import predict_files
from scnet.inference.predictor import Predictor

# Pixels of 2 x 2 metres, north up; the middle of the first is (500001, 5300999).
NORTH_UP = "2.0\n0\n0\n-2.0\n500001\n5300999\n"
CORNER = np.array([500000, 5301000])


def area(ring):
    x, y = np.subtract(ring, ring[0]).T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "field.tif"
    Image.new("RGB", (60, 40)).save(path)
    path.with_suffix(".tfw").write_text(NORTH_UP)
    return path


def write(path, image, instances):
    source = InputImage(str(image), "field.png")
    writer = GeoJson(str(path), ["cat", "dog"])
    writer.check([source])
    with writer:
        writer.write(Frame(source, 1, np.zeros((40, 60, 3), np.uint8)), instances)
    return json.loads(path.read_text())


@pytest.fixture
def instances():
    """A dog with a hole, and a cat of two parts; the dog is less sure."""
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[0, 10:30, 5:35] = True
    masks[0, 15:20, 10:14] = False
    masks[1, 0:4, 0:4] = masks[1, 4:8, 5:9] = True
    found = Instances((40, 60), pred_boxes=Boxes(torch.tensor([[5.0, 10, 35, 30], [0, 0, 9, 8]])))
    found.scores, found.pred_classes = torch.tensor([0.6, 0.9]), torch.tensor([1, 0])
    found.pred_masks = RLEMasks(map(to_rle, masks))
    return found


def test_outlines_are_where_the_world_file_says(tmp_path, image, instances):
    content = write(tmp_path / "found.geojson", image, instances)
    assert content["type"] == "FeatureCollection" and "WGS 84" in content["coordinate_system"]
    cat, dog = content["features"]
    score = pytest.approx(0.9)
    assert cat["properties"] == {"file_name": "field.tif", "class": "cat", "score": score}
    assert [len(x) for x in cat["geometry"]["coordinates"]] == [1, 1]
    [[outline, hole]] = dog["geometry"]["coordinates"]
    assert outline[0] == outline[-1]
    low, high = np.min(outline, 0), np.max(outline, 0)
    # A quarter of a pixel, half a metre, inside the columns 5 to 35 and the rows 10 to 30.
    np.testing.assert_allclose(low, CORNER + (10.5, -59.5))
    np.testing.assert_allclose(high, CORNER + (69.5, -20.5))
    assert area(outline) == pytest.approx(59 * 39, abs=2)  # counterclockwise
    assert area(hole) == pytest.approx(-(9 * 11), abs=2)  # clockwise
    np.testing.assert_allclose(np.max(hole, 0), CORNER + (28.5, -29.5))


def test_boxes_of_a_model_without_masks(tmp_path, image, instances):
    instances.remove("pred_masks")
    content = write(tmp_path / "found.geojson", image, instances)
    [[ring]] = content["features"][1]["geometry"]["coordinates"]
    assert area(ring) == 60 * 40 and np.min(ring, 0).tolist() == (CORNER + (10, -60)).tolist()


def test_a_turned_image():
    """b and d turn it; the six numbers come in the order a, d, b, e, c, f."""
    place = WorldFile(0, 2, -3, 0, 100, 200)
    [ring] = place.polygon([np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 1.5]])])
    assert ring == [[100, 200], [100, 206], [97, 206], [100, 200]]


@pytest.mark.parametrize("name", ["field.tifw", "field.wld", "field.TFW", "field.tfw"])
def test_names_of_world_files(image, name):
    image.with_suffix(".tfw").rename(image.parent / name)
    assert WorldFile.beside(str(image)).c == 500001


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "has no world file (.tfw, .tifw, .wld)"),
        ("1\n2\n", "is no world file of six numbers"),
        ("1\n0\n0\nx\n0\n0\n", "is no world file of six numbers"),
        ("0\n0\n0\n-2\n5\n5\n", "has numbers that are no place"),
        ("1\n0\n0\nnan\n0\n0\n", "has numbers that are no place"),
    ],
)
def test_places_that_cannot_be(tmp_path, image, text, message):
    image.with_suffix(".tfw").unlink()
    if text is not None:
        image.with_suffix(".tfw").write_text(text)
    with pytest.raises(ValueError) as caught:
        GeoJson(str(tmp_path / "x.geojson"), []).check([InputImage(str(image), "field.png")])
    assert message in str(caught.value)


def test_an_image_that_is_turned_by_its_tag(image):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (60, 40)).save(image, exif=exif)
    with pytest.raises(ValueError, match="turned by its EXIF tag"):
        WorldFile.beside(str(image))


def test_predicting_writes_it(weights, image, tmp_path):
    path = tmp_path / "found.geojson"
    predictor = Predictor(weights, masks="rle")
    predict_files(predictor, [str(image)], geojson=str(path), threshold=0.0)
    features = json.loads(path.read_text())["features"]
    assert features and all(x["properties"]["class"] in predictor.names for x in features)
    image.with_suffix(".tfw").unlink()
    with pytest.raises(ValueError, match="no world file"):
        predict_files(predictor, [str(image)], geojson=str(path), overwrite=True)
