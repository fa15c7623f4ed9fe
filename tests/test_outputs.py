"""What the whole image gives beside the instances."""

import numpy as np
import pytest
import torch
from detectron2.data.catalog import Metadata
from detectron2.utils.visualizer import Visualizer


def with_outputs(cfg, source="instances"):
    cfg.MODEL.SCNET.SEMANTIC.SOURCE = source
    cfg.MODEL.SCNET.SEMANTIC.OUTPUT = True
    cfg.MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT = True
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.0
    cfg.MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT = 1
    return cfg


def test_outputs_of_the_whole_image(tiny_cfg, make_model, make_batch):
    """At the size that is asked for; each image alone gives what it gives in a batch."""
    model = make_model(with_outputs(tiny_cfg)).eval()
    batch = make_batch(tiny_cfg, [[0], [1]], sizes=((64, 96), (64, 96)))
    for x in batch:
        x["height"], x["width"] = 100, 150
    with torch.no_grad():
        outputs = model(batch)
        alone = model(batch[1:])[0]
    for output in outputs:
        assert output["sem_seg"].shape == (9, 100, 150)
        assert output["image_scores"].shape == (5,)
        assert ((output["image_scores"] > 0) & (output["image_scores"] < 1)).all()
        assert "panoptic_seg" not in output  # there are no stuff classes
    torch.testing.assert_close(outputs[1]["sem_seg"], alone["sem_seg"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outputs[1]["image_scores"], alone["image_scores"])
    assert not torch.allclose(outputs[0]["image_scores"], outputs[1]["image_scores"])


def test_semantic_output_lies_over_the_image(tiny_cfg, make_model, make_batch):
    """It is the head's logits at multiples of the stride, without the padding of the batch."""
    model = make_model(with_outputs(tiny_cfg)).eval()
    batch = make_batch(tiny_cfg, [[0]], sizes=((50, 70),))
    with torch.no_grad():
        images = model.preprocess_image(batch)
        logits, _ = model.semantic_head(model.backbone(images.tensor))
        sem_seg = model(batch)[0]["sem_seg"]
    assert images.tensor.shape[-2:] == (64, 96)
    assert sem_seg.shape == (9, 50, 70)
    torch.testing.assert_close(sem_seg[:, ::8, ::8], logits[0, :, :7, :9])


def test_panoptic_output(tiny_cfg, make_model, make_batch):
    model = make_model(with_outputs(tiny_cfg, "panoptic")).eval()
    batch = make_batch(tiny_cfg, [[0]])
    with torch.no_grad():
        outputs = model(batch)
    for output, x in zip(outputs, batch):
        ids, segments = output["panoptic_seg"]
        assert ids.shape == (x["height"], x["width"])
        assert {s["id"] for s in segments} >= set(ids.unique().tolist()) - {0}
        assert all((s["category_id"] < 5) == s["isthing"] for s in segments)
        names = [str(k) for k in range(9)]
        metadata = Metadata(thing_classes=names[:5], stuff_classes=names)
        picture = np.zeros((*ids.shape, 3), np.uint8)
        drawn = Visualizer(picture, metadata).draw_panoptic_seg(ids, segments).get_image()
        assert drawn.any()
        drawn = Visualizer(picture, metadata).draw_sem_seg(output["sem_seg"].argmax(0)).get_image()
        assert drawn.any()


def test_nothing_is_added_unasked(tiny_cfg, make_model, make_batch):
    with torch.no_grad():
        (output,) = make_model(tiny_cfg).eval()(make_batch(tiny_cfg, [[0]]))
    assert set(output) == {"instances"}


def test_outputs_of_branches_that_are_off_are_refused(tiny_cfg, make_model):
    with_outputs(tiny_cfg, "none")
    with pytest.raises(ValueError, match="SEMANTIC.OUTPUT. is True, but .* is switched off"):
        make_model(tiny_cfg)
    with_outputs(tiny_cfg).MODEL.SCNET.GLOBAL_CONTEXT.ENABLED = False
    with pytest.raises(ValueError, match="GLOBAL_CONTEXT.OUTPUT. is True, but .* is switched off"):
        make_model(tiny_cfg)
