"""``scnet train --folds``: each image is evaluated by a model that has not seen it."""

import json
import signal
import sys
from math import nan
from pathlib import Path

import pytest

from helpers import command
from scnet.engine.measured import is_finished
from scnet_tools import folds as tool
from scnet_tools import runs, train_net

FOLDS = 2


@pytest.fixture
def data(coco_set):
    """Six images with a cat and a dog each."""
    content = coco_set.content
    image, objects = content["images"][0], content["annotations"][:2]
    content["images"] = [{**image, "id": k} for k in range(6)]
    content["annotations"] = [
        {**x, "id": 10 * k + n, "image_id": k} for k in range(6) for n, x in enumerate(objects)
    ]
    coco_set.write()
    return coco_set


@pytest.fixture
def words(data, tmp_path):
    """Of a training of two steps."""
    own = ["--train-json", data.json_file, "--train-images", data.images, "--folds", FOLDS]
    schedule = ["SOLVER.MAX_ITER", 2, "SOLVER.STEPS", "()", "SEED", 1]
    schedule += ["SOLVER.CHECKPOINT_PERIOD", 1]
    sizes = ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64]
    return command(tmp_path / "out", *schedule, *sizes, flags=[*map(str, own)])


@pytest.fixture
def train(monkeypatch, words, capsys):
    """train(words): what ``scnet train`` prints; it is run in this process."""

    def train(*more):
        monkeypatch.setattr(sys, "argv", ["scnet train", *map(str, more), *words])
        train_net.main()
        return capsys.readouterr().out

    return train


@pytest.fixture
def started(monkeypatch):
    """The trainings that were started, in this process; the second is killed after a step."""
    folders = []

    def start(line):
        args = train_net.argument_parser().parse_args(line[len(runs.TRAIN) :])
        folders.append(Path(args.opts[-1]).name)
        if folders == ["fold1", "fold2"]:
            args.opts[-2:-2] = ["SOLVER.MAX_ITER", "1"]
            train_net.train(args)
            Path(args.opts[-1], "model_final.pth").unlink()
            return -signal.SIGKILL
        train_net.train(args)
        return 0

    monkeypatch.setattr(runs, "wait_for", start)
    return folders


@pytest.mark.slow
def test_folds(train, started, data, tmp_path):
    """After a kill the folds that are done are left, and the others go on."""
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match="fold2: the command above ended with -9"):
        train()
    first = out / "fold1/model_final.pth"
    before = first.stat().st_mtime_ns
    assert is_finished(str(out / "fold1")) and not is_finished(str(out / "fold2"))
    with pytest.raises(SystemExit, match="holds folds already. Go on with them with --resume"):
        train()
    printed = train("--resume")
    assert started == ["fold1", "fold2", "fold2"] and first.stat().st_mtime_ns == before
    assert "fold1: done already" in printed

    val = [json.loads((out / f"fold{k}/split/val.json").read_text()) for k in (1, 2)]
    train_sets = [json.loads((out / f"fold{k}/split/train.json").read_text()) for k in (1, 2)]
    ids = [{x["id"] for x in part["images"]} for part in (*val, *train_sets)]
    assert ids[0] | ids[1] == set(range(6)) and ids[0] == ids[3] and ids[1] == ids[2]
    found = json.loads((out / "detections.json").read_text())
    assert {x["image_id"] for x in found} == set(range(6))
    summary = json.loads((out / "folds.json").read_text())
    for k, measured in enumerate(summary["folds"], 1):
        [results] = json.loads((out / f"fold{k}/inference/results.json").read_text()).values()
        assert measured["segm"]["AP"] == results["segm"]["AP"]
    assert summary["pooled"].keys() == {"segm", "bbox"}
    table = (out / "folds.md").read_text()
    assert table in printed and "mean ± standard deviation" in table and "all folds" in table

    with pytest.raises(SystemExit, match="holds the results of other settings"):
        train("--resume", "--epochs", 3)
    with pytest.raises(FileExistsError, match="has more than 1 folds"):
        tool.refuse_folds(out, 1, True)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--folds", 1], "--folds is 1. It is the number of parts, 2 or more"),
        (["--val-fraction", 0.2], "--folds and --val-fraction both say what to evaluate on"),
        (["--val-json", "b", "--val-images", "c"], "--folds and --val-json .* both say"),
        (["--eval-only"], "--folds trains. To evaluate a fold again, use scnet eval"),
        (["--num-machines", 2], "on one machine"),
        (["--folds", 7], "'.*set.json' has 6 images .* --folds 7 leaves none of them to evaluate"),
    ],
)
def test_what_does_not_go_together(train, started, words, more, message, tmp_path):
    if more[0] == "--folds":
        del words[words.index("--folds") : words.index("--folds") + 2]
    with pytest.raises(SystemExit, match=f"scnet train: .*{message}"):
        train(*more)
    assert not started and not list(tmp_path.glob("out/*/*.pth"))


def test_the_table_has_means_and_deviations(tmp_path):
    measured = [{"segm": {"AP": x, "AP50": nan, "AR": x / 2}} for x in (10.0, 20.0, 30.0)]
    measured[0]["segm"]["AP50"] = 50.0
    text = tool.write_summary(measured, {"segm": {"AP": 12.5}}, str(tmp_path / "folds"))
    rows = [[x.strip() for x in line.split("|")[2:5]] for line in text.splitlines()[2:]]
    assert rows == [
        ["fold 1", "10.0", "50.0"],
        ["fold 2", "20.0", "–"],
        ["fold 3", "30.0", "–"],
        ["mean ± standard deviation", "20.0 ± 10.0", "50.0"],
        ["all folds at once", "12.5", "–"],
    ]


def test_a_training_that_was_stopped_is_not_done(tmp_path, monkeypatch):
    """SIGTERM lets it end with the status 0, and it goes on another time."""
    monkeypatch.setattr(runs, "wait_for", lambda line: 0)
    with pytest.raises(ChildProcessError, match="stopped before its end. Start it again"):
        runs.run(["x"], tmp_path / "run", "settings", is_finished)


def test_signals_let_the_training_end_by_itself():
    """After Ctrl-C it is waited for, and SIGTERM is passed on to it."""
    child = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getppid(), signal.SIGINT)
time.sleep(0.5)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(5)
"""
    before = signal.getsignal(signal.SIGTERM)
    assert runs.wait_for([sys.executable, "-c", child]) == 7
    assert signal.getsignal(signal.SIGTERM) == before
