"""Images that are no colours of 8 bits, from the training to the exported file."""

import json

import cv2
import numpy as np
import pytest
import torch

from detecting_models import spread_out
from helpers import TINY
from scnet import Predictor, get_config_file
from scnet.config import read_cfg
from scnet.data.broken_images import BrokenImageError
from scnet.data.validation.check_dataset import check_datasets
from scnet.engine import Trainer, configure_data
from scnet.export import compare
from scnet.export.export_model import export_model
from scnet.image_kind import ImageKind
from scnet.inference.predict_files import predict_files

pytestmark = pytest.mark.slow

FAST = [
    *("SEED", 3, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, "SOLVER.STEPS", ()),
    *("SOLVER.MAX_ITER", 2, "SOLVER.WARMUP_ITERS", 1, "INPUT.MIN_SIZE_TRAIN", (64,)),
    *("INPUT.MIN_SIZE_TEST", 64, "INPUT.COLOR_JITTER", 0.2, "INPUT.COPY_PASTE", 1.0),
    *("INPUT.MASK_FORMAT", "bitmask", "TEST.AUG.MIN_SIZES", (72,)),
]
KINDS = {
    "gray": (ImageKind(1), ".png"),
    "colour, 16 bits": (ImageKind(3, "uint16"), ".png"),
    "5 channels, 16 bits": (ImageKind(5, "uint16"), ".npy"),
}


def save(path, pixels):
    if str(path).endswith(".npy"):
        np.save(path, pixels)
    else:
        assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def make_images(coco_set):
    """make_images(kind, ending) replaces the images of ``coco_set`` by random ones of a kind."""

    def make(kind, ending):
        rng = np.random.default_rng(0)
        for record in coco_set.content["images"]:
            old = coco_set.images / record["file_name"]
            record["file_name"] = record["file_name"].rsplit(".")[0] + ending
            pixels = rng.integers(0, 250 if kind.dtype == "uint8" else 4000, coco_set.SIZE)
            pixels = np.stack([pixels // k for k in range(1, kind.channels + 1)], axis=2)
            old.unlink()
            save(coco_set.images / record["file_name"], pixels.astype(kind.dtype))
        coco_set.write()
        return coco_set

    return make


@pytest.fixture
def configure(coco_set, tmp_path):
    """configure(kind, KEY, value, ...): the config of a training on ``coco_set``."""

    def make(kind, *opts):
        data = {"JSON": coco_set.json_file, "IMAGES": coco_set.images}
        data = [
            (f"DATASETS.{s}_{key}", (str(x),)) for s in ("TRAIN", "TEST") for key, x in data.items()
        ]
        opts = [*TINY, *FAST, *(x for pair in data for x in pair), *opts]
        opts += ["INPUT.CHANNELS", kind.channels, "INPUT.DTYPE", kind.dtype]
        cfg = read_cfg(
            get_config_file("quickstart.yaml"), [*opts, "OUTPUT_DIR", str(tmp_path / "run")]
        )
        configure_data(cfg, opts[::2])
        return cfg

    return make


@pytest.mark.parametrize("name", KINDS)
def test_train_evaluate_and_predict(make_images, configure, tmp_path, name):
    kind, ending = KINDS[name]
    coco = make_images(kind, ending)
    cfg = configure(kind, "VIS_PERIOD", 1)
    trainer = Trainer(cfg)
    trainer.train()
    assert trainer.model.backbone.bottom_up.stem.conv1.in_channels == kind.channels
    assert "segm/AP" in json.loads((tmp_path / "run/metrics.json").read_text().splitlines()[-1])
    weights = str(tmp_path / "run/model_final.pth")
    path = next(coco.images.glob("a.*"))
    pixels = np.load(path) if ending == ".npy" else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    predictor = Predictor(weights, cfg)
    of_file, of_array = predictor(path), predictor(pixels)
    assert len(of_file) == 5 and torch.equal(of_file.pred_masks, of_array.pred_masks)
    predict_files(predictor, [str(path)], pictures=str(tmp_path / "pictures"))
    assert (tmp_path / "pictures/a.png").is_file()
    cfg.TEST.AUG.ENABLED = True
    assert len(Predictor(weights, cfg)(path)) == 5


def test_a_run_goes_on_exactly(make_images, configure, tmp_path):
    """Also from a config that is made anew, whose statistics are measured again."""
    kind, ending = KINDS["5 channels, 16 bits"]
    make_images(kind, ending)
    opts = ["SOLVER.CHECKPOINT_PERIOD", 1, "DATASETS.TEST_JSON", (), "DATASETS.TEST_IMAGES", ()]
    first = configure(kind, *opts)
    trainer = Trainer(first)
    trainer.resume_or_load(resume=False)
    trainer.train()
    final = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    (tmp_path / "run/last_checkpoint").write_text("model_0000000.pth")
    (tmp_path / "run/model_final.pth").unlink()
    again = configure(kind, *opts)
    assert again.MODEL.PIXEL_MEAN == first.MODEL.PIXEL_MEAN and len(first.MODEL.PIXEL_MEAN) == 5
    trainer = Trainer(again)
    trainer.resume_or_load(resume=True)
    trainer.train()
    model = torch.load(tmp_path / "run/model_final.pth", weights_only=True)["model"]
    assert all(torch.equal(x, final[name]) for name, x in model.items())


def test_an_image_of_other_channels_is_named(make_images, configure, tmp_path, capsys):
    """By the check, a training that stops, and an evaluation that goes on without it."""
    kind, ending = KINDS["5 channels, 16 bits"]
    coco = make_images(kind, ending)
    cfg = configure(kind)
    assert check_datasets(cfg.clone(), folder=str(tmp_path / "check"))
    save(coco.images / "a.npy", np.zeros((*coco.SIZE, 3), np.uint16))
    assert not check_datasets(cfg.clone())
    assert "a.npy' has 3 channels of the type uint16, but the config has" in capsys.readouterr().out
    with pytest.raises(BrokenImageError, match="a.npy' has 3 channels"):
        Trainer(cfg).train()
    cfg.DATALOADER.ON_BROKEN_IMAGE = "skip"
    metrics = Trainer.test(cfg, Trainer(cfg).model)
    assert metrics["segm"]["AP"] >= 0


def test_16_bits_are_8_bits_in_another_unit(tiny_cfg, make_model, tmp_path):
    """With statistics in that unit; of an image that is not resized, which would round 8 bits."""
    tiny_cfg.INPUT.MIN_SIZE_TEST = 0
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    model = make_model(tiny_cfg).eval()
    spread_out(model, torch.as_tensor(image).permute(2, 0, 1))
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    expected = Predictor(str(tmp_path / "model.pth"), tiny_cfg)(image)
    assert cv2.imwrite(str(tmp_path / "a.png"), image.astype(np.uint16) * 257)
    tiny_cfg.INPUT.DTYPE = "uint16"
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        tiny_cfg.MODEL[key] = [257 * x for x in tiny_cfg.MODEL[key]]
    found = Predictor(str(tmp_path / "model.pth"), tiny_cfg)(tmp_path / "a.png")
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        found.pred_boxes.tensor, expected.pred_boxes.tensor, atol=0.1, rtol=0
    )


def test_an_exported_file_takes_the_same_images(tiny_cfg, make_model, tmp_path):
    kind = ImageKind(5, "uint16")
    tiny_cfg.merge_from_list(["INPUT.CHANNELS", 5, "INPUT.DTYPE", "uint16"])
    tiny_cfg.merge_from_list(["MODEL.PIXEL_MEAN", [2000.0] * 5, "MODEL.PIXEL_STD", [900.0] * 5])
    tiny_cfg.INPUT.MIN_SIZE_TEST = 72
    model = make_model(tiny_cfg).eval()
    image = np.random.default_rng(0).integers(0, 4000, (64, 80, 5), np.uint16)
    spread_out(model, torch.as_tensor(image.astype(np.float32)).permute(2, 0, 1))
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    names = [str(k) for k in range(tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES)]
    sizes = {"min_size_test": 72, "max_size_test": 1333, "input_format": "RGB"}
    metadata = {"class_names": names, "channels": 5, "dtype": "uint16", **sizes}
    path = str(tmp_path / "model.ts")
    export_model(model, path, "torchscript", metadata, size=(64, 80))
    exported = Predictor(path)
    assert exported.kind == kind
    expected = Predictor(str(tmp_path / "model.pth"), tiny_cfg)(image)
    assert len(expected) > 1 and not compare(expected, exported(image)).is_large()
    with pytest.raises(ValueError, match="Image number 1 has 3 channels of the type uint8"):
        exported(image[:, :, :3].astype(np.uint8))
