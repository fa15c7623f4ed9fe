"""No command prints that TorchScript is deprecated: users can do nothing about it."""

import pytest
import torch

from detecting_models import spread_out
from helpers import TINY
from scnet import get_config_file


def test_the_import_warns_of_nothing_deprecated(run):
    run("-W", "error::FutureWarning", "-c", "import scnet")


@pytest.mark.parametrize("name, ending", [("torchscript", "ts"), ("onnx", "onnx")])
def test_tools(run, run_forked, tiny_cfg, make_model, tmp_path, video, name, ending):
    """The tool that writes files, and the one that reads them."""
    pytest.importorskip("onnxruntime")
    model, weights = make_model(tiny_cfg), tmp_path / "model.pth"
    spread_out(model.eval(), torch.rand(3, 64, 80) * 255)
    torch.save({"model": model.state_dict()}, weights)
    file = tmp_path / f"model.{ending}"
    written = run_forked(
        *("projects/SCNet/tools/export.py", "--config-file", get_config_file("quickstart.yaml")),
        *("--format", name, "--output", file, "--size", "60", "90"),
        *("--opts", *TINY, "MODEL.WEIGHTS", weights),
    )
    predicted = run(
        *("projects/SCNet/tools/predict.py", "--weights", file, "--input", video),
        *("--output", tmp_path / "pictures"),
    )
    for result in (written, predicted):
        assert "deprecated" not in result.stdout and "FutureWarning" not in result.stdout
