from pathlib import Path

import pytest
import torch

from scnet import get_cfg, get_config_file
from scnet.checkpoint import load_model
from scnet.config import CONFIG_DIR, find_config, read_cfg
from scnet.config_mistakes import check_device


def test_get_config_file_gives_a_file_that_loads():
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("scnet_R_50_FPN_1x_coco.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE == "SCNet"


@pytest.mark.parametrize(
    "name", ["quickstart", "backbones/Base-AdamW", "scnet_Swin-T_FPN_20e_coco"]
)
def test_a_shipped_config_is_found_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / Path(name).name).mkdir()  # OUTPUT_DIR, say
    for ending in ("", ".yaml"):
        path = Path(find_config(name + ending))
        assert path.is_relative_to(CONFIG_DIR) and path.stem == Path(name).name


def test_names_of_shipped_configs_are_unique():
    names = [path.stem for path in CONFIG_DIR.rglob("*.yaml")]
    assert len(names) == len(set(names))


def test_a_file_comes_before_a_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("quickstart.yaml").write_text("SEED: 17")
    assert read_cfg("quickstart.yaml").SEED == 17
    assert read_cfg("quickstart").SEED != 17


@pytest.mark.parametrize("name", ["scnet_R50_FPN_20e_coco.yaml", "my/scnet_R_50_FPN_20e_coco.yaml"])
def test_unknown_config_lists_the_nearest(name):
    """One of a name that is shipped, but in another folder, is another file."""
    with pytest.raises(
        FileNotFoundError, match=f"{name}' does not exist.* scnet_R_50_FPN_20e_coco"
    ):
        read_cfg(name)


def test_device_follows_the_machine():
    assert ("cuda" if torch.cuda.is_available() else "cpu") == get_cfg().MODEL.DEVICE


@pytest.mark.parametrize("here, there", [("cpu", "cuda"), ("cuda", "cpu")])
def test_no_file_chooses_the_device(monkeypatch, tmp_path, caplog, here, there):
    """A model trained on a GPU runs on a machine without one, and the other way round."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: here == "cuda")
    base, saved = tmp_path / "base.yaml", tmp_path / "config.yaml"
    base.write_text(f"MODEL:\n  DEVICE: {there}\n")  # as older runs have it in their config.yaml
    saved.write_text("_BASE_: base.yaml\n")
    assert here == read_cfg(saved).MODEL.DEVICE
    assert f"MODEL.DEVICE '{there}' in '{saved}' is not used" in caplog.text
    assert f"here it is '{here}'" in caplog.text
    assert read_cfg(saved, ["MODEL.DEVICE", "cuda:1"]).MODEL.DEVICE == "cuda:1"
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "mps"
    cfg.merge_from_file(saved)
    assert cfg.MODEL.DEVICE == "mps"


def test_a_saved_config_has_no_device(tmp_path, caplog):
    cfg = read_cfg(QUICK_START, ["MODEL.DEVICE", "cuda:1"])
    cfg.freeze()
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert cfg.MODEL.DEVICE == "cuda:1"
    assert get_cfg().MODEL.DEVICE == read_cfg(tmp_path / "config.yaml").MODEL.DEVICE
    assert not caplog.text


def test_leaf_configs_are_short_and_stay_in_the_project():
    for path in CONFIG_DIR.rglob("*.yaml"):
        lines = [x for x in path.read_text().splitlines() if x.strip() and not x.startswith("#")]
        if not path.name.startswith("Base") and path.name != "quickstart.yaml":
            assert len(lines) <= 15, path
        for line in lines:
            if line.startswith("_BASE_"):
                base = (path.parent / line.split('"')[1]).resolve()
                assert base.is_file() and CONFIG_DIR.resolve() in base.parents, path


@pytest.mark.parametrize("name, epochs", [("1x", (8, 11, 12)), ("20e", (16, 19, 20))])
def test_schedules_are_epochs_of_the_paper(name, epochs):
    """Sec. 5.1: 16 images per batch, lr 0.02, divided by 10 after 16 and 19 of 20 epochs."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(f"scnet_R_50_FPN_{name}_coco.yaml"))
    iterations = [*cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER]
    images_with_objects = 117266
    for iteration, epoch in zip(iterations, epochs):
        assert abs(iteration * 16 / images_with_objects - epoch) < 0.01
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR, cfg.SOLVER.GAMMA) == (16, 0.02, 0.1)
    assert cfg.SOLVER.REFERENCE_WORLD_SIZE == 8


QUICK_START = get_config_file("quickstart.yaml")


@pytest.mark.parametrize(
    "opts, words",
    [
        (["SOLVER.BASE_LRR", "0.1"], "SOLVER.BASE_LRR 0.1.*no key.*nearest is SOLVER.BASE_LR"),
        (["BASE_LR", "0.1"], "no key BASE_LR; the nearest is SOLVER.BASE_LR"),
        (["SOLVER.BASE_LR.X", "0.1"], "no key SOLVER.BASE_LR.X; the nearest is SOLVER.BASE_LR"),
        (["SOLVER.BASE_LR=0.1", "SEED"], "no key SOLVER.BASE_LR=0.1; .* SOLVER.BASE_LR"),
        (["QWERTY", "1"], "there is no key QWERTY"),
        (["SOLVER.BASE_LR"], "'SOLVER.BASE_LR' are an odd number .* KEY VALUE pairs"),
        (["SEED", "1", "--resume"], "'SEED 1 --resume' are an odd .*after all .*'--'"),
        (["SOLVER.MAX_ITER", "many"], "'SOLVER.MAX_ITER many'.* must be like 1000"),
        (["SOLVER", "3"], "'SOLVER' is a group of keys"),
    ],
)
def test_a_wrong_option_is_one_sentence_with_its_key(opts, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_cfg(QUICK_START, opts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"SOLVER:\n  BASE_LRR: 1\n", "no key SOLVER.BASE_LRR; the nearest is SOLVER.BASE_LR"),
        (b"SOLVER:\n  MAX_ITER: many\n", "SOLVER.MAX_ITER must be like"),
        (b"SOLVER: 3\n", "SOLVER must be a group of keys"),
        (b"SOLVER: [1\n", "line 2"),
        (b"SOLVER:\n\tMAX_ITER: 1\n", "line 2"),
        (b"- 1\n- 2\n", "KEY: VALUE"),
        (b"hello", "KEY: VALUE"),
        (b"", "KEY: VALUE"),
        (b"OUTPUT_DIR: caf\xe9", "utf-8"),
        (b"_BASE_: mine.yaml\n", "circle"),
        (b"_BASE_: 3\n", "_BASE_ is no text"),
        (b"VERSION: 9\n", "v9"),
    ],
)
def test_a_broken_file_is_one_error_with_its_name(tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s)mine.yaml' .*{words}"):
        read_cfg(path)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="no_such.yaml' does not exist"):
        read_cfg("no_such.yaml")


@pytest.mark.parametrize(
    "device, gpus, words",
    [
        ("cuda", 0, "MODEL.DEVICE is 'cuda', but no GPU is available to PyTorch.*MODEL.DEVICE cpu"),
        ("cuda:2", 2, "'cuda:2', but PyTorch has 2 GPUs, from cuda:0 to cuda:1"),
        ("gpu", 0, "MODEL.DEVICE 'gpu' is no device"),
    ],
)
def test_a_device_that_is_not_there(monkeypatch, device, gpus, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    cfg = read_cfg(QUICK_START, ["MODEL.DEVICE", device])
    with pytest.raises(ValueError, match=words):
        check_device(cfg)
    with pytest.raises(ValueError, match=words):
        load_model(cfg, "some.pth")
