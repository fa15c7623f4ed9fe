"""Losses, samples and gradients against the reference implementation on the same weights."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from parity_tools import assert_close, image_tensor, note
from scnet.checkpoint.mmdet import convert_mmdet_state_dict

pytestmark = pytest.mark.slow
CASES = ["main", "one_empty", "all_empty"]
LOSSES = {
    "loss_sem_seg": "loss_semantic_seg",
    "loss_global_context": "loss_glbctx",
    "loss_mask": "loss_mask",
    **{f"loss_mask_stage{k}": f"s{k}.loss_mask" for k in range(3)},
    **{f"loss_cls_stage{k}": f"s{k}.loss_cls" for k in range(3)},
    **{f"loss_box_reg_stage{k}": f"s{k}.loss_bbox" for k in range(3)},
}


# Of the session, so that all cases of a model come before the next model.
@pytest.fixture(scope="session", params=["scnet_r50", "htc_r50", "cascade_sem_r50"])
def reference(open_reference, request):
    return open_reference(f"{request.param}_train")


@pytest.fixture(scope="session")
def model(reference, load_model):
    return load_model(reference).train()


def assert_same_set(ours, expected, tolerance=1e-2):
    """The same rows in any order, as often as they occur; returns the largest deviation."""
    assert ours.shape == expected.shape
    if not len(ours):
        return 0.0

    def distances(rows):
        return np.abs(rows[None] - expected[:, None]).max(axis=2)

    occurs = (distances(ours) <= tolerance).sum(axis=1)
    assert (occurs == (distances(expected) <= tolerance).sum(axis=1)).all()
    return distances(ours).min(axis=1).max()


@pytest.fixture(scope="module", params=CASES)
def step(request, model, reference):
    """A forward pass on the inputs of a case: its losses and stages."""
    case = request.param
    batch = [{"image": image_tensor(reference, f"{case}/image/{i}")} for i in range(2)]
    images = model.preprocess_image(batch)
    targets, proposals = [], []
    for i, size in enumerate(images.image_sizes):
        target = Instances(size, gt_boxes=Boxes(torch.as_tensor(reference[f"{case}/gt_boxes/{i}"])))
        target.gt_classes = torch.as_tensor(reference[f"{case}/gt_labels/{i}"]).long()
        target.gt_masks = BitMasks(reference.masks(f"{case}/gt_masks", f"/{i}"))
        targets.append(target)
        boxes = Boxes(torch.as_tensor(reference[f"{case}/proposals/{i}"]))
        proposals.append(Instances(size, proposal_boxes=boxes))
    for i, x in enumerate(batch):
        x["sem_seg"] = torch.as_tensor(reference[f"{case}/gt_sem_seg/{i}"].astype("int64"))
    with torch.no_grad():  # the reference's gradients stop at the pyramid
        pyramid = model.backbone(images.tensor)
    # Elsewhere the reference recorded no gradients.
    with EventStorage(), torch.set_grad_enabled(case == "main"):
        features, logits = model.add_context(pyramid)
        losses = model._context_losses(logits, targets, batch)
        stages = model.roi_heads.run_cascade(features, proposals, targets)
        losses.update(model.roi_heads.box_losses(stages))
        samples = model.roi_heads.mask_samples(stages, targets)
        losses.update(model.roi_heads.mask_branch.losses(features, samples))
    return {
        "case": case,
        "losses": losses,
        "stages": stages,
        "mask_samples": [samples[t] for t in model.roi_heads.mask_branch.stages],
        "sem_seg": model.semantic_head.targets(batch, logits["semantic"]),
    }


def test_semantic_target(step, reference):
    """The reference resizes the map to an eighth, and pads it with the value to ignore."""
    expected = reference[f"{step['case']}/gt_sem_seg_down8"]
    ours = step["sem_seg"].numpy()
    assert (ours == expected.reshape(ours.shape)).all()


def test_losses(step, reference):
    prefix = f"{step['case']}/loss_weighted"
    recorded = {ours for ours, theirs in LOSSES.items() if f"{prefix}/{theirs}" in reference}
    assert set(step["losses"]) == recorded
    for name in recorded:
        expected = reference[f"{prefix}/{LOSSES[name]}"].reshape(())
        assert_close(f"losses: {name}", step["losses"][name], expected, 1e-4)


def test_samples(step, reference):
    """The same RoIs with the same labels at every stage, in any order."""
    for k, stage in enumerate(step["stages"]):
        rows = [
            torch.cat(
                [
                    torch.full((len(p), 1), float(i)),
                    p.proposal_boxes.tensor,
                    p.gt_classes[:, None].float(),
                ],
                dim=1,
            )
            for i, p in enumerate(stage.proposals)
        ]
        ours = torch.cat(rows).numpy()
        prefix = f"{step['case']}/stage{k}"
        labels = reference[f"{prefix}/labels"][:, None]
        expected = np.concatenate([reference[f"{prefix}/rois"], labels], axis=1)
        note("samples: RoIs", assert_same_set(ours, expected), "pixels")


def test_samples_of_the_mask_branch(step, reference):
    for h, stage in enumerate(step["mask_samples"]):
        ours = [p[p.gt_classes < 80] for p in stage.proposals]
        boxes = torch.cat([p.proposal_boxes.tensor for p in ours]).numpy()
        expected = reference[f"{step['case']}/mask{h}/pos_boxes"].reshape(-1, 4)
        assert_same_set(boxes, expected)


@pytest.mark.parametrize("step", ["main"], indirect=True, scope="module")
def test_gradients(step, model, reference):
    model.zero_grad()
    sum(step["losses"].values()).backward(retain_graph=True)
    parameters = dict(model.named_parameters())
    heads = [k for k in parameters if not k.startswith(("backbone.", "proposal_generator."))]
    norms = reference.json("main/grad_norm_json")
    weights = reference.state_dict()
    filled = {k: torch.full(v.shape, norms.get(k, 0.0)) for k, v in weights.items()}
    converted = convert_mmdet_state_dict(filled)
    for key in heads:
        norm = converted[key].flatten()[0]
        deviation = abs(parameters[key].grad.norm() - norm) / norm
        note("gradient norms", deviation, "relative")
        assert deviation <= 1e-3, key
