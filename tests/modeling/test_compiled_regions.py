"""The model by torch.compile, in most tests with a backend that runs the graphs as they are."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from detecting_models import MODELS, spread_out
from helpers import NARROW_BACKBONES, TINY, detect, shipped_models, training_step
from scnet import optimize_for_inference
from scnet.export.tracing import tracing_adapter
from scnet.modeling import compiled_regions
from scnet.modeling.compiled_regions import compile_regions, is_compiled, regions

NARROW = [
    *(*TINY, *NARROW_BACKBONES),
    *("MODEL.RESNETS.DEPTH", 50, "MODEL.RESNETS.NUM_GROUPS", 1),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 8, "MODEL.RESNETS.STEM_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 32, "MODEL.SCNET.GLOBAL_CONTEXT.LOSS_WEIGHT", 3.0),
]
SHIPPED = {  # the regions of HTC with another backbone are those of others
    names[0]: cfg
    for names, cfg in shipped_models(NARROW)
    if cfg.MODEL.META_ARCHITECTURE == "SCNet"
    and cfg.MODEL.FPN.NORM != "BN"  # the quick start, which all other tests here compile
    and not (names[0].startswith("htc") and cfg.MODEL.BACKBONE.NAME != "build_resnet_fpn_backbone")
}
# Fewer layers, as their number is the time that it takes to make a graph.
SHALLOW = [
    *("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
    *("MODEL.RESNETS.STEM_OUT_CHANNELS", 64, "MODEL.RESNETS.WIDTH_PER_GROUP", 64),
]
CHECKPOINTED = [
    *("MODEL.SCNET.ACTIVATION_CHECKPOINTING", ("backbone", "mask_branch")),
    *("MODEL.SCNET.FREEZE_BN_STATISTICS", True),
]
KINDS = {"htc": MODELS["htc"], "checkpointed": CHECKPOINTED}  # the latter is SCNet


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    """The graphs that are made in a test, which start from none."""
    made = []

    def note(graph, inputs):
        made.append(graph)
        return graph.forward

    limit = torch._dynamo.config.cache_size_limit
    monkeypatch.setattr(compiled_regions, "BACKEND", note)
    torch._dynamo.reset()
    yield made
    torch._dynamo.reset()
    torch._dynamo.config.cache_size_limit = limit


def compiled_copy(model):
    compiled = copy.deepcopy(model)
    compile_regions(compiled)
    return compiled


SEEN = set()  # the structure of the regions that were compiled


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_region_of_every_model_is_one_graph(name, make_batch, monkeypatch, graphs):
    """It is compiled with fullgraph=True, so that anything else is an error."""
    cfg = SHIPPED[name]
    model = build_model(cfg)
    new = {key: part for key, part in regions(model).items() if repr(part) not in SEEN}
    if not new:
        return  # the model has been seen in parts
    SEEN.update(map(repr, new.values()))
    monkeypatch.setattr(compiled_regions, "regions", lambda model: new)
    compile_regions(model)
    graphs.clear()
    batch = make_batch(cfg, [[0, cfg.MODEL.ROI_HEADS.NUM_CLASSES - 1], [0]])
    training_step(model, batch)
    detect(model, batch[:1])
    # One each for training and inference; box heads that are alike have the same.
    assert len(graphs) >= 2 * len({repr(part) for part in new.values()})


@pytest.fixture
def tiny_cfg(tiny_cfg):
    tiny_cfg.merge_from_list(SHALLOW)
    return tiny_cfg


@pytest.fixture(params=KINDS)
def models(request, tiny_cfg, make_model):
    """A model, and a copy of it that is compiled."""
    tiny_cfg.merge_from_list(KINDS[request.param])
    model = make_model(tiny_cfg).eval()
    spread_out(model, torch.rand(3, 96, 128) * 255)
    return model, compiled_copy(model)


@pytest.mark.slow
def test_losses_gradients_and_detections_are_the_same(models, tiny_cfg, make_batch, random_seed):
    batch = make_batch(tiny_cfg, [[0, 1, 2], [3]])
    losses, gradients, found = [], [], []
    for model in models:
        found.append(detect(model, batch[:1])[0])
        torch.manual_seed(random_seed)
        losses.append(training_step(model, batch))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(loss, losses[1][name]) for name, loss in losses[0].items())
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(x, gradients[1][name]) for name, x in gradients[0].items())
    for (name, value), other in zip(found[0].get_fields().items(), found[1].get_fields().values()):
        value, other = (getattr(x, "tensor", x) for x in (value, other))
        assert torch.equal(value, other), name


@pytest.mark.slow
def test_sizes_vary_without_compiling_again(tiny_cfg, make_model, make_batch, graphs):
    model = compiled_copy(make_model(tiny_cfg))

    def train(sizes):
        graphs.clear()
        for size in sizes:
            objects = torch.randint(5, (int(torch.randint(1, 9, ())),)).tolist()
            training_step(model, make_batch(tiny_cfg, [objects, [1]], sizes=[size, size]))
        return len(graphs)

    # The first two for the algorithms that a CPU has for convolutions of few and of many pixels.
    assert 0 < train([(128, 192), (192, 256)]) <= 2 * len(regions(model))
    assert train([(160, 192), (192, 224), (224, 160), (256, 320)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_optimized_copy_finds_the_same(tiny_cfg, make_model, dtype):
    model = make_model(tiny_cfg).eval()
    image = torch.rand(3, 96, 128) * 255
    spread_out(model, image)
    compiled = optimize_for_inference(model, dtype, compile=True)
    plain = copy.deepcopy(compiled)
    assert is_compiled(compiled) and not is_compiled(plain) and not is_compiled(model)
    (expected,), (found,) = (detect(m, [{"image": image}]) for m in (plain, compiled))
    assert len(expected) and torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.pred_masks, expected.pred_masks)


def test_names_stay_and_copies_are_not_compiled(tiny_cfg, make_model, caplog):
    model = make_model(tiny_cfg)
    names = list(model.state_dict())
    with caplog.at_level("INFO"):
        compile_regions(model)
    assert list(model.state_dict()) == names
    assert all(is_compiled(part) for part in regions(model).values())
    assert "): backbone, semantic_head, global_context_head, proposal_" in caplog.text
    assert not is_compiled(copy.deepcopy(model))
    with pytest.raises(ValueError, match="A compiled model cannot be exported. Give a copy"):
        tracing_adapter(model)


def test_transformers_are_left_out(caplog):
    """Their windows would take hours to compile for images of any size."""
    swin = next((cfg for name, cfg in SHIPPED.items() if "Swin" in name), None)
    if swin is None:
        pytest.skip("needs timm, which is not installed")
    model = build_model(swin)
    with caplog.at_level("INFO"):
        compile_regions(model)
    assert not is_compiled(model.backbone) and is_compiled(model.semantic_head)
    assert "The backbone is a transformer, and left out." in caplog.text


def test_where_it_does_not_work_one_sentence_says_so(tiny_cfg, make_model, monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError("No working C++ compiler.\nAnd a long explanation.")

    with pytest.raises(ValueError, match="'SCNet', not for a Linear"):
        compile_regions(nn.Linear(1, 1))
    model = make_model(tiny_cfg)
    monkeypatch.setattr(compiled_regions, "BACKEND", no_compiler)
    with pytest.raises(ValueError, match="does not work on cpu here .No working C") as error:
        compile_regions(model)
    assert "\n" not in str(error.value) and not is_compiled(model)


def test_a_region_with_a_graph_break_is_an_error(tiny_cfg, make_model, make_batch):
    model = make_model(tiny_cfg)
    forward = model.backbone.forward

    def breaks(x):
        torch._dynamo.graph_break()
        return forward(x)

    model.backbone.forward = breaks
    compile_regions(model)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="graph_break"), EventStorage():
        model(make_batch(tiny_cfg, [[0]]))


@pytest.mark.slow
def test_compiled_code_computes_the_same(tiny_cfg, make_model, monkeypatch):
    """With PyTorch's compiler, which rounds in another way, for one region alone."""
    head = make_model(tiny_cfg).proposal_generator.rpn_head
    monkeypatch.undo()
    try:
        compiled_regions.check_compiler(torch.device("cpu"))
    except ValueError as error:
        pytest.skip(str(error))
    compiled = copy.deepcopy(head)
    compiled.compile(fullgraph=True, dynamic=True)
    for height, width in ((8, 12), (12, 20)):
        features = [torch.randn(2, 16, height >> k, width >> k) for k in range(2)]
        for expected, found in zip(head(features), compiled(features)):
            torch.testing.assert_close(found, expected)
