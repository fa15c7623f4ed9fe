"""What a user of a GPU looks for: number formats, layouts, and copies that nobody waits for."""

from pathlib import Path

import pytest
import torch
from torch import nn

from scnet.data import train_loader
from scnet.engine.precision import mixed_precision_type
from scnet.engine.step import StepTrainer
from scnet.modeling import compiled_regions
from scnet.modeling.compiled_regions import is_compiled
from scnet.tf32 import set_tf32

FAST = [
    *("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16", "SOLVER.FUSED", True),
    *("SOLVER.CHANNELS_LAST", True, "SOLVER.CLIP_GRADIENTS.ENABLED", True),
    *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", "SOLVER.EMA.ENABLED", True),
    *("SOLVER.COMPILE", True),
]


@pytest.mark.parametrize(
    "name, device, expected",
    [
        ("", "cuda", torch.float16),
        ("", "cpu", torch.bfloat16),
        ("bfloat16", "cuda", torch.bfloat16),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float16", "cuda", torch.float16),
    ],
)
def test_the_type_of_mixed_precision(name, device, expected):
    assert mixed_precision_type(name, device) == expected


def test_types_that_cannot_be_are_named(make_trainer):
    with pytest.raises(ValueError, match="AMP.DTYPE is 'float16', which trains on GPUs only"):
        make_trainer("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "float16")
    with pytest.raises(ValueError, match="AMP.DTYPE must be 'float16' or 'bfloat16', not 'fp8'"):
        mixed_precision_type("fp8", "cuda")


def test_only_float16_scales_the_loss():
    for precision, scaled in ((torch.float16, True), (torch.bfloat16, False), (None, False)):
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = StepTrainer(model, [], optimizer, precision=precision)
        assert trainer.grad_scaler.is_enabled() == scaled


@pytest.fixture
def tf32_restored():
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    yield
    for place, value in zip(places, before):
        place.allow_tf32 = value


@pytest.mark.parametrize("value", [True, False])
def test_tf32_is_for_convolutions_and_products(tf32_restored, monkeypatch, caplog, value):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for before in (True, False):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = before
        set_tf32(None)
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == before
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    with caplog.at_level("INFO"):
        set_tf32(value)
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == value
    word = "yes" if value else "no"
    assert f"TF32: convolutions {word}, matrix products {word}, on a GPU" in caplog.text


def test_the_trainer_sets_tf32(make_trainer, tf32_restored):
    torch.backends.cuda.matmul.allow_tf32 = False
    make_trainer("SOLVER.TF32", True)
    assert torch.backends.cuda.matmul.allow_tf32


def is_last(tensor):
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.mark.slow
def test_channels_last_reaches_the_layers_and_changes_the_losses_little(make_trainer):
    plain, last = make_trainer(output="plain"), make_trainer("SOLVER.CHANNELS_LAST", True)
    seen = []
    conv = last.trained.backbone.bottom_up.res3[0].conv2
    conv.register_forward_hook(lambda _, inputs, output: seen.extend([*inputs, output]))
    for trainer in (plain, last):
        trainer.train()
    assert is_last(conv.weight) and seen and all(is_last(x) for x in seen)
    for name, value in plain.losses[0].items():
        assert last.losses[0][name] == pytest.approx(value, rel=0.05, abs=0.01), name


@pytest.fixture
def small_graphs(monkeypatch):
    """For torch.compile in seconds: without the backbone, and the graphs run as they are."""
    regions = compiled_regions.regions
    monkeypatch.setattr(compiled_regions, "BACKEND", "eager")
    monkeypatch.setattr(
        compiled_regions,
        "regions",
        lambda model: {k: v for k, v in regions(model).items() if k != "backbone"},
    )


@pytest.mark.slow
def test_going_on_is_exact_with_all_of_it(make_trainer, small_graphs):
    whole = make_trainer(*FAST, "SOLVER.CHECKPOINT_PERIOD", 2, output="whole")
    whole.train()
    half = make_trainer(*FAST, "SOLVER.MAX_ITER", 2)
    half.train()
    again = make_trainer(*FAST, resume=True)
    assert again.start_iter == 2
    again.train()
    assert again.losses == {k: whole.losses[k] for k in (2, 3)}
    for mine, other in ((again.trained, whole.trained), (again.result, whole.result)):
        for (name, p), q in zip(mine.state_dict().items(), other.state_dict().values()):
            assert torch.equal(p, q), name


@pytest.mark.slow
def test_a_compiled_model_trains_as_another(make_trainer, small_graphs):
    opts = ["SOLVER.EMA.ENABLED", True, "SOLVER.MAX_ITER", 2]
    plain, compiled = (
        make_trainer(*opts, "SOLVER.COMPILE", on, output=str(on)) for on in (False, True)
    )
    assert [is_compiled(x.trained) for x in (plain, compiled)] == [False, True]
    assert not is_compiled(compiled.result)  # the average
    for trainer in (plain, compiled):
        trainer.train()
    assert compiled.losses == plain.losses
    files = [Path(x.cfg.OUTPUT_DIR, "model_final.pth") for x in (plain, compiled)]
    mine, other = (torch.load(file, weights_only=False)["model"] for file in files)
    assert list(mine) == list(other)
    assert all(torch.equal(x, other[name]) for name, x in mine.items())


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_run_goes_on_with_a_fused_optimizer(make_trainer, caplog, optimizer):
    """It is another way to compute the same, and no other hyper-parameter."""
    opts = ["SOLVER.OPTIMIZER", optimizer]
    began = make_trainer(*opts, "SOLVER.MAX_ITER", 1)
    began.train()
    with caplog.at_level("INFO"):
        again = make_trainer(*opts, "SOLVER.MAX_ITER", 2, "SOLVER.FUSED", True, resume=True)
    assert "The model is on cpu" in caplog.text
    assert "hyper-parameters" not in caplog.text
    assert all(group["fused"] and not group["foreach"] for group in again.optimizer.param_groups)
    kept = zip(began.optimizer.state.values(), again.optimizer.state.values())
    assert all(torch.equal(x, y) for b, a in kept for x, y in zip(b.values(), a.values()))
    again.train()
    assert all(torch.isfinite(p).all() for p in again.trained.parameters())


@pytest.mark.parametrize("device, pinned", [("cuda", True), ("cuda:1", True), ("cpu", False)])
def test_batches_are_pinned_where_there_is_a_gpu(make_trainer, monkeypatch, device, pinned):
    loader, asked = make_trainer().data_loader, []
    monkeypatch.setattr(train_loader, "DataLoader", lambda *_, **kw: asked.append(kw) or [])
    loader.cfg = loader.cfg.clone()
    loader.cfg.defrost()
    loader.cfg.MODEL.DEVICE = device
    assert not list(loader)
    loader.cfg.DATALOADER.PIN_MEMORY = False
    assert not list(loader)
    assert [kw["pin_memory"] for kw in asked] == [pinned, False]


class Recorded:
    """In place of a tensor: notes how it is moved."""

    def to(self, device, non_blocking=False):
        return (str(device), non_blocking)


def test_images_are_copied_to_a_gpu_without_waiting():
    model = nn.Linear(1, 1)
    trainer = StepTrainer(model, [], torch.optim.SGD(model.parameters(), lr=0.1))
    batch = [{"image": Recorded(), "sem_seg": Recorded(), "file_name": "a.png", "instances": 1}]
    assert trainer._on_device(batch) is batch
    trainer.device = torch.device("cuda:1")
    moved = ("cuda:1", True)
    expected = [{"image": moved, "sem_seg": moved, "file_name": "a.png", "instances": 1}]
    assert trainer._on_device(batch) == expected
