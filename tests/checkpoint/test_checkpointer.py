"""What is loaded, what is not, and whose names the classes get."""

import logging

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer

from helpers import set_mask_branch
from scnet.checkpoint import SCNetCheckpointer, load_model
from scnet.checkpoint.fit import group
from scnet.modeling import class_metadata


@pytest.fixture
def model(tiny_cfg, make_model):
    """With five classes and their names."""
    model = make_model(tiny_cfg)
    model.metadata = class_metadata.make_metadata(
        {"thing_classes": ["a", "b", "ç", "d", "e"], "stuff_classes": ["a", "sky"]}
    )
    return model


@pytest.fixture
def weights(model, tmp_path):
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    return str(tmp_path / "model.pth")


@pytest.fixture
def other_model(tiny_cfg, make_model):
    """Of the same architecture, with three classes."""
    tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    return make_model(tiny_cfg)


def test_names_travel_with_the_weights(weights, tiny_cfg, make_model):
    model = make_model(tiny_cfg).eval()
    assert class_metadata.KEY not in model.state_dict()
    DetectionCheckpointer(model).load(weights)
    assert model.metadata.thing_classes == ["a", "b", "ç", "d", "e"]
    assert model.metadata.stuff_classes == ["a", "sky"]
    again = make_model(tiny_cfg)
    assert not again.load_state_dict(model.state_dict(), strict=True).unexpected_keys
    assert again.metadata.thing_classes == model.metadata.thing_classes


def test_they_travel_from_a_distributed_model(model, tiny_cfg, make_model):
    state = {f"module.{k}": v for k, v in model.state_dict().items()}
    other = make_model(tiny_cfg)
    DetectionCheckpointer(other)._load_model({"model": state})
    assert other.metadata.thing_classes == model.metadata.thing_classes


@pytest.mark.parametrize("checkpointer", [DetectionCheckpointer, SCNetCheckpointer])
def test_predicting_with_another_number_of_classes_names_both(weights, other_model, checkpointer):
    with pytest.raises(ValueError, match=r"for 5 classes \(a, b, ç, d, e\).*NUM_CLASSES 3"):
        checkpointer(other_model.eval()).load(weights)


def test_also_for_weights_without_names(model, other_model, tmp_path):
    model.metadata = class_metadata.make_metadata({})
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="cls_score.weight.*NUM_CLASSES"):
        SCNetCheckpointer(other_model.eval()).load(str(tmp_path / "model.pth"))


def test_predicting_with_another_model_is_refused(weights, tiny_cfg, make_model):
    set_mask_branch(tiny_cfg, "per_stage")
    with pytest.raises(ValueError, match="lack .* parameters .*mask_branch.heads.1"):
        SCNetCheckpointer(make_model(tiny_cfg).eval()).load(weights)


@pytest.mark.parametrize(
    "key, value, surplus",
    [
        ("MODEL.SCNET.FEATURE_RELAY", False, r"relays\.\*"),
        ("MODEL.SCNET.SEMANTIC.SOURCE", "none", r"semantic_head\.\*"),
        ("MODEL.SCNET.GLOBAL_CONTEXT.ENABLED", False, r"global_context_head\.\*"),
        ("MODEL.RESNETS.DEPTH", 50, r"res4\.6\.\*"),
    ],
)
def test_predicting_with_a_part_of_a_model_is_refused(
    tiny_cfg, make_model, tmp_path, key, value, surplus
):
    if key == "MODEL.RESNETS.DEPTH":
        tiny_cfg.MODEL.RESNETS.DEPTH = 101
    torch.save({"model": make_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    path = tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    tiny_cfg.merge_from_list([key, value])
    match = f"model.pth' has .* no place for: .*{surplus}.*MODEL.ALLOW_SURPLUS_WEIGHTS True"
    with pytest.raises(ValueError, match=match):
        load_model(tiny_cfg)
    tiny_cfg.MODEL.ALLOW_SURPLUS_WEIGHTS = True
    load_model(tiny_cfg)
    tiny_cfg.MODEL.ALLOW_SURPLUS_WEIGHTS = False
    SCNetCheckpointer(make_model(tiny_cfg)).load(path)  # to train it


def test_what_is_no_parameter_is_no_surplus(model, tiny_cfg, make_model, tmp_path):
    more = {
        "pixel_mean": model.pixel_mean,
        "proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4),
        "backbone.fpn_lateral2.norm.num_batches_tracked": torch.tensor(3),
    }
    torch.save({"model": {**model.state_dict(), **more}}, tmp_path / "model.pth")
    SCNetCheckpointer(make_model(tiny_cfg).eval()).load(str(tmp_path / "model.pth"))


def test_what_pytorch_loads_in_part_is_up_to_the_caller(model, tiny_cfg, make_model):
    part = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
    result = make_model(tiny_cfg).eval().load_state_dict(part, strict=False)
    assert any(key.startswith("roi_heads.") for key in result.missing_keys)


@pytest.mark.parametrize("output", [False, True])
def test_the_semantic_classifier_is_needed_for_its_output_only(
    weights, tiny_cfg, make_model, output
):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
    tiny_cfg.MODEL.SCNET.SEMANTIC.OUTPUT = output
    model = make_model(tiny_cfg).eval()
    if output:
        with pytest.raises(ValueError, match="semantic_head.predictor.weight"):
            SCNetCheckpointer(model).load(weights)
    else:
        SCNetCheckpointer(model).load(weights)


def test_training_on_other_classes_starts_from_all_that_fits(weights, model, other_model, caplog):
    before = {k: v.clone() for k, v in other_model.state_dict().items()}
    with caplog.at_level(logging.INFO):
        SCNetCheckpointer(other_model).load(weights)
    theirs, after = model.state_dict(), other_model.state_dict()
    class_metadata_key = theirs.pop(class_metadata.KEY)
    assert len(class_metadata_key) and not other_model.metadata.get("thing_classes")
    misshapen = {k for k in after if after[k].shape != theirs[k].shape}
    assert any("cls_score" in k for k in misshapen)
    assert any("mask_branch" in k for k in misshapen)
    for key, value in after.items():
        assert torch.equal(value, before[key] if key in misshapen else theirs[key]), key

    (report,) = [r.message for r in caplog.records if "left at its initial value" in r.message]
    sizes = {name: x.numel() for name, x in other_model.named_parameters()}
    left = sum(sizes[name] for name in misshapen)
    assert f"{sum(sizes.values()) - left:,} of {sum(sizes.values()):,} parameters" in report
    assert all(key in report for key in misshapen)
    assert "(6, 32)" in report and "(4, 32)" in report
    text = "\n".join(r.message for r in caplog.records)
    assert text.count("box_predictor.0.cls_score.weight") == 1


def test_whole_modules_are_named_once(weights, tiny_cfg, make_model, caplog):
    tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE = "none"
    with caplog.at_level(logging.INFO):
        SCNetCheckpointer(make_model(tiny_cfg)).load(weights)
    assert "In the weights, but not in the model: semantic_head.*" in caplog.text


def test_missing_weights_are_named(model):
    with pytest.raises(FileNotFoundError, match="'nowhere/model.pth' do not exist"):
        SCNetCheckpointer(model).load("nowhere/model.pth")


def test_group():
    names = ["a.x.w", "a.x.b", "a.y.w", "b.w", "c"]
    assert group(["a.x.w", "a.x.b"], names) == ["a.x.*"]
    assert group(["a.x.w", "a.x.b", "a.y.w"], names) == ["a.*"]
    assert group(["a.x.w", "c"], names) == ["a.x.w", "c"]
