import nbformat
import pytest
import torch
from nbclient import NotebookClient

from scnet import get_cfg, get_config_file
from scnet.data.datasets import shapes
from scnet.modeling import class_metadata


@pytest.mark.slow
def test_the_notebook_runs_and_shows_pictures(repository, make_model, environment, tmp_path):
    """From the folder it lies in, with a model where the quick start leaves it."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("quickstart.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    folder = tmp_path / "projects/SCNet"
    folder.mkdir(parents=True)
    weights = tmp_path / "output/quickstart/model_final.pth"
    weights.parent.mkdir(parents=True)
    model = make_model(cfg)
    model.metadata = class_metadata.make_metadata({"thing_classes": shapes.THING_CLASSES})
    torch.save({"model": model.state_dict()}, weights)

    notebook = nbformat.read(repository / "projects/SCNet/demo.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert "pred_masks" in text
    assert any("image/png" in output.get("data", {}) for output in outputs)
