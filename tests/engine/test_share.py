"""A trained model as a folder that others can use, and on Hugging Face."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from helpers import NAMES
from hub_stand_in import TOKEN
from scnet import Predictor, get_cfg
from scnet.config import read_cfg
from scnet.data.datasets import shapes
from scnet.engine.evaluation.results import METRICS
from scnet.engine.share.model_folder import write_model_folder
from scnet.engine.share.public_config import public_config
from scnet.engine.share.upload import upload
from scnet.modeling.class_metadata import make_metadata
from scnet_tools import push as tool

safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors")

PRIVATE = "secret"  # is in all that must not go out
NAME = "me/my-model"


@pytest.fixture
def run(tiny_cfg, make_model, coco_set, tmp_path):
    """OUTPUT_DIR of a training of 8 steps, as it leaves it, with its private words."""
    folder = tmp_path / PRIVATE
    folder.mkdir()
    model = make_model(tiny_cfg)
    model.metadata = make_metadata({"thing_classes": NAMES})
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, 1)]
    coco_set.content["categories"] = categories
    coco_set.write()
    data = tiny_cfg.DATASETS
    data.TRAIN_JSON = data.TEST_JSON = (str(coco_set.json_file),)
    data.TRAIN_IMAGES = data.TEST_IMAGES = (str(coco_set.images),)
    tiny_cfg.OUTPUT_DIR, tiny_cfg.WANDB.PROJECT = str(folder), PRIVATE
    tiny_cfg.MODEL.WEIGHTS, tiny_cfg.SOLVER.MAX_ITER = str(folder / "first.pth"), 8
    (folder / "config.yaml").write_text(tiny_cfg.dump())
    for name, iteration in (("model_final", 7), ("model_best", 3), ("model_0000005", 5)):
        state = {key: x + iteration * (key.endswith("_x")) for key, x in model.state_dict().items()}
        more = {"trainer": {"momentum": torch.zeros(100000)}, "iteration": iteration}
        torch.save({"model": state, **more}, folder / f"{name}.pth")
    lines = [
        {"iteration": 3, "segm/AP": 31.5, "segm/AP50": 50.0, "bbox/AP": 33.5},
        {"iteration": 7, "total_loss": 1.0},
        {"iteration": 8, "segm/AP": 28.25, "bbox/AP": 29.5},
    ]
    (folder / "metrics.json").write_text("".join(json.dumps(x) + "\n" for x in lines))
    record = {
        "command": ["train_net.py", "--config", f"{PRIVATE}/quickstart.yaml", PRIVATE],
        "folder": f"/home/{PRIVATE}",
        "versions": {"torch": "2.9.9"},
    }
    (folder / "runs.jsonl").write_text(json.dumps(record) + "\n")
    (folder / "report.html").write_text("a page")
    return folder


@pytest.fixture
def push(monkeypatch, capsys, run):
    """push(words): what the tool says."""

    def push(*words):
        monkeypatch.setattr(sys, "argv", ["scnet push", str(run), *map(str, words)])
        tool.main()
        return capsys.readouterr().out

    return push


def same_predictions(one, other):
    image = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    first, second = Predictor(str(one))(image), Predictor(str(other))(image)
    assert len(first) and torch.equal(first.scores, second.scores)
    assert torch.equal(first.pred_boxes.tensor, second.pred_boxes.tensor)
    return torch.equal(first.pred_masks, second.pred_masks)


def test_a_folder_is_all_that_predicting_needs(run, push, tmp_path):
    """Bit for bit as before; without the state of the optimizer and without private words."""
    out = tmp_path / "out"
    said = push("--folder", out, "--license", "mit")
    assert {x.name for x in out.iterdir()} == {"model.safetensors", "config.yaml", "README.md"}
    weights = out / "model.safetensors"
    assert same_predictions(run / "model_best.pth", weights)
    assert Predictor(str(weights)).names == NAMES
    assert weights.stat().st_size < (run / "model_best.pth").stat().st_size - 300000
    for path in out.iterdir():
        assert PRIVATE.encode() not in path.read_bytes(), path
    [cut] = [x for x in said.splitlines() if x.startswith("config.yaml: without ")]
    data = [f"DATASETS.{part}" for part in ("TEST", "TEST_IMAGES", "TEST_JSON", "TRAIN")]
    data += ["DATASETS.TRAIN_IMAGES", "DATASETS.TRAIN_JSON"]
    assert cut.split("without ")[1].split(", ") == [
        *data,
        *("MODEL.WEIGHTS", "OUTPUT_DIR", "WANDB.PROJECT"),
    ]
    assert "without a licence" not in said
    before, after = (read_cfg(x / "config.yaml") for x in (run, out))
    assert (*(after.MODEL.FPN, after.INPUT, after.SOLVER),) == (
        before.MODEL.FPN,
        before.INPUT,
        before.SOLVER,
    )


def test_the_page_tells_of_these_weights(run, push, tmp_path):
    """Measures are those of the evaluation of the same step."""
    tables = {"model_best.pth": "31.5", "model_final.pth": "28.2", "model_0000005.pth": ""}
    for name, value in tables.items():
        said = push("--folder", tmp_path / name, "--weights", name)
        page = (tmp_path / name / "README.md").read_text()
        assert [x for x in tables.values() if x and x in page] == [value] * bool(value)
        assert ("were not evaluated" in page) == ("without measures" in said) == (not value)
    fields = yaml.safe_load(page.split("---")[1])
    assert fields["pipeline_tag"] == "image-segmentation" and "license" not in fields
    assert "nobody may use the model yet (--license)" in said
    assert "`quickstart`" in page and "torch 2.9.9" in page and "`disk`, `square`" in page
    assert "--weights model.safetensors" in page
    assert [x.split("|")[1:4] for x in page.splitlines() if x.startswith("| images")] == [
        [" images   ", "          3 ", "      3 "]
    ]


@pytest.mark.slow
def test_a_training_with_a_moving_average(make_trainer, environment, tmp_path):
    """The averaged weights go out, with the measures of the end of the training."""
    root = Path(environment["FVCORE_CACHE"], "scnet", f"shapes_v{shapes.VERSION}")
    data = ["DATASETS.TEST_JSON", (str(root / "annotations/instances_val.json"),)]
    data += ["DATASETS.TEST_IMAGES", (str(root / "val"),)]
    trainer = make_trainer(*data, "SOLVER.EMA.ENABLED", True, output="run")
    trainer.train()
    write_model_folder(str(tmp_path / "run"), str(tmp_path / "out"), weights="model_final.pth")
    state = safetensors.load((tmp_path / "out/model.safetensors").read_bytes())
    averaged, trained = (model.state_dict() for model in (trainer.result, trainer.trained))
    assert all(torch.equal(x, averaged[name]) for name, x in state.items())
    assert any(not torch.equal(x, trained[name]) for name, x in state.items())
    [results] = json.loads((tmp_path / "run/inference/results.json").read_text()).values()
    [line] = [
        x.split("|")[2:-1]
        for x in (tmp_path / "out/README.md").read_text().splitlines()
        if x.startswith("| masks")
    ]
    assert [float(x) for x in line] == pytest.approx(
        [results["segm"][name] for name in METRICS], abs=0.05, nan_ok=True
    )


def test_data_that_is_not_here_is_not_counted(run, push, coco_set, tmp_path):
    coco_set.json_file.unlink()
    assert "without numbers of images and objects" in push("--folder", tmp_path / "out")
    assert "## Data" not in (tmp_path / "out/README.md").read_text()


def test_what_goes_out_only_if_it_is_asked_for(run, push, tmp_path):
    said = push("--folder", tmp_path / "out", "--report")
    assert (tmp_path / "out/report.html").read_text() == "a page"
    assert "report.html: with images of the test data" in said
    assert "(report.html)" in (tmp_path / "out/README.md").read_text()


def test_nothing_is_written_over(run, push, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "README.md").write_text("mine")
    with pytest.raises(SystemExit, match="README.md' exists already"):
        push("--folder", out)
    assert [x.name for x in out.iterdir()] == ["README.md"]
    push("--folder", out, "--overwrite")
    with pytest.raises(SystemExit, match="config.yaml' is read, and cannot be an output"):
        push("--folder", run, "--overwrite")


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "Give either OWNER/NAME, to push to, or --folder"),
        ([NAME, "--folder", "out"], "Give either"),
        (["--folder", "out", "--public"], "--public is for OWNER/NAME"),
        (["my-model"], "'my-model' is no name of a repository: write OWNER/NAME"),
        (["--folder", "out", "--weights", "x.pth"], "x.pth' does not exist. Give the OUTPUT_DIR"),
    ],
)
def test_words_that_do_not_go_together(push, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as info:
        push(*words)
    assert str(info.value).startswith("scnet push: ") and message in str(info.value)
    assert not Path("out").exists()


def test_weights_without_names_of_classes(run, push, tmp_path):
    content = torch.load(run / "model_best.pth")
    del content["model"]["class_metadata"]
    torch.save(content, run / "model_best.pth")
    with pytest.raises(SystemExit, match="names the classes"):
        push("--folder", tmp_path / "out")
    assert not (tmp_path / "out/README.md").exists()


def test_every_path_is_cut(tmp_path):
    """Also in a key of which nobody thought; what is no path stays."""
    cfg = get_cfg()
    cfg.MODEL.TIMM.NAME, cfg.MODEL.KEYPOINT_ON = "~/mine", False
    cfg.MODEL.MASK_ON, cfg.OUTPUT_DIR = True, str(tmp_path)
    public, changed = public_config(cfg)
    assert set(changed) == {"MODEL.TIMM.NAME", "OUTPUT_DIR"}
    assert public.MODEL.TIMM.NAME == "" and public.MODEL.MASK_ON
    assert str(tmp_path) == cfg.OUTPUT_DIR


@pytest.fixture
def logged_in(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def test_there_and_back(run, push, hub_stand_in, logged_in):
    """What is pushed is private, and predicts under its name as before."""
    said = push(NAME)
    assert f"{hub_stand_in.url}/{NAME}" in said and f"--weights hf://{NAME}" in said
    repository = hub_stand_in.repositories[NAME]
    assert repository.private and f"hf://{NAME}" in repository.commits[-1]["README.md"].decode()
    assert set(repository.commits[-1]) == {"model.safetensors", "config.yaml", "README.md"}
    assert same_predictions(run / "model_best.pth", f"hf://{NAME}")


def test_a_repository_that_is_there(hub_stand_in, logged_in, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/README.md").write_text("new")
    push = lambda name, **more: upload(str(tmp_path / "out"), name, **more)  # noqa: E731
    hub_stand_in.add("me/public", {})
    with pytest.raises(ValueError, match="'me/public' is public.*add --public"):
        push("me/public")
    files = {"README.md": b"old", "report.html": b"old", "notes.txt": b"old"}
    repository = hub_stand_in.add("me/private", files, private=True)
    with pytest.raises(ValueError, match="'me/private' is private, and --public does not change"):
        push("me/private", public=True)
    with pytest.raises(FileExistsError, match="has files already .README.md, notes.txt, report"):
        push("me/private")
    assert len(repository.commits) == 1 and not hub_stand_in.repositories["me/public"].commits[-1]
    push("me/private", overwrite=True)
    assert repository.commits[-1] == {"README.md": b"new", "notes.txt": b"old"}
    push("me/public", public=True)
    push("me/new", public=True)
    assert not hub_stand_in.repositories["me/new"].private


def test_nobody_is_logged_in(run, push, hub_stand_in):
    with pytest.raises(SystemExit, match=f"Cannot push to '{NAME}': there is no such .* log in"):
        push(NAME)
    assert not hub_stand_in.repositories


def test_without_network(run, push, hub_stand_in, logged_in, monkeypatch):
    constants = sys.modules["huggingface_hub.constants"]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SystemExit, match=f"Cannot push to '{NAME}': .*refused"):
        push(NAME)
