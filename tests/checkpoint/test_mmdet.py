"""Converting the reference's weights, on made-up weights; tests/parity has the reference's."""

import hashlib
import os
import pickle
import re
import sys

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from helpers import room_for
from scnet import convert_mmdet_state_dict, convert_to_mmdet_state_dict
from scnet.checkpoint import zoo
from scnet.checkpoint.mmdet import convert_mmdet_checkpoint, convert_to_mmdet_checkpoint
from scnet.checkpoint.mmdet_architecture import (
    BACKBONES,
    FAMILIES,
    Architecture,
    find_architecture,
)
from scnet.modeling import class_metadata
from scnet_tools import convert_mmdet_checkpoint as convert_tool

TOOL = "projects/SCNet/tools/convert_mmdet_checkpoint.py"


def shapes_of(config, things=80, semantic=183):
    """The reference's names and shapes, from our model; a meta tensor each."""
    cfg = Architecture(config, things, semantic).cfg()
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return convert_to_mmdet_state_dict(build_model(cfg).state_dict())


@pytest.fixture(scope="module")
def weights():
    """SCNet R-50 for two classes, in the reference's names."""
    torch.manual_seed(0)
    shapes = shapes_of("scnet_R_50_FPN_1x_coco.yaml", things=2, semantic=3)
    return {
        key: torch.zeros((), dtype=torch.int64) if not value.shape else torch.rand(value.shape)
        for key, value in shapes.items()
    }


def test_a_round_trip_is_the_identity(weights):
    back = convert_to_mmdet_state_dict(convert_mmdet_state_dict(weights))
    assert back.keys() == weights.keys()
    assert all(back[key] is weights[key] for key in weights)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("backbone", BACKBONES.values())
def test_every_architecture_is_recognised(family, backbone):
    config = f"{family}_{backbone}_FPN_20e_coco.yaml"
    theirs = shapes_of(config, things=7, semantic=11)
    ours = convert_mmdet_state_dict(theirs)
    assert len(ours) == len(theirs)
    assert find_architecture(theirs) == Architecture(config, things=7, semantic=11)
    cfg = find_architecture(theirs).cfg()
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 7 and cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 11
    back = convert_to_mmdet_state_dict(ours)
    assert back.keys() == theirs.keys()


@pytest.mark.parametrize("family", ["htc", "cascade_mask_rcnn_sem"])
def test_the_semantic_branch_may_be_absent(family):
    theirs = shapes_of(f"{family}_R_50_FPN_20e_coco.yaml", semantic=None)
    assert not any("semantic" in key for key in theirs)
    assert find_architecture(theirs).cfg().MODEL.SCNET.SEMANTIC.SOURCE == "none"
    assert len(convert_mmdet_state_dict(theirs)) == len(theirs)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="none of the mask heads of scnet, htc"):
        convert_mmdet_state_dict({"backbone.conv1.weight": torch.zeros(1)})


@pytest.mark.slow
def test_every_parameter_of_our_model_is_filled(weights):
    cfg = Architecture("scnet_R_50_FPN_1x_coco.yaml", 2, 3).cfg()
    cfg.MODEL.DEVICE = "cpu"
    build_model(cfg).load_state_dict(convert_mmdet_state_dict(weights), strict=True)


def test_old_files_without_batch_counters_are_complete(weights):
    old = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    assert len(old) < len(weights)
    assert len(convert_mmdet_state_dict(old)) == len(old)


def test_copies_of_the_moving_average_are_ignored(weights):
    more = {**weights, "ema_backbone_conv1_weight": torch.zeros(1)}
    assert convert_mmdet_state_dict(more).keys() == convert_mmdet_state_dict(weights).keys()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"roi_head.glbctx_head.fc.bias": None}, "'roi_head.glbctx_head.fc.bias'.*is missing"),
        ({"neck.bn.weight": torch.zeros(1)}, "'neck.bn.weight' is no parameter of scnet"),
        (
            {"roi_head.feat_relay_head.fc.bias": torch.zeros(7)},
            r"'roi_head.feat_relay_head.fc.bias'.*has shape \(7,\), not \(12544,\)",
        ),
        ({"backbone.layer3.6.conv1.weight": torch.zeros(1)}, "layer3.6.*has no place"),
        ({"roi_head.semantic_head.conv_logits.weight": None}, "conv_logits.weight' is missing"),
        ({"backbone.layer3.5.conv2.weight": None}, "5 blocks in its third stage and 1 groups"),
    ],
    ids=["missing", "unknown", "misshapen", "too deep", "no semantic head", "other backbone"],
)
def test_what_does_not_fit_is_named(weights, change, message):
    changed = {k: v for k, v in {**weights, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        convert_mmdet_state_dict(changed)


def test_all_problems_are_listed_at_once(weights):
    changed = {**weights, "foo.weight": torch.zeros(1)}
    del changed["rpn_head.rpn_cls.bias"], changed["roi_head.bbox_head.1.fc_reg.bias"]
    with pytest.raises(ValueError, match="3 problems") as error:
        convert_mmdet_state_dict(changed)
    for name in ("foo.weight", "rpn_head.rpn_cls.bias", "roi_head.bbox_head.1.fc_reg.bias"):
        assert name in str(error.value)


def test_parameters_without_counterpart_are_named():
    ours = {
        f"roi_heads.mask_branch.{name}.weight": None for name in ("heads.1.deconv", "relays.1.fc")
    }
    with pytest.raises(ValueError, match="cascade_mask_rcnn_sem.*'roi_heads.*relays.1.fc.weight'"):
        convert_to_mmdet_state_dict(ours)


@pytest.fixture
def convert(monkeypatch):
    """Call the tool in this process; returns what it ends with, or None."""

    def convert(*args):
        monkeypatch.setattr(sys, "argv", [TOOL, *map(str, args)])
        try:
            return convert_tool.main()
        except SystemExit as end:
            return end.code

    return convert


@pytest.mark.slow
def test_as_a_script(run_forked, weights, tmp_path):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save(weights, source)
    run_forked(TOOL, source, target)
    assert torch.load(target)["model"].keys() == convert_mmdet_state_dict(weights).keys()
    result = run_forked(TOOL, source, target, check=False)
    assert result.returncode == 1 and "exists already" in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.parametrize("layout", ["mmdet 2.x", "bare", "distributed"])
def test_tool_reads_the_layouts_and_goes_back(convert, weights, tmp_path, layout):
    source, target, back = (tmp_path / name for name in ("a.pth", "b.pth", "c.pth"))
    content = {
        "mmdet 2.x": {"meta": {"CLASSES": ("a", "b"), "epoch": 20}, "state_dict": weights},
        "bare": weights,
        "distributed": {"state_dict": {f"module.{k}": v for k, v in weights.items()}},
    }[layout]
    torch.save(content, source)
    assert convert(source, target) is None
    converted = torch.load(target)["model"]
    names = converted.pop(class_metadata.KEY, None)
    assert (names is not None) == (layout == "mmdet 2.x")
    assert converted.keys() == convert_mmdet_state_dict(weights).keys()
    assert convert("--reverse", target, back) is None
    again = torch.load(back)
    assert again["meta"] == ({} if names is None else {"CLASSES": ["a", "b"]})
    assert all(torch.equal(again["state_dict"][key], weights[key]) for key in weights)


class RunsCode:
    def __reduce__(self):
        return os.getenv, ("HOME",)


def test_tool_refuses_what_it_should(convert, weights, tmp_path):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"state_dict": weights, "meta": RunsCode()}, source)
    assert "--allow-pickle" in convert(source, target)
    assert not target.exists()
    assert convert(source, target, "--allow-pickle") is None
    assert "exists already" in convert(source, target, "--allow-pickle")
    with open(source, "wb") as f:
        pickle.dump([1], f)
    assert "a.pth'" in convert(source, tmp_path / "c.pth")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"PK damaged", "'.*a.pth' is truncated, damaged"),
        ([1], "'.*a.pth' holds no 'model' of tensors"),
        ({"state_dict": {"x": torch.zeros(1)}}, "'.*a.pth' holds no 'model'.*without --reverse"),
        ({"model": {}}, "holds no 'model'"),
        ({"model": {"x": 1}}, "holds no 'model'"),
        ({"model": {"x": torch.zeros(1)}}, "none of the mask heads"),
        ({"model": RunsCode()}, "holds more than tensors.*add --allow-pickle"),
    ],
)
def test_what_cannot_go_back_is_named(tmp_path, convert, content, message):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        torch.save(content, source)
    said = convert("--reverse", source, target)
    assert re.match(f"convert_mmdet_checkpoint.py: .*{message}", said)
    assert list(tmp_path.iterdir()) == [source]


def test_a_full_disk(weights, tmp_path, convert):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save(weights, source)
    with room_for(1000):
        said = convert(source, target)
    assert said == f"{os.path.basename(TOOL)}: Could not write '{target}': File too large."
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("value", [float("nan"), 4e34])
def test_values_that_weights_cannot_have(weights, tmp_path, value):
    """Converted in either direction."""
    name = "roi_head.bbox_head.1.fc_cls.bias"
    broken, path = {**weights, name: torch.tensor([0.0, value, 0.0])}, str(tmp_path / "a.pth")
    torch.save({"state_dict": broken}, path)
    with pytest.raises(ValueError, match=f"a.pth' has values .*'{name}' "):
        convert_mmdet_checkpoint(path)
    ours = "roi_heads.box_predictor.1.cls_score.bias"
    torch.save({"model": {ours: broken[name]}}, path)
    with pytest.raises(ValueError, match=f"a.pth' has values .*'{ours}' "):
        convert_to_mmdet_checkpoint(path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    return tmp_path / "scnet/scnet"


def put_official_file(cache, weights, monkeypatch):
    """The file of a name of the zoo, as if fetched by hand; its name carries its hash."""
    cache.mkdir(parents=True)
    torch.save({"state_dict": weights, "meta": {}}, cache / "file")
    digest = hashlib.sha256((cache / "file").read_bytes()).hexdigest()[:8]
    name = f"scnet_r50-{digest}.pth"
    (cache / "file").rename(cache / name)
    monkeypatch.setitem(zoo.FILES, "R_50_FPN_20e", f"scnet/{name}")
    return cache / name


@pytest.mark.slow
def test_zoo_weights_are_verified_converted_and_loaded(cache, weights, monkeypatch):
    official = put_official_file(cache, weights, monkeypatch)
    cfg = Architecture("scnet_R_50_FPN_1x_coco.yaml", 2, 3).cfg()
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    DetectionCheckpointer(model).load("scnet://R_50_FPN_20e")
    loaded = model.state_dict()
    for key, value in convert_mmdet_state_dict(weights).items():
        assert torch.equal(loaded[key], value)
    official.unlink()  # it was converted once and is kept
    assert PathManager.get_local_path("scnet://R_50_FPN_20e") == str(cache / "R_50_FPN_20e.pth")


@pytest.mark.slow
def test_a_damaged_zoo_file_is_refused(cache, weights, monkeypatch):
    official = put_official_file(cache, weights, monkeypatch)
    official.write_bytes(official.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{official.name}' is damaged"):
        PathManager.get_local_path("scnet://R_50_FPN_20e")
    assert official.exists() and not (cache / "R_50_FPN_20e.pth").exists()


def test_without_network_it_says_what_to_fetch_and_where_to_put_it(cache, monkeypatch):
    def no_network(path, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(zoo.PathManager, "get_local_path", no_network)
    handler = zoo.ZooHandler()
    with pytest.raises(OSError, match="scnet_r101_fpn_20e_coco-294e312c.pth") as error:
        handler._get_local_path("scnet://R_101_FPN_20e")
    assert zoo.URL in str(error.value) and str(cache) in str(error.value)


def test_unknown_zoo_names_list_the_known(cache):
    with pytest.raises(ValueError, match="'scnet://R_18'.*R_50_FPN_1x, R_50_FPN_20e"):
        PathManager.get_local_path("scnet://R_18")
