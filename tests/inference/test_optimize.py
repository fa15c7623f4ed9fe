"""The optimized copy of a model predicts the same."""

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch.nn.modules.batchnorm import _BatchNorm

from helpers import detect, set_mask_branch
from scnet import optimize_for_inference
from scnet.engine import load_for_evaluation
from scnet.inference import winograd
from scnet.inference.winograd import WinogradConv2d

BRANCHES = ["sample_consistency", "naive_sample_consistency", "per_stage", "interleaved"]


@pytest.fixture
def everything_winograd(monkeypatch):
    """Tiny models have few channels."""
    monkeypatch.setattr(winograd, "MIN_CHANNELS", 1)


def random_norms(model):
    """Statistics, gamma and beta that folding must not get wrong."""
    for module in model.modules():
        if isinstance(module, (_BatchNorm, FrozenBatchNorm2d)):
            for x in (module.running_mean, module.bias.data):
                x.uniform_(-0.2, 0.2)
            for x in (module.running_var, module.weight.data):
                x.uniform_(0.7, 1.3)


def assert_same(results, expected):
    for ours, theirs in zip(results, expected, strict=True):
        size = max(theirs.image_size)
        assert len(theirs) == 5
        torch.testing.assert_close(ours.pred_classes, theirs.pred_classes)
        boxes = (ours.pred_boxes.tensor / size, theirs.pred_boxes.tensor / size)
        torch.testing.assert_close(*boxes, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-4, rtol=0)
        differing = (ours.pred_masks != theirs.pred_masks).float().mean()
        assert differing <= 1e-3


@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_same_detections(tiny_cfg, make_model, make_batch, branch, norm, everything_winograd):
    tiny_cfg.MODEL.RESNETS.NORM = norm
    set_mask_branch(tiny_cfg, branch)
    model = make_model(tiny_cfg)
    random_norms(model)
    batch = make_batch(tiny_cfg, [[0], [1]])
    expected = detect(model, batch)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    optimized = optimize_for_inference(model)
    assert any(isinstance(m, WinogradConv2d) for m in optimized.backbone.modules())
    assert_same(detect(optimized, batch), expected)
    after = model.state_dict()  # the model itself is as it was
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(isinstance(m, WinogradConv2d) for m in model.modules())


def test_what_only_trains_is_dropped(tiny_cfg, make_model, everything_winograd):
    model = make_model(tiny_cfg)
    optimized = optimize_for_inference(model.train())
    assert not any(module.training for module in optimized.modules())
    assert not any(isinstance(m, (_BatchNorm, FrozenBatchNorm2d)) for m in optimized.modules())
    dropped = {name for name, _ in model.named_parameters()} - optimized.state_dict().keys()
    unused = ("semantic_head.predictor.", "global_context_head.classifier.")
    assert {name for name in dropped if ".norm." not in name} == {
        prefix + name for prefix in unused for name in ("weight", "bias")
    }
    assert not any(p.requires_grad for p in optimized.parameters())


def test_outputs_that_are_asked_for_stay(tiny_cfg, make_model, make_batch, everything_winograd):
    tiny_cfg.MODEL.SCNET.SEMANTIC.OUTPUT = True
    tiny_cfg.MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT = True
    model = make_model(tiny_cfg).eval()
    batch = make_batch(tiny_cfg, [[0], [1]])
    with torch.no_grad():
        expected, outputs = model(batch), optimize_for_inference(model)(batch)
    for ours, theirs in zip(outputs, expected, strict=True):
        for name in ("sem_seg", "image_scores"):
            torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-4)


def test_twice_is_once(tiny_cfg, make_model, make_batch, everything_winograd):
    model = make_model(tiny_cfg)
    batch = make_batch(tiny_cfg, [[0], [1]])
    twice = optimize_for_inference(optimize_for_inference(model))
    assert_same(detect(twice, batch), detect(model, batch))


def test_train_net_evaluates_an_optimized_model(tiny_cfg, make_model, tmp_path):
    tiny_cfg.OUTPUT_DIR = str(tmp_path)
    tiny_cfg.DATASETS.TEST = ()
    tiny_cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    torch.save({"model": make_model(tiny_cfg).state_dict()}, tiny_cfg.MODEL.WEIGHTS)
    for value, dtype in {"": torch.float32, "bfloat16": torch.bfloat16}.items():
        tiny_cfg.MODEL.SCNET.OPTIMIZE_FOR_INFERENCE = value
        model = load_for_evaluation(tiny_cfg)
        assert model.autocast_dtype == dtype
        assert any(isinstance(m, _BatchNorm) for m in model.modules()) == (not value)
    for wrong in ("int8", "fast"):
        tiny_cfg.MODEL.SCNET.OPTIMIZE_FOR_INFERENCE = wrong
        with pytest.raises(ValueError, match=f"is '{wrong}'. It must be"):
            load_for_evaluation(tiny_cfg)


def test_detectron2s_own_model(tiny_cfg, make_model, make_batch, everything_winograd):
    tiny_cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    tiny_cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    model = make_model(tiny_cfg)
    batch = make_batch(tiny_cfg, [[0], [1]])
    assert_same(detect(optimize_for_inference(model), batch), detect(model, batch))


def test_bfloat16_finds_about_the_same(tiny_cfg, make_model, make_batch):
    model = make_model(tiny_cfg)
    batch = make_batch(tiny_cfg, [[0], [1]])
    optimized = optimize_for_inference(model, torch.bfloat16)
    seen = []
    optimized.backbone.register_forward_hook(lambda m, args, out: seen.append(out["p2"].dtype))
    results = detect(optimized, batch)
    assert seen == [torch.bfloat16]
    for ours, theirs in zip(results, detect(model, batch), strict=True):
        assert ours.pred_boxes.tensor.dtype == ours.scores.dtype == torch.float32
        assert len(ours) == len(theirs)
        assert abs(ours.scores.max() - theirs.scores.max()) < 0.02


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_are_cast_once_as_autocast_would_cast_them(tiny_cfg, make_model, make_batch, dtype):
    tiny_cfg.MODEL.ROI_MASK_HEAD.NORM = "GN"  # autocast leaves it in float32
    tiny_cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 32
    model = make_model(tiny_cfg)
    batch = make_batch(tiny_cfg, [[0], [1]])
    optimized = optimize_for_inference(model, dtype)
    for name, parameter in optimized.named_parameters():
        assert parameter.dtype == (torch.float32 if ".norm." in name else dtype), name
    cast_for_every_image = optimize_for_inference(model)
    cast_for_every_image.autocast_dtype = dtype
    for ours, theirs in zip(detect(optimized, batch), detect(cast_for_every_image, batch)):
        assert len(ours) == len(theirs) > 0
        assert torch.equal(ours.pred_boxes.tensor, theirs.pred_boxes.tensor)
        assert torch.equal(ours.scores, theirs.scores)
        assert torch.equal(ours.pred_masks, theirs.pred_masks)


def test_low_precision_is_for_good(tiny_cfg, make_model):
    optimized = optimize_for_inference(make_model(tiny_cfg), torch.bfloat16)
    assert optimize_for_inference(optimized, torch.bfloat16).autocast_dtype == torch.bfloat16
    for other in (torch.float32, torch.float16):
        with pytest.raises(ValueError, match="is optimized for torch.bfloat16 already"):
            optimize_for_inference(optimized, other)
