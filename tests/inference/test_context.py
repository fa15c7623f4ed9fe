"""What a model says about an image as a whole, in the predictor."""

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor

from scnet import Predictor
from scnet.inference.tiles import Tiles

OUTPUTS = ["MODEL.SCNET.SEMANTIC.OUTPUT", True, "MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT", True]


def test_the_context_is_that_of_detectron2s_predictor(weights, images, tiny_cfg):
    """Of an image that is not resized, but padded; and the objects are those without it."""
    tiny_cfg.merge_from_list([*OUTPUTS, "INPUT.MIN_SIZE_TEST", 50, "MODEL.WEIGHTS", weights])
    image = images[1]
    expected = DefaultPredictor(tiny_cfg)(image)
    predictor = Predictor(weights, tiny_cfg)
    instances, context = predictor.with_context(image)
    assert expected["sem_seg"].shape[1:] == image.shape[:2] == context.semantic_map.shape
    assert np.array_equal(context.semantic_map, expected["sem_seg"].argmax(0).numpy())
    assert len(np.unique(context.semantic_map)) > 1
    np.testing.assert_allclose(context.image_scores, expected["image_scores"].numpy(), atol=1e-6)
    alone = predictor(image)
    assert torch.equal(instances.scores, alone.scores) and len(alone)
    assert torch.equal(instances.pred_masks, alone.pred_masks)
    assert len(predictor.backend.semantic_names) == tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES


@pytest.mark.parametrize("opts", [[], [*OUTPUTS, "TEST.AUG.ENABLED", True]])
def test_what_a_model_does_not_say_is_none(weights, images, tiny_cfg, opts):
    """Without the outputs the optimized copy has no layers for them, and gives no nonsense."""
    tiny_cfg.merge_from_list([*opts, "MODEL.SCNET.OPTIMIZE_FOR_INFERENCE", "float32"])
    tiny_cfg.TEST.AUG.MIN_SIZES = (64,)
    predictor = Predictor(weights, tiny_cfg)
    instances, context = predictor.with_context(images[0])
    assert len(instances) == len(predictor(images[0])) > 0
    assert context == (None, None)
    assert predictor.backend.semantic_names == [] and not predictor.backend.has_image_scores


def test_a_backend_that_knows_no_context(weights, images):
    predictor = Predictor(weights, threshold=0.1)
    backend = predictor.backend
    predictor.backend = lambda images: backend(images)
    assert predictor.with_context(images[0])[1] == (None, None)


def test_tiles_have_no_context(weights, images):
    predictor = Predictor(weights, masks="rle", tiles=Tiles(64))
    with pytest.raises(ValueError, match="no context of the whole image"):
        predictor.with_context(images[0])
