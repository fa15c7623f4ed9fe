"""Inference, tensor by tensor, against the reference implementation on the same weights."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from parity_tools import assert_close, image_tensor, match, note
from scnet import optimize_for_inference

pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=["scnet_r50", "htc_r50", "cascade_sem_r50", "scnet_r50-optimized"],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def reference(open_reference, name):
    return open_reference(f"{name.split('-')[0]}_infer")


@pytest.fixture(scope="module")
def model(reference, load_model, name):
    model = load_model(reference).eval()
    if name.endswith("-optimized"):
        model.semantic_output = model.image_scores_output = True  # they are compared, too
        model = optimize_for_inference(model)
    return model


@pytest.fixture(scope="module")
def batch(reference):
    batch = []
    for i in range(2):
        height, width = reference[f"ori_shape/{i}"].tolist()
        image = image_tensor(reference, f"image/{i}")
        batch.append({"image": image, "height": height, "width": width})
    return batch


@pytest.fixture(scope="module")
def direct(model, reference, batch):
    """The model's tensors on the reference's proposals."""
    with torch.no_grad():
        images = model.preprocess_image(batch)
        pyramid = model.backbone(images.tensor)
        features, _ = model.add_context(pyramid)
        proposals = []
        for i, size in enumerate(images.image_sizes):
            boxes = Boxes(torch.as_tensor(reference[f"proposals/{i}"]))
            proposals.append(Instances(size, proposal_boxes=boxes))
        stages = model.roi_heads.run_cascade(features, proposals)
        detections = model.roi_heads.box_inference(stages)
    return {
        "sizes": images.image_sizes,
        "pyramid": pyramid,
        "features": features,
        "stages": stages,
        "detections": detections,
    }


def rois_of(boxes):
    """(R, 5): image index and box."""
    rows = [torch.cat([torch.full((len(b), 1), float(i)), b], 1) for i, b in enumerate(boxes)]
    return torch.cat(rows).numpy()


def assert_detections(reference, prefix, results, name, score_tolerance, masks=True):
    for i, instances in enumerate(results):
        boxes, scores, labels = (
            reference[f"{prefix}/{i}/{key}"] for key in ("bboxes", "scores", "labels")
        )
        index, distance = match(instances, boxes, labels)
        assert sorted(index) == list(range(len(instances))), "not the same set of detections"
        note(f"{name}: boxes", distance.max(), "pixels")
        assert distance.max() <= 1e-2
        score = np.abs(instances.scores.numpy()[index] - scores).max()
        note(f"{name}: scores", score, "absolute")
        assert score <= score_tolerance
        if masks:
            expected = reference.masks(f"{prefix}/{i}/masks")
            wrong = (instances.pred_masks.numpy()[index] != expected).mean(axis=(1, 2)).max()
            note(f"{name}: masks", wrong, "of the pixels of a mask")
            assert wrong <= 5e-4


def test_feature_pyramid(direct, reference):
    for level in range(5):
        x = direct["pyramid"][f"p{level + 2}"]
        assert list(x.shape) == reference[f"fpn/{level}/shape"].tolist()
        assert_close(
            "feature pyramid", x[:, ::32, ::4, ::4], reference[f"fpn/{level}/sample"], 1e-4
        )


def test_semantic_head(direct, model, reference):
    with torch.no_grad():
        logits, embedding = model.semantic_head(direct["pyramid"])
    for name, x in {"semantic_pred": logits, "semantic_feat": embedding}.items():
        assert_close("semantic head", x[:, ::16, ::4, ::4], reference[f"{name}/sample"], 1e-4)


def test_global_context(direct, model, reference):
    if "glbctx_pred" not in reference:
        assert model.global_context_head is None
        return
    with torch.no_grad():
        logits, context = model.global_context_head(direct["pyramid"])
    assert_close("global context", logits, reference["glbctx_pred"], 1e-4)
    assert_close("global context", context, reference["glbctx_feat"], 1e-4)


@pytest.mark.parametrize("k", range(3))
def test_box_stage(direct, reference, k):
    stage = direct["stages"][k]
    rois = rois_of([p.proposal_boxes.tensor for p in stage.proposals])
    expected = reference[f"direct/stage{k}/rois"]
    note("box stages: RoIs", np.abs(rois - expected).max(), "pixels")
    assert np.abs(rois - expected).max() <= 1e-2
    logits, deltas = stage.predictions
    assert_close("box stages: logits", logits, reference[f"direct/stage{k}/cls_logits"], 1e-4)
    assert_close("box stages: deltas", deltas, reference[f"direct/stage{k}/bbox_deltas"], 1e-4)


def test_relay_and_mask_heads_on_the_reference_boxes(direct, model, reference):
    """Of the first 20 regions of each image: regions do not depend on each other."""
    rois = torch.as_tensor(reference["direct/mask_call0/rois"])
    boxes = [Boxes(rois[rois[:, 0] == i, 1:][:20]) for i in range(2)]
    first = torch.cat([torch.nonzero(rois[:, 0] == i)[:20, 0] for i in range(2)]).numpy()
    labels = np.concatenate([reference[f"direct/results/{i}/labels"] for i in range(2)])[first]
    heads, branch = model.roi_heads, model.roi_heads.mask_branch
    with torch.no_grad():
        maps = [direct["features"][name] for name in heads.box_in_features]
        box_features = heads.run_box_head(maps, boxes, stage=2)
        relayed = dict.fromkeys(range(len(branch.heads)), box_features if branch.relays else None)
        per_head = branch(branch.pooler(maps, boxes), relayed)
    if branch.relays:
        count = len(reference["direct/relay_in/first8"])
        assert_close("relay", box_features[:count], reference["direct/relay_in/first8"], 1e-4)
    assert f"direct/mask_call0/head{len(per_head)}/logits_of_label" not in reference
    for h, logits in enumerate(per_head):
        expected = reference[f"direct/mask_call0/head{h}/logits_of_label"][first]
        ours = logits[torch.arange(len(labels)), torch.as_tensor(labels)]
        assert_close("mask logits", ours, expected, 1e-4)


def test_detections_of_the_reference_proposals(direct, model, reference, batch):
    with torch.no_grad():
        results = model.roi_heads.forward_with_given_boxes(direct["features"], direct["detections"])
        assert_detections(reference, "direct/results", results, "detections", 1e-4, masks=False)
        results = model._postprocess(results, batch, direct["sizes"])
    results = [x["instances"] for x in results]
    assert_detections(reference, "direct/results_rescaled", results, "detections", 1e-4)


def test_proposals(model, direct, reference, batch):
    """The same set; equal scores may come in another order."""
    with torch.no_grad():
        images = model.preprocess_image(batch)
        proposals, _ = model.proposal_generator(images, direct["features"], None)
    for i, ours in enumerate(proposals):
        boxes = ours.proposal_boxes.tensor.numpy()
        expected = reference[f"e2e/rpn_proposals/{i}"][:, :4]
        assert boxes.shape == expected.shape
        distance = np.abs(boxes[None] - expected[:, None]).max(axis=2)
        near = (distance.min(axis=1) <= 1e-2).mean()
        note("proposals: missing", 1 - near, "of 1000")
        assert near >= 0.998  # borderline cases of suppression and of the last places


def test_end_to_end(model, reference, batch, name):
    """Once also an image without another beside it, which is the same."""
    for images in (1, 2) if name.endswith("-optimized") else (2,):
        with torch.no_grad():
            results = [x["instances"] for x in model(batch[:images])]
        assert len(results) == images
        assert_detections(reference, "e2e/results_rescaled", results, "end to end", 5e-4)
