"""All models on a pretend GPU: what a CPU can prove of how they run on CUDA."""

from collections import Counter

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torchvision.ops import nms

from helpers import NARROW_BACKBONES, TINY, make_instances, shipped_models
from host_waits import allowed_waits, our_waits, poolings_of
from pretend_cuda import CUDA, CudaTensor, pretend_gpu, to_gpu
from scnet import optimize_for_inference

NARROW = [
    *(*TINY, *NARROW_BACKBONES),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NUM_GROUPS", 1),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 8, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.SCNET.GLOBAL_CONTEXT.LOSS_WEIGHT", 3.0),
]
MODELS = {names[0]: cfg for names, cfg in shipped_models(NARROW)}
DETECTRON2 = MODELS.pop("detectron2_cascade_mask_rcnn_R_50_FPN")
del MODELS["detectron2_mask_rcnn_R_50_FPN"]  # no code of this project
SCNET, HTC = "table2_row6_scnet", "htc_R_101_FPN_20e_coco"
# All models in one low precision, and two of them in all.
CASES = [(name, torch.float16) for name in MODELS]
CASES += [(name, dtype) for name in (SCNET, HTC) for dtype in (torch.float32, torch.bfloat16)]
# How much more often than with Detectron2's own cascade the host may wait in a training step of two
# images. (Polygons, its usual masks, would cost that 6 waits.) HTC samples three times more.
MORE_WAITS = {
    "sample_consistency": 6,
    "naive_sample_consistency": 21,
    "per_stage": 21,
    "interleaved": 52,
}


@pytest.mark.parametrize(
    "operation, waits",
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.to("cpu", non_blocking=True), 0),
        (lambda x: torch.tensor([1, 2], device=x.device), 1),
        (lambda x: torch.full((2,), 1, device=x.device), 0),
        (lambda x: torch.nonzero(x), 1),
        (lambda x: x[x > 1], 1),
        (lambda x: x[torch.arange(2)], 1),
        (lambda x: x[torch.arange(2, device=x.device)], 0),
        (lambda x: x.masked_fill_(x > 1, 0), 0),
        (lambda x: torch.repeat_interleave(x.long()), 1),
        (lambda x: nms(x.expand(4, 4), x, 0.5), 1),
        (lambda x: x + torch.ones(()), 0),
    ],
)
def test_the_pretend_gpu_notes_waits(operation, waits):
    with pretend_gpu() as gpu:
        operation(CudaTensor(torch.arange(4.0)))
    assert len(gpu.waits) == waits
    assert all(__file__ in wait or "torchvision" in wait for wait in gpu.waits)


def test_the_pretend_gpu_refuses_mixed_devices():
    x = CudaTensor(torch.ones(4))
    assert x.device == CUDA
    with pretend_gpu():
        for operation in (lambda: x + torch.ones(4), lambda: torch.cat([x, torch.ones(1)])):
            with pytest.raises(RuntimeError, match="on cuda and on cpu"):
                operation()


def inputs():
    """Two training images of 7 objects."""
    height, width = 128, 160
    return [
        {
            "image": torch.rand(3, height, width) * 255,
            "height": height,
            "width": width,
            "instances": make_instances(height, width, [0] * 7),
            "sem_seg": torch.zeros(height, width, dtype=torch.int64),
        }
        for _ in range(2)
    ]


def run(cfg, dtype):
    """Losses of two images and detections in one, each with what the pretend GPU noted."""
    model, batch = to_gpu(build_model(cfg)), inputs()
    results = []
    for training in (True, False):
        model.train(training)
        precision = torch.autocast("cuda", dtype, enabled=dtype != torch.float32)
        with (
            poolings_of(model) as poolings,
            pretend_gpu() as gpu,
            precision,
            EventStorage(),
            torch.set_grad_enabled(training),
        ):
            output = model(batch if training else batch[:1])
        results.append((output, gpu.waits, len(poolings)))
    return results


@pytest.fixture(scope="module")
def waits_of_detectron2():
    """In a training step and at inference, of Detectron2's own cascade."""
    torch.manual_seed(0)
    return [len(waits) for _, waits, _ in run(DETECTRON2, torch.float32)]


@pytest.mark.slow
@pytest.mark.parametrize("name, dtype", CASES, ids=[f"{n}-{d}" for n, d in CASES])
def test_devices_precision_and_waits(name, dtype, waits_of_detectron2):
    cfg = MODELS[name]
    (losses, training, poolings), ([output], inference, poolings_at_inference) = run(cfg, dtype)
    assert all(x.dtype == torch.float32 and x.device == CUDA for x in losses.values())
    instances = output["instances"]
    assert instances.scores.dtype == instances.pred_boxes.tensor.dtype == torch.float32
    assert len(instances)

    # Detectron2's ViT copies the indices of its relative positions to the GPU.
    training, inference = (
        [wait for wait in waits if "/detectron2/modeling/backbone/" not in wait]
        for waits in (training, inference)
    )
    more = MORE_WAITS[cfg.MODEL.SCNET.MASK_BRANCH]
    if cfg.MODEL.BACKBONE.SQUARE_PAD:
        more += 6  # Detectron2 takes out the proposals that lie in the padding
    assert len(training) <= waits_of_detectron2[0] + more, Counter(training)
    assert len(inference) <= waits_of_detectron2[1] - 12, Counter(inference)
    for waits, number, is_training in (
        (training, poolings, True),
        (inference, poolings_at_inference, False),
    ):
        files = [wait.split(" in ")[1].rpartition(":")[0] for wait in waits]
        assert our_waits(files) <= allowed_waits(cfg, number, is_training)


@pytest.mark.slow
@pytest.mark.parametrize("name", [SCNET, HTC])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_optimized_copy_casts_no_weight(name, dtype):
    model = to_gpu(optimize_for_inference(build_model(MODELS[name]), dtype))
    with pretend_gpu() as gpu, torch.no_grad():
        model(inputs()[:1])
    weights = {id(parameter) for parameter in model.parameters()}
    assert not [tuple(cast.tensor.shape) for cast in gpu.casts if id(cast.tensor) in weights]
    # A level of the pyramid is cast for the semantic branch and for all poolings together.
    times = Counter((id(cast.tensor), cast.dtype) for cast in gpu.casts)
    assert times and max(times.values()) <= 2
