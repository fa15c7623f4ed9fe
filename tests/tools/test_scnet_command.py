"""The command ``scnet`` and its tools."""

import json
import os
import subprocess
import sys

import pytest

import scnet
from helpers import REPOSITORY
from scnet_tools import __main__ as command
from scnet_tools import convert_mmdet_checkpoint, evaluate

CALL = """
import json, sys
from scnet_tools.__main__ import main
sys.argv = ["/somewhere/bin/scnet", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(json.dumps({"status": end.code, "modules": list(sys.modules)}))
"""


@pytest.fixture
def call(monkeypatch):
    """Call the command in this process."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/scnet", *map(str, words)])
        command.main()

    return call


@pytest.mark.parametrize("words, tool", [(["--help"], None), (["train", "--help"], "train_net")])
def test_help_imports_one_tool_and_nothing_heavy(words, tool):
    result = subprocess.run([sys.executable, "-c", CALL, *words], text=True, capture_output=True)
    *printed, last = result.stdout.splitlines()
    found = json.loads(last)
    assert found["status"] == 0
    assert printed[0].startswith(f"usage: {' '.join(['scnet', *words[:-1]])} [-h]")
    others = {f"scnet_tools.{module}" for module, _ in command.COMMANDS.values()}
    heavy = {"torch", "numpy", "detectron2", "scnet"} | others - {f"scnet_tools.{tool}"}
    assert not heavy & set(found["modules"])


def test_help_lists_all_commands(call, capsys):
    with pytest.raises(SystemExit):
        call("--help")
    words = capsys.readouterr().out.split()
    assert command.COMMANDS.keys() <= set(words)


def test_version(call, capsys):
    with pytest.raises(SystemExit):
        call("--version")
    assert capsys.readouterr().out == f"scnet {scnet.__version__}\n"


def test_every_tool_is_a_command():
    tools = {
        path.stem
        for path in (REPOSITORY / "projects/SCNet/tools").glob("*.py")
        if "\ndef main(" in path.read_text()
    }
    assert {module for module, _ in command.COMMANDS.values()} == tools - {"__main__"}


def test_messages_name_what_the_user_typed(call, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit, match="^scnet predict: Weights 'w' do not exist"):
        call("predict", "--weights", "w", "--input", tmp_path, "--output", tmp_path / "x")

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(convert_mmdet_checkpoint, "parse_args", interrupted)
    with pytest.raises(SystemExit):
        call("convert")
    assert capsys.readouterr().err == "\nscnet convert: ended by Ctrl-C.\n"


@pytest.fixture
def evaluation(monkeypatch, tmp_path):
    """evaluation(words): the arguments of train_net.py that ``scnet eval`` becomes."""
    (tmp_path / "model.pth").touch()

    def evaluation(*words):
        fixed = ["--weights", tmp_path / "model.pth", "--output", tmp_path / "out"]
        monkeypatch.setattr(sys, "argv", ["scnet eval", *map(str, [*fixed, *words])])
        return evaluate.as_training(evaluate.parse_args())

    return evaluation


def test_eval_is_training_without_training(evaluation, tmp_path):
    (tmp_path / "config.yaml").write_text("SEED: 1")
    args = evaluation("--val-json", "b.json", "--val-images", "b", "SEED", 7)
    assert args.eval_only and not args.resume
    assert (args.config_file, args.val_json) == (str(tmp_path / "config.yaml"), ["b.json"])
    assert (args.train_json, args.train_images) == ([], [])
    opts = dict(zip(args.opts[::2], args.opts[1::2]))
    assert opts["MODEL.WEIGHTS"] == str(tmp_path / "model.pth")
    assert opts["OUTPUT_DIR"] == str(tmp_path / "out") and opts["SEED"] == "7"
    assert evaluation("--config", "nuclei").config_file == "nuclei"


def test_eval_refuses(evaluation, tmp_path):
    with pytest.raises(ValueError, match="model.pth' need a config.*Give one.* --config"):
        evaluation()
    with pytest.raises(ValueError, match="OUTPUT_DIR has an argument of its own"):
        evaluation("--config", "nuclei", "OUTPUT_DIR", "x")
    os.makedirs(tmp_path / "out/inference")
    (tmp_path / "out/inference/results.json").write_text("{}")
    with pytest.raises(FileExistsError, match="results.json' exists already.*--overwrite"):
        evaluation("--config", "nuclei")
    evaluation("--config", "nuclei", "--overwrite")
