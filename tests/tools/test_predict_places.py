"""No output of predict.py takes the place of an input or of another output, or follows a link."""

import json

import cv2
import pytest

from helpers import NAMES
from scnet.inference.comparison import compare_models


def test_pictures_and_label_maps_in_one_folder_are_refused(check_refused, images, tmp_path):
    places = ("--output", tmp_path / "out", "--masks", tmp_path / "out")
    for more in ([], ["--overwrite"]):
        message = f"Two different outputs would both be '{tmp_path / 'out/a.png'}'"
        check_refused(message, "--input", images, *more, output=places)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    places = ("--output", tmp_path / "out", "--masks", tmp_path / "link")
    check_refused("Two different outputs", "--input", images, output=places)
    places = ("--output", tmp_path / "out", "--json", tmp_path / "out/a.png")
    check_refused("Two different outputs", "--input", images, output=places)


def test_inputs_are_never_replaced(check_refused, images, video, tmp_path):
    """Neither under another name of their folder, nor if they are left out by --limit."""
    (images / "sub/b.png").write_bytes((images / "a.png").read_bytes())
    (tmp_path / "link").symlink_to(images)
    content = {"images": [], "categories": [{"id": k, "name": x} for k, x in enumerate(NAMES)]}
    (tmp_path / "set.json").write_text(json.dumps(content))
    before = {x: x.read_bytes() for x in images.rglob("*.*")}
    for folder in (images, tmp_path / "link", images / "sub/.."):
        for option in ("--output", "--masks"):
            arguments = ["--input", images / "a.png", "--overwrite"]
            check_refused("a.png' is read", *arguments, output=(option, folder))
    arguments = ["--input", images / "sub/b.jpg", images / "sub/b.png", "--limit", 1]
    places = ("--output", images / "sub")
    check_refused("b.png' is read", *arguments, "--overwrite", output=places)
    check_refused("clip.mp4' is read", "--input", video, output=("--output", tmp_path))
    arguments = ["--input", images, "--annotations", tmp_path / "set.json", "--overwrite"]
    check_refused("set.json' is read", *arguments, output=("--json", tmp_path / "set.json"))
    assert before == {x: x.read_bytes() for x in images.rglob("*.*")}


def test_links_are_not_followed(predict, images, video, tmp_path):
    """Neither one that has the name of an output, nor one of a file that is being written."""
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("out/a.png", "out/clip.mp4", "masks/a.png", "x.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        for link in (path, path.with_name(f".{path.stem}.part{path.suffix}")):
            link.symlink_to(mine)
    places = ("--output", tmp_path / "out", "--masks", tmp_path / "masks")
    predict(
        *("--input", images / "a.png", video, "--overwrite"),
        output=(*places, "--json", tmp_path / "x.json"),
    )
    assert mine.read_text() == "mine"
    assert not (tmp_path / "x.json").is_symlink() and json.loads((tmp_path / "x.json").read_text())
    assert cv2.imread(str(tmp_path / "out/a.png")) is not None
    assert cv2.VideoCapture(str(tmp_path / "out/clip.mp4")).isOpened()


def test_a_link_that_leads_nowhere_is_there(check_refused, images, tmp_path):
    (tmp_path / "x.json").symlink_to(tmp_path / "nowhere.json")
    check_refused("add --overwrite", "--input", images, output=("--json", tmp_path / "x.json"))


def test_the_comparison_replaces_no_image(weights, images, tiny_cfg, tmp_path):
    (tmp_path / "c.yaml").write_text(tiny_cfg.dump())
    models = [(name, str(tmp_path / "c.yaml"), str(weights)) for name in "ab"]
    before = (images / "a.png").read_bytes()
    with pytest.raises(ValueError, match="a.png' is read"):
        compare_models(models, [str(images)], str(images), overwrite=True)
    assert (images / "a.png").read_bytes() == before
