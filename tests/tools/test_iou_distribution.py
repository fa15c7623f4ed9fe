import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from helpers import TINY, set_mask_branch
from scnet.engine import iou_distribution as tool

SCRIPT = "projects/SCNet/tools/iou_distribution.py"
CONFIG = "projects/SCNet/configs/quickstart.yaml"


def slow_iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(area) - width * height)


@pytest.mark.parametrize("mask_branch", ["sample_consistency", "interleaved"])
def test_training_ious_are_those_of_the_samples(
    tiny_cfg, make_model, make_batch, mask_branch, monkeypatch
):
    set_mask_branch(tiny_cfg, mask_branch, relay=False)
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[1, 2], [3]])
    heads, seen, mask_samples = model.roi_heads, [], model.roi_heads.mask_samples
    branch = heads.mask_branch
    monkeypatch.setattr(
        heads, "mask_samples", lambda *args: seen.append(mask_samples(*args)) or seen[-1]
    )
    ious = tool.training_ious(model, [batch, batch], with_appended=True)
    per_stage = [
        [
            slow_iou(box, gt)
            for stages in seen
            for p in stages[k].proposals
            for box, gt, label in zip(p.proposal_boxes.tensor, p.gt_boxes.tensor, p.gt_classes)
            if label < 5
        ]
        for k in range(3)
    ]
    assert len(per_stage[2]) >= 2 * 3  # at least the ground truth, twice
    np.testing.assert_allclose(sorted(ious[tool.WITH]), sorted(per_stage[2]), rtol=1e-5)
    np.testing.assert_allclose(sorted(ious[tool.WITHOUT]), sorted(sum(per_stage, [])), rtol=1e-5)
    assert heads.mask_branch is branch  # the model is as it was
    without = tool.training_ious(model, [batch], with_appended=False)
    assert all((values < 1).all() for values in without.values())


def test_inference_ious_are_the_best_of_each_final_box(tiny_cfg, make_model, make_batch):
    model, batch = make_model(tiny_cfg), make_batch(tiny_cfg, [[1, 2], []])
    model.eval()
    with torch.no_grad():
        found = [x["instances"].pred_boxes for x in model(batch)]
    # Objects near some of the boxes that the model finds.
    near = Boxes(found[0].tensor[:3] + torch.tensor([0.0, 0.0, 3.0, 2.0]))
    objects = {"image0.png": near, "image1.png": Boxes(torch.zeros(0, 4))}
    ious = tool.inference_ious(model, [batch], objects)
    best = pairwise_iou(found[0], near).max(dim=1).values.numpy()
    np.testing.assert_allclose(ious, best[best >= 0.5], rtol=1e-5)
    assert model.roi_heads.mask_on


def test_percentages():
    below = tool.percent_below(np.array([0.5, 0.6, 0.75, 0.99]))
    assert dict(zip(tool.THRESHOLDS, below))[0.75] == 75
    assert below[0] == 25 and below[-1] == 75


def test_links_at_the_places_of_its_files_are_replaced(tmp_path):
    mine, folder = tmp_path / "mine", tmp_path / "out"
    mine.write_text("mine")
    folder.mkdir()
    names = ["iou_distribution.png", "ious.npz", "histogram.csv", "below.json", "below.md"]
    for name in names:
        (folder / name).symlink_to(mine)
    ious = np.array([0.5, 0.75])
    tool.save(dict.fromkeys((tool.WITHOUT, tool.WITH, tool.INFERENCE), ious), folder)
    assert mine.read_text() == "mine"
    assert sorted(x.name for x in folder.iterdir() if not x.is_symlink()) == sorted(names)
    assert (np.load(folder / "ious.npz")[tool.INFERENCE] == ious).all()


def test_an_image_that_cannot_be_used_is_named(tiny_cfg, make_model):
    image = {"file_name": "a.png", "image": torch.zeros(3, 64, 64)}
    batch = [{**image, "broken_image": "a.png is empty."}]
    with pytest.raises(ValueError, match="a.png is empty"):
        tool.inference_ious(make_model(tiny_cfg), [batch], {})


@pytest.mark.parametrize(
    "args, message",
    [
        (["--output", "{file}"], "'{file}' is no folder"),
        (["--output", "{file}2", "--num-images", 0], "--num-images must be 1 or more, not 0"),
    ],
)
def test_mistakes_end_with_one_line(run_here, tmp_path, args, message):
    file = tmp_path / "file"
    file.touch()
    args = [str(x).format(file=file) for x in args]
    result = run_here(SCRIPT, "--config-file", CONFIG, "--weights", file, *args, check=False)
    assert result.returncode == 1 and message.format(file=file) in result.stdout.splitlines()[-1]


def test_run(run_here, tiny_cfg, make_model, environment, tmp_path):
    weights, output = tmp_path / "model.pth", tmp_path / "out"
    torch.save({"model": make_model(tiny_cfg).state_dict()}, weights)
    fixed = [SCRIPT, "--config-file", CONFIG, "--weights", weights, "--output", output]
    opts = ["--num-images", 6, "--opts", *TINY, "DATALOADER.NUM_WORKERS", 0]
    result = run_here(*fixed, *opts, env=environment)
    below = json.loads((output / "below.json").read_text())
    ious = np.load(output / "ious.npz")
    assert (
        set(below)
        == set(ious.files)
        == {
            "training, all stages",
            "training, last stage",
            "inference",
        }
    )
    assert len(ious["training, all stages"]) > len(ious["training, last stage"])
    assert (ious["training, all stages"] >= 0.5).all()
    assert (ious["training, last stage"] >= 0.7).all()
    assert (output / "iou_distribution.png").stat().st_size > 1000
    lines = (output / "histogram.csv").read_text().splitlines()[1:]
    assert sum(int(x.split(",")[2]) for x in lines) == len(ious["training, all stages"])
    assert (output / "below.md").read_text().strip() in result.stdout
    again = run_here(*fixed, *opts, env=environment, check=False)
    assert again.returncode != 0 and "Add --overwrite" in again.stdout
