"""Images in which nothing is found: no part of an ONNX file runs on zero regions.

OpenVINO refuses some operators on them, and then the next image, too.
"""

import re

import pytest

from scnet.export import write_onnx

pytestmark = pytest.mark.slow
SIZES = [(64, 80), (1, 1), (97, 70), (1, 1), (64, 80)]  # nothing is found in a single pixel
# What the box and mask heads are made of. The pooling of a level may have no region.
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "ReduceMean", "Resize")


@pytest.fixture
def write(make_detector, tmp_path):
    """write(name of MODELS, whether the model makes proposals) gives the path of an ONNX file."""

    def write(name, proposals=True):
        model = make_detector(name)
        for predictor in model.roi_heads.box_predictor:
            predictor.test_score_thresh = 0.4
        if not proposals:  # they are all beyond the right side of the image
            model.proposal_generator.rpn_head.anchor_deltas.bias.data[0::4] = 1000
        write_onnx(model, str(tmp_path / "model.onnx"), {})
        return tmp_path / "model.onnx"

    return write


def run(path, sizes, make_image, outputs=None):
    """What ONNX Runtime gives for images, as a dict per image."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = outputs or [output.name for output in session.get_outputs()]
    images = [make_image(*size).numpy() for size in sizes]
    return [dict(zip(outputs, session.run(outputs, {"image": image}))) for image in images]


@pytest.mark.parametrize("name, proposals", [("scnet", True), ("boxes", False)])
def test_every_part_has_a_region(write, make_image, name, proposals):
    onnx = pytest.importorskip("onnx")
    path = write(name, proposals)
    size = (1, 1) if proposals else (64, 80)
    (found,) = run(path, [size], make_image)
    assert all(len(output) == 0 for output in found.values()), "something is found"
    if "masks" in found:
        assert found["masks"].shape == (0, *size)

    model = onnx.load(path)
    parts = [n for n in model.graph.node if n.op_type in OPERATORS and "/roi_heads" in n.name]
    names = [part.output[0] for part in parts]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    onnx.save(model, path)
    (values,) = run(path, [size], make_image, names)
    assert {part.op_type for part in parts} >= {"ReduceMean", "Gemm"}
    assert not [name for name, value in values.items() if value.size == 0]


@pytest.mark.parametrize("name", ["scnet", "htc"])
def test_openvino_gives_what_onnx_runtime_gives(write, make_image, repository, monkeypatch, name):
    """With the program of docs/export.md, and image after image with the same model."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path = write(name)
    expected = run(path, SIZES, make_image)
    images = [make_image(*size).numpy() for size in SIZES]
    text = (repository / "docs/export.md").read_text()
    (program,) = re.findall(r"## In OpenVINO.*?```python\n(.*?)```", text, re.DOTALL)
    names = {"image": images[0], "outputs": ["boxes", "scores", "labels", "masks"]}
    monkeypatch.chdir(path.parent)
    exec(program, names)
    assert (names["masks"] == expected[0]["masks"]).all()
    for image, outputs in zip(images, expected):
        found = names["model"]({"image": image})
        for output, value in outputs.items():
            assert found[output].shape == value.shape
            if len(value) and output != "masks":
                assert abs(found[output] - value).max() < 1e-3
    counts = {len(outputs["boxes"]) for outputs in expected}
    assert 0 in counts and len(counts) > 1, "the images do not try what they should"
