import pytest
import torch
from detectron2.modeling import GeneralizedRCNN

from detecting_models import MODELS
from helpers import detect
from narrow_backbones import BACKBONES, backbone_opts
from scnet.export import ExportedModel, compare
from scnet.export.files import quiet_tracing
from scnet.export.tracing import names_of_outputs, tracing_adapter

pytestmark = pytest.mark.slow


def export(model):
    """A trace of the model, without a file in between."""
    adapter, outputs = tracing_adapter(model), names_of_outputs(model)
    with quiet_tracing():
        traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)

    def run(image, names):
        with torch.no_grad():
            found = dict(zip(outputs, traced(image)))
        return [found[name] for name in names]

    return ExportedModel(run, {"outputs": outputs})


@pytest.mark.parametrize("name", MODELS)
def test_it_does_what_the_model_does(make_detector, make_image, name):
    model = make_detector(name)
    exported = export(model)
    outputs = names_of_outputs(model)
    for size in ((64, 80), (97, 70), (40, 150)):
        image = make_image(*size)
        (expected,) = detect(model, [{"image": image}])
        (found,) = exported([image])
        deviation = compare(expected, found)
        assert deviation.unmatched == 0 and deviation.detections == len(expected)
        assert deviation.box < 1e-3 and deviation.score < 1e-4 and deviation.mask < 0.005
        if name == "boxes":
            assert "masks" not in outputs and not found.has("pred_masks")
        else:  # the masks that a program without Detectron2 gets
            (masks,) = exported.run(image, ["masks"])
            assert masks.shape == expected.pred_masks.shape
            assert (masks != found.pred_masks).sum() <= 2


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_other_backbones(make_detector, make_image, name):
    """Transformers at one padded size; convolutions at any."""
    pytest.importorskip("timm", reason="needs timm, which is not installed")
    side = {"vit": 160, "convnext": 0}[name]
    model = make_detector(opts=backbone_opts(BACKBONES[name], BACKBONE__SQUARE_PAD=side))
    exported = export(model)
    for size in ((64, 80), (40, 150)):
        image = make_image(*size)
        (expected,) = detect(model, [{"image": image}])
        deviation = compare(expected, exported([image])[0])
        assert deviation.unmatched == 0 and deviation.detections == len(expected) > 0
        assert deviation.box < 1e-3 and deviation.score < 1e-4 and deviation.mask < 0.005


@pytest.mark.parametrize("name", ["swin", "vit", "mvit"])
def test_transformers_for_images_of_any_size_are_refused(make_detector, name):
    pytest.importorskip("timm", reason="needs timm, which is not installed")
    for side in (0, 224) if name == "swin" else (0,):
        model = make_detector(opts=backbone_opts(BACKBONES[name], BACKBONE__SQUARE_PAD=side))
        with pytest.raises(ValueError, match="number an export cannot vary. Set MODEL.BACKBONE.SQ"):
            tracing_adapter(model)


def test_results_can_be_at_the_size_of_the_original(make_detector, make_image):
    model, image = make_detector(), make_image(64, 80)
    (expected,) = detect(model, [{"image": image, "height": 150, "width": 200}])
    (found,) = export(model)([image], [(150, 200)])
    assert found.image_size == (150, 200) and found.pred_masks.shape[1:] == (150, 200)
    deviation = compare(expected, found)
    assert deviation.unmatched == 0 and deviation.mask < 0.005


@pytest.mark.parametrize("key, value", [("PRE_NMS_TOPK_TEST", "2"), ("POST_NMS_TOPK_TEST", "3")])
def test_proposals_are_limited_as_in_the_model(make_detector, make_image, key, value):
    model = make_detector(opts=[f"MODEL.RPN.{key}", value])
    image = make_image(64, 80)
    (expected,) = detect(model, [{"image": image}])
    (found,) = export(model)([image])
    assert compare(expected, found).unmatched == 0


def test_detections_are_limited_as_in_the_model(make_detector, make_image):
    """By their number, and by a threshold between the scores."""
    model = make_detector(opts=["TEST.DETECTIONS_PER_IMAGE", "3"])
    image = make_image(64, 80)
    (three,) = detect(model, [{"image": image}])
    assert len(three) == 3
    for limit, count in ((0.0, 3), (three.scores[2].item(), 2)):
        model.roi_heads.box_predictor[-1].test_score_thresh = limit
        (found,) = export(model)([image])
        assert len(found) == count
        assert compare(three[:count], found).unmatched == 0


def test_detections_without_area_are_left_out(make_detector, make_image):
    model = make_detector(opts=["TEST.DETECTIONS_PER_IMAGE", "12"])
    image = make_image(64, 80)
    model.roi_heads.box_predictor[-1].bbox_pred.bias.data[0] = 60  # out of the image, to the right
    (expected,) = detect(model, [{"image": image}])
    exported = export(model)
    boxes, masks = exported.run(image, ["boxes", "masks"])
    (found,) = exported([image])
    assert 0 < len(expected) < 12
    assert len(boxes) == len(masks) == len(expected)
    assert compare(expected, found).unmatched == 0


def test_what_cannot_be_exported_is_refused(make_detector, tiny_cfg):
    with pytest.raises(ValueError, match="TEST.DETECTIONS_PER_IMAGE"):
        tracing_adapter(make_detector(opts=["TEST.DETECTIONS_PER_IMAGE", "-1"]))
    with pytest.raises(ValueError, match="MODEL.META_ARCHITECTURE 'SCNet'"):
        tracing_adapter(GeneralizedRCNN(tiny_cfg))
