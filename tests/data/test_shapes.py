import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from pycocotools import mask as mask_util

from scnet.data.datasets import shapes


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("cache") / "shapes")
    shapes.generate(root, {"train": 12, "val": 4})
    return root


def read(root, split="train"):
    with open(os.path.join(root, "annotations", f"instances_{split}.json")) as f:
        return json.load(f)


def files_of(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}


def test_it_is_the_same_every_time(root, tmp_path):
    again = str(tmp_path / "shapes")
    shapes.generate(again, {"train": 12, "val": 4})
    assert files_of(again) == files_of(root)


def test_train_and_val_share_no_image(root):
    files = files_of(root)
    train = {content for name, content in files.items() if name.startswith("train/")}
    val = {content for name, content in files.items() if name.startswith("val/")}
    assert len(train) == 12 and len(val) == 4 and not train & val


def test_annotations_agree_with_the_semantic_maps(root):
    content = read(root)
    by_image = {image["id"]: image for image in content["images"]}
    covered = {
        i: cv2.imread(os.path.join(root, "stuffthingmaps", "train", image["file_name"]), 0)
        for i, image in by_image.items()
    }
    things = {i: np.zeros_like(sem_seg) for i, sem_seg in covered.items()}
    for annotation in content["annotations"]:
        mask = mask_util.decode(annotation["segmentation"])
        sem_seg = covered[annotation["image_id"]]
        assert mask.shape == sem_seg.shape
        assert (sem_seg[mask > 0] == annotation["category_id"] - 1).all()
        assert annotation["area"] == mask.sum() >= 30
        ys, xs = np.nonzero(mask)
        x, y, w, h = annotation["bbox"]
        assert (x, y) == (xs.min(), ys.min())
        assert (x + w, y + h) == (xs.max() + 1, ys.max() + 1)
        things[annotation["image_id"]] += mask.astype(np.uint8)
    for i, sem_seg in covered.items():
        assert things[i].max() <= 1, "visible masks overlap"
        stuff = sem_seg[things[i] == 0]
        ground = set(range(len(shapes.THING_CLASSES), 9)) | {shapes.IGNORE}
        assert set(np.unique(stuff)) <= ground


def test_all_classes_occur(root):
    classes = {a["category_id"] for a in read(root)["annotations"]}
    assert classes == set(range(1, len(shapes.THING_CLASSES) + 1))


def test_an_interrupted_call_leaves_nothing(tmp_path, monkeypatch):
    def fail(rng):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "make_image", fail)
    root = tmp_path / "cache" / "shapes"
    with pytest.raises(KeyboardInterrupt):
        shapes.generate(str(root))
    assert not root.exists()
    assert [p for p in root.parent.iterdir() if p.is_dir()] == []


def test_class_names_are_known_before_it_is_generated():
    metadata = MetadataCatalog.get("scnet_shapes_val")
    assert metadata.thing_classes == list(shapes.THING_CLASSES)
    assert metadata.stuff_classes == list(shapes.THING_CLASSES + shapes.STUFF_CLASSES)


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        shapes.generate(str(tmp_path / "cache" / "shapes"), {"train": 1, "val": 1})
    finally:
        os.umask(before)
    for path in (tmp_path / "cache").rglob("*"):
        if not path.name.endswith(".lock"):
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
