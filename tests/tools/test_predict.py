import cv2
import numpy as np
import pytest
import torch

from helpers import TINY

SCRIPT = "projects/SCNet/tools/predict.py"
CONFIG = "projects/SCNet/configs/quickstart.yaml"


@pytest.fixture
def weights(tiny_cfg, make_model, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": make_model(tiny_cfg).state_dict()}, path)
    return path


@pytest.fixture
def images(tmp_path):
    for name, shape in {"a.png": (64, 80), "sub/b.jpg": (50, 70)}.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8))
    (tmp_path / "images/notes.txt").write_text("not an image")
    return tmp_path / "images"


@pytest.fixture
def predict(run, weights, tmp_path):
    def predict(*args, weights=weights, check=True):
        fixed = ["--config-file", CONFIG, "--output", tmp_path / "out", "--threshold", 0]
        return run(SCRIPT, *fixed, *args, "--opts", *TINY, "MODEL.WEIGHTS", weights, check=check)

    return predict


def test_a_folder_gives_a_picture_per_image(predict, images, tmp_path):
    result = predict("--input", images)
    assert "2/2" in result.stdout  # the progress bar
    for name, image in {"a.png": "a.png", "sub/b.png": "sub/b.jpg"}.items():
        picture, original = (
            cv2.imread(str(tmp_path / "out" / name)),
            cv2.imread(str(images / image)),
        )
        assert max(picture.shape) == 512  # small images are enlarged
        height, width = original.shape[:2]
        assert abs(picture.shape[0] / picture.shape[1] - height / width) < 0.01
        plain = cv2.resize(original, picture.shape[1::-1])
        assert (np.abs(picture.astype(int) - plain) > 100).any(), "nothing was drawn"


def test_pictures_are_replaced_only_when_asked(predict, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    result = predict("--input", images / "a.png", check=False)
    assert result.returncode != 0 and "add --overwrite" in result.stdout
    assert (tmp_path / "out/a.png").read_text() == "mine"
    predict("--input", images / "a.png", "--overwrite")
    assert cv2.imread(str(tmp_path / "out/a.png")) is not None


@pytest.mark.parametrize(
    "args, message",
    [
        (["--input", "nowhere"], "'nowhere' is no image, folder or registered data set"),
        (["--input", "projects/SCNet/configs"], "holds no images"),
    ],
)
def test_inputs_that_are_not_there_are_named(predict, args, message):
    result = predict(*args, check=False)
    assert result.returncode != 0
    assert message in result.stdout and "Traceback" not in result.stdout


def test_an_unreadable_image_is_named(predict, images):
    (images / "broken.jpg").write_text("not an image")
    result = predict("--input", images / "broken.jpg", check=False)
    assert result.returncode != 0
    assert "broken.jpg" in result.stdout and "Traceback" not in result.stdout


def test_an_image_too_narrow_to_be_resized_is_named(predict, images):
    cv2.imwrite(str(images / "line.png"), np.zeros((1, 5000, 3), np.uint8))
    result = predict("--input", images / "line.png", check=False)
    assert result.returncode != 0 and "Traceback" not in result.stdout
    assert "line.png' of height and width (1, 5000) cannot be used" in result.stdout


def test_the_smallest_image_is_predicted(predict, images, tmp_path):
    cv2.imwrite(str(images / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    predict("--input", images / "dot.png")
    assert cv2.imread(str(tmp_path / "out/dot.png")) is not None


def test_two_images_of_one_name_are_refused(predict, images):
    (images / "a.jpg").write_bytes((images / "sub/b.jpg").read_bytes())
    result = predict("--input", images, check=False)
    assert result.returncode != 0 and "would both be 'a.png'" in result.stdout


def test_no_weights(predict, images):
    result = predict("--input", images, weights="", check=False)
    assert result.returncode != 0 and "Add --opts MODEL.WEIGHTS" in result.stdout
