import json
import runpy
import sys
import weakref
from argparse import Namespace
from itertools import count

import cv2
import numpy as np
import pytest
import torch

from helpers import REPOSITORY, TINY
from pretend_cuda import pretend_gpu, to_gpu
from scnet import get_cfg, get_config_file
from scnet.inference.benchmark import Settings, measure, models, parts
from scnet.modeling import compiled_regions
from scnet.tf32 import set_tf32_alike

SCRIPT = "projects/SCNet/tools/benchmark.py"
CONFIG = "projects/SCNet/configs/quickstart.yaml"
PARTS = ["backbone", "RPN", "context", "boxes", "masks", "post-processing"]
VARIANTS = {
    "per_stage": [
        "MODEL.SCNET.MASK_BRANCH per_stage",
        "MODEL.SCNET.FEATURE_RELAY False",
        "MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead",
    ],
    # Detectron2's own model, with the usual wide backbone.
    "detectron2": [
        "MODEL.META_ARCHITECTURE GeneralizedRCNN",
        "MODEL.ROI_HEADS.NAME CascadeROIHeads",
        "MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead",
        "MODEL.RESNETS.STEM_OUT_CHANNELS 64",
        "MODEL.RESNETS.RES2_OUT_CHANNELS 256",
        "MODEL.RESNETS.WIDTH_PER_GROUP 64",
    ],
}


@pytest.fixture(scope="module")
def cfgs():
    def cfg(changes=()):
        cfg = get_cfg()
        cfg.merge_from_file(get_config_file("quickstart.yaml"))
        cfg.merge_from_list([*TINY, *(word for change in changes for word in change.split())])
        return cfg

    return {"quickstart": cfg(), **{name: cfg(changes) for name, changes in VARIANTS.items()}}


@pytest.fixture(scope="module")
def report(run_forked, cfgs, tmp_path_factory):
    """What the tool wrote and printed for a shipped config and two files."""
    folder = tmp_path_factory.mktemp("benchmark")
    for name in VARIANTS:
        (folder / f"{name}.yaml").write_text(cfgs[name].dump())
    files = ["quickstart.yaml", *(folder / f"{name}.yaml" for name in VARIANTS)]
    fixed = ["--device", "cpu", "--threads", 1, "--size", 64, 96, "--rounds", 2]
    printed = run_forked(
        SCRIPT, "--config-file", *files, *fixed, "--output", folder / "out", "--opts", *TINY
    ).stdout
    written = json.loads((folder / "out/benchmark.json").read_text())
    return {**written, "printed": printed, "table": (folder / "out/benchmark.md").read_text()}


def test_parts_sum_to_the_total(report):
    for row in report["configs"]:
        assert sum(row[part] for part in [*PARTS, "other"]) == pytest.approx(row["total"])
        assert 0 < row["min"] <= row["total"] <= row["max"]
        missing = ["context"] if row["config"] == "detectron2" else []
        assert [part for part in PARTS if row[part] <= 0] == missing
        assert abs(row["other"]) < row["total"] / 2


def test_speed_is_relative_to_the_first_config(report):
    first, *others = report["configs"]
    assert first["speed"] == 1
    for row in others:
        assert row["speed"] == pytest.approx(first["total"] / row["total"])


def test_parameters_are_the_models(report, cfgs, make_model):
    for row in report["configs"]:
        model = make_model(cfgs[row["config"]])
        tensors = [getattr(m, name, None) for m in model.modules() for name in ("weight", "bias")]
        count = sum(t.numel() for t in tensors if t is not None)
        assert row["parameters"] * 1e6 == pytest.approx(count)


def test_all_detections_are_there(report):
    assert [row["detections"] for row in report["configs"]] == [5, 5, 5]


def test_memory_is_that_of_the_config_alone(report):
    memory = {row["config"]: row["MiB"] for row in report["configs"]}
    assert 100 < memory["quickstart"] < 4000
    parameters = {row["config"]: row["parameters"] for row in report["configs"]}
    weights = (parameters["detectron2"] - parameters["quickstart"]) * 4e6 / 2**20
    assert memory["detectron2"] - memory["quickstart"] > weights / 2


def test_flops_rise_with_the_model(report):
    flops = {row["config"]: row["GFLOPs"] for row in report["configs"]}
    assert 0 < flops["quickstart"] < flops["detectron2"] / 4
    # Three heads with 2 convolutions each in place of one with 6 residual ones and the relay's.
    assert flops["per_stage"] != flops["quickstart"]


def test_what_is_printed_is_what_is_written(report):
    assert report["table"] in report["printed"]
    for text in (
        "cpu (",
        "1 CPU threads",
        "TF32 in float32: no, not on a CPU",
        torch.__version__,
        "64 x 96 (height x width)",
        "optimized: no",
        "compiled: no",
        "precision: float32",
    ):
        assert text in report["table"]
    lines = [line for line in report["table"].splitlines() if line.startswith("| ")]
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for cells, row in zip(rows, report["configs"], strict=True):
        cells = dict(zip(header, cells, strict=True))
        assert cells.keys() == row.keys()
        for column in ("config", "channels last"):
            assert cells.pop(column) == row[column]
        for column, cell in cells.items():
            assert float(cell) == pytest.approx(row[column], abs=0.51 if column == "MiB" else 0.006)


def test_flops_count_a_multiply_add_as_two():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 5, 7)
    )
    by_hand = 2 * (3 * 3 * 3 * 8 * 6 * 5 + 8 * 6 * 5 * 7)
    for batch_size in (1, 4):
        assert models.count_flops(model, torch.rand(batch_size, 3, 6, 5)) == by_hand


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_convolutions_compute_in_the_precision_and_layout_of_the_table(
    cfgs, make_model, optimize, dtype
):
    asked = Namespace(
        **{"size": (64, 96), "batch_size": 1, "input": None, "device": "cpu"},
        **{"optimize": optimize, "compile": False, "dtype": str(dtype).removeprefix("torch.")},
    )
    model = models.optimize(make_model(cfgs["quickstart"]).eval(), asked)
    seen = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output: seen.append(output.dtype))
    parts.run_once(model, models.make_batch("BGR", asked))
    assert set(seen) == {dtype}
    assert models.channels_last(model) == ("yes" if optimize else "no")
    stem = model.backbone.bottom_up.stem.conv1  # one layer of all
    stem.weight.data = stem.weight.contiguous()
    assert models.channels_last(model) == "no"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_on_a_gpu_memory_is_counted_in_this_process(cfgs, make_model, monkeypatch, dtype):
    """One model after the other, from when the one before it is gone."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    asked = Settings(
        ["quickstart.yaml", "scnet_R_50_FPN_20e_coco.yaml"], size=(64, 96), dtype=dtype
    )
    assert asked.device == "cuda"
    alive, counted = weakref.WeakSet(), []

    def make(file, weights, settings):
        counted.append(len(alive))
        model = to_gpu(make_model(cfgs["quickstart"]).eval())
        alive.add(model)
        return model

    monkeypatch.setattr(measure, "make_model", make)
    monkeypatch.setattr(parts, "clock", lambda device: 0.0)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", lambda: counted.append("reset"))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda: len(counted) * 2**20)
    with pretend_gpu() as gpu:
        assert measure.measure_memory(asked) == [2, 4]
    assert counted == ["reset", 0, "reset", 0]
    assert bool(gpu.casts) == (dtype == "float16")


@pytest.mark.parametrize("allowed, word", [(True, "yes"), (False, "no")])
def test_matrix_products_use_tf32_where_convolutions_do(allowed, word):
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    try:
        products.allow_tf32 = not allowed
        with torch.backends.cudnn.flags(allow_tf32=allowed):
            in_force = set_tf32_alike()
        assert products.allow_tf32 == allowed
    finally:
        products.allow_tf32 = before
    assert in_force.startswith(f"convolutions {word}, matrix products {word}")


@pytest.fixture
def ticks(monkeypatch):
    """A clock that goes on by a second whenever it is read."""
    seconds = count()
    monkeypatch.setattr(parts, "clock", lambda device: float(next(seconds)))


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("name", ["quickstart", "per_stage", "detectron2"])
def test_each_part_is_timed_once(cfgs, make_model, ticks, batch_size, name):
    batch = models.make_batch("BGR", Namespace(size=(64, 96), batch_size=batch_size, input=None))
    result = parts.run_once(make_model(cfgs[name]).eval(), batch)
    assert result.pop("detections") == 5  # per image, like the seconds
    seconds = dict.fromkeys(PARTS, 1)  # one between two readings of the clock
    if name == "detectron2":
        seconds["context"] = 0
    seconds["total"] = sum(seconds.values()) + 1  # before the backbone the image is normalized
    assert result == {part: s / batch_size for part, s in seconds.items()}


def test_the_model_is_left_as_it_was(tiny_cfg, make_model):
    def predict():
        with torch.no_grad():
            return model(batch)[0]["instances"]

    def hooks():
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]

    model = make_model(tiny_cfg).eval()
    batch = models.make_batch("BGR", Namespace(size=(64, 96), batch_size=1, input=None))
    hooks_before, before = hooks(), predict()
    parts.run_once(model, batch)
    after = predict()
    assert torch.equal(before.pred_boxes.tensor, after.pred_boxes.tensor)
    assert torch.equal(before.scores, after.scores)
    assert torch.equal(before.pred_masks, after.pred_masks)
    with pytest.raises(KeyError):  # also when it fails
        parts.run_once(model, [{"height": 64, "width": 96}])
    assert hooks() == hooks_before


@pytest.mark.parametrize("optimize", [False, True])
def test_of_a_compiled_model_the_total_is_timed(cfgs, make_model, monkeypatch, ticks, optimize):
    """Its graphs have no place for hooks."""
    regions = {"regions": lambda model: {"backbone": model.backbone.bottom_up.stem}}
    for name, value in {"BACKEND": "eager", **regions}.items():  # for seconds, not minutes
        monkeypatch.setattr(compiled_regions, name, value)
    asked = Namespace(
        **{"size": (64, 96), "batch_size": 1, "input": None, "device": "cpu"},
        **{"optimize": optimize, "compile": True, "dtype": "float32"},
    )
    model = models.optimize(make_model(cfgs["quickstart"]).eval(), asked)
    result = parts.run_once(model, models.make_batch("BGR", asked))
    assert compiled_regions.is_compiled(model)
    assert result["total"] == 1  # one between two readings of the clock
    assert all(np.isnan(result[part]) for part in PARTS)


def test_the_parts_are_what_they_are_called(tiny_cfg, make_model, monkeypatch):
    """A module that takes a second longer makes its part longer by a second, and no other."""
    now = [0.0]
    monkeypatch.setattr(parts, "clock", lambda device: now[0])
    model = make_model(tiny_cfg).eval()
    batch = models.make_batch("BGR", Namespace(size=(64, 96), batch_size=1, input=None))
    heads = model.roi_heads
    modules = {
        "backbone": model.backbone.bottom_up,
        "context": model.global_context_head.classifier,
        "RPN": model.proposal_generator.rpn_head,
        "boxes": heads.box_predictor[-1],
        "masks": heads.mask_branch.relays[0],
    }

    def slow(*_):
        now[0] += 1

    for part, module in modules.items():
        with module.register_forward_hook(slow):
            seconds = parts.run_once(model, batch)
        assert {p for p in PARTS if seconds[p]} == {part}
        assert seconds[part] == seconds["total"] == 1


def test_medians_of_the_rounds():
    rounds = [
        {"detections": 5, "total": total, **dict.fromkeys(PARTS, part)}
        for total, part in [(10, 1), (90, 2), (20, 1)]
    ]
    row = measure.summarize(rounds)
    assert (row["total"], row["min"], row["max"], row["masks"]) == (20, 10, 90, 1)


def test_images_are_the_same_for_all_models(tmp_path):
    args = Settings(["quickstart.yaml"], size=(64, 96), batch_size=2)
    bgr, rgb = models.make_batch("BGR", args), models.make_batch("RGB", args)
    assert not torch.equal(bgr[0]["image"], bgr[1]["image"])
    for a, b in zip(bgr, rgb):
        assert torch.equal(a["image"], b["image"].flip(0))
        assert a["image"].shape == (3, 64, 96) == (3, a["height"], a["width"])
        assert a["image"].std() > 10 and 0 <= a["image"].min() <= a["image"].max() <= 255

    picture = np.zeros((128, 192, 3), np.uint8)
    picture[64:, :, 0] = 200  # the lower half is blue
    cv2.imwrite(str(tmp_path / "image.png"), picture)
    args.input = str(tmp_path / "image.png")
    for image in (x["image"] for x in models.make_batch("BGR", args)):
        assert image.shape == (3, 64, 96)
        assert (image[0, 40:] > 199).all() and (image[0, :24] < 1).all() and (image[1:] == 0).all()


def test_weights_are_loaded(run_here, tiny_cfg, make_model, tmp_path):
    model = make_model(tiny_cfg)
    for predictor in model.roi_heads.box_predictor:
        predictor.cls_score.bias.data[-1] = 100  # all is background
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    args = ["--config-file", CONFIG, "--weights", tmp_path / "model.pth", "--rounds", 1]
    more = ["--warmup", 0, "--device", "cpu", "--output", tmp_path, "--size", 64, 96]
    run_here(SCRIPT, *args, *more, "--opts", *TINY)
    assert json.loads((tmp_path / "benchmark.json").read_text())["configs"][0]["detections"] == 0


@pytest.mark.parametrize(
    "args, message",
    [
        (["--config-file", "nowhere.yaml"], "'nowhere.yaml' does not exist.*nearest are"),
        (["--config-file", CONFIG, "quickstart.yaml"], "Two configs would be 'quickstart'"),
        (["--config-file", CONFIG, "--weights", "a", "b"], "2 files for 1 configs. Give one"),
        (["--config-file", CONFIG, "--weights", "nowhere.pth"], "'nowhere.pth' do not exist"),
        (["--config-file", CONFIG, "--opts", "MODEL.WEIGHTS", "a.pth"], "argument of its own"),
        (["--config-file", CONFIG, "--output", "{folder}/benchmark.md"], "is no folder"),
        (["--config-file", CONFIG, "--size", "0", "96"], "--size .* must be 1 or more"),
        (["--config-file", CONFIG, "--rounds", "0"], "must be 1 or more"),
        (
            ["--config-file", CONFIG, "--device", "cpu", "--opts", "MODEL.DEVICE", "cuda"],
            "MODEL.DEVICE cuda, but --device is cpu",
        ),
        (["--config-file", CONFIG, "--input", "nowhere.png"], "nowhere.png"),
        (["--config-file", CONFIG, "--input", CONFIG], "quickstart.yaml"),
        (["--config-file", CONFIG, "--output", "{folder}"], "benchmark.md already. Choose another"),
    ],
)
def test_mistakes_end_with_one_line(args, message, monkeypatch, tmp_path):
    (tmp_path / "benchmark.md").write_text("mine")
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", [SCRIPT, *(a.format(folder=tmp_path) for a in args)])
    with pytest.raises(SystemExit, match="^benchmark.py: .*" + message) as error:
        runpy.run_path(SCRIPT, run_name="__main__")
    assert "\n" not in str(error.value)
    assert (tmp_path / "benchmark.md").read_text() == "mine"
