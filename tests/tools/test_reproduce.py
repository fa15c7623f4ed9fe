import csv
import json
import shlex
import sys

import pytest
import yaml

from helpers import TINY
from scnet.config import CONFIG_DIR
from scnet_tools import paper_runs as tool
from scnet_tools import reproduce

SCRIPT = "projects/SCNet/tools/reproduce.py"
METRICS = {"AP": 10.0, "AP50": 20.0, "AP75": 30.0, "APs": 1.0, "APm": 2.0, "APl": float("nan")}


@pytest.fixture
def dry_run(monkeypatch):
    def dry_run(*args):
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, args), "--dry-run"])
        reproduce.main()

    return dry_run


@pytest.fixture
def commands(dry_run, capsys):
    """The commands that a dry run prints, each as a dict of its KEY VALUE pairs."""

    def commands(*args):
        dry_run(*args)
        out = capsys.readouterr().out
        lines = [shlex.split(x) for x in out.splitlines() if "train_net" in x]
        parsed = []
        for line in lines:
            start = line.index("--config-file")
            pairs = line[start + 2 :]
            parsed.append({"config": line[start + 1], **dict(zip(pairs[::2], pairs[1::2]))})
        return parsed

    return commands


def test_every_row_has_its_config_and_its_published_values():
    shipped = {str(p.relative_to(CONFIG_DIR))[:-5] for p in CONFIG_DIR.glob("ablations/*.yaml")}
    used = {row.config for table in tool.TABLES.values() for row in table.rows}
    assert shipped <= used
    for table in tool.TABLES.values():
        for row in table.rows:
            assert (CONFIG_DIR / f"{row.config}.yaml").is_file()
            assert len(row.labels) == len(table.label_columns)
            assert len(row.paper) == len(table.value_columns)


@pytest.mark.parametrize("table", "12345")
def test_a_row_upon_coco_is_the_config_of_its_name(table):
    base = tool.get_config_file(tool.SCNET)
    for row in tool.TABLES[table].rows:
        cfg = yaml.safe_load(tool.model(base, table, row.config))
        expected = yaml.safe_load(tool.load(tool.get_config_file(f"{row.config}.yaml")).dump())
        for key in ("MODEL", "SOLVER", "INPUT"):
            assert cfg[key] == expected[key], row.config


def test_rows_that_are_the_same_model_are_trained_once():
    coco = tool.get_config_file(tool.SCNET)
    same = tool.run_name(coco, "2", "ablations/table2_row1_cascade_mask_rcnn")
    for number, row in {"3": "row1", "4": "row3"}.items():
        row = f"ablations/table{number}_{row}_cascade_mask_rcnn"
        assert tool.run_name(coco, number, row) == same
    names = {
        tool.run_name(coco, number, row.config)
        for number, table in tool.TABLES.items()
        for row in table.rows
        if number != "1"
    }
    assert len(names) == 13
    # The small model's own lambda is 1, not 3: there Table 5 tells them apart.
    shapes = tool.get_config_file("quickstart.yaml")
    lambdas = {tool.run_name(shapes, "5", row.config) for row in tool.TABLES["5"].rows}
    assert len(lambdas) == 6


def test_commands(commands):
    rows = commands("2", "--dataset", "shapes", "--schedule", 100, "--seeds", 1, 2, "--rows", 1, 6)
    assert [row["SEED"] for row in rows] == ["1", "2", "1", "2"]
    assert len({row["OUTPUT_DIR"] for row in rows}) == 4
    assert rows[0]["config"].endswith("quickstart.yaml")
    assert rows[0]["MODEL.SCNET.MASK_BRANCH"] == "per_stage"
    assert rows[0]["MODEL.SCNET.GLOBAL_CONTEXT.ENABLED"] == "False"
    assert rows[2]["MODEL.SCNET.MASK_BRANCH"] == "sample_consistency"
    assert rows[2]["MODEL.SCNET.GLOBAL_CONTEXT.ENABLED"] == "True"
    assert (rows[0]["SOLVER.MAX_ITER"], rows[0]["SOLVER.STEPS"]) == ("100", "(80, 95)")
    (one,) = commands("1", "--rows", 9, "--schedule", "1x", "--weights", "w.pth")
    assert one["config"].endswith("scnet_R_50_FPN_1x_coco.yaml")
    assert one["MODEL.WEIGHTS"] == "w.pth"


def test_what_does_not_go_together_is_refused(dry_run):
    for args, message in {
        ("1", "--dataset", "shapes"): "needs --dataset coco",
        ("2", "--dataset", "shapes", "--schedule", "1x"): "Give a number of iterations",
        ("2", "--dataset", "shapes", "--schedule", "2"): "iterations from 20",
        ("2", "--dataset", "nowhere.yaml"): "nowhere.yaml",
        ("3", "--rows", "4"): "rows 1 to 3",
        ("3", "--weights", "a.pth"): "1 files for 3 rows",
    }.items():
        with pytest.raises(SystemExit, match=f"reproduce.py: .*{message}"):
            dry_run(*args)


def test_table_has_mean_and_deviation_of_the_seeds_beside_the_paper(tmp_path):
    folders = []
    for seed, shift in enumerate((0.0, 2.0)):
        folders.append(tmp_path / f"seed{seed}")
        (folders[-1] / "inference").mkdir(parents=True)
        tasks = {"segm": METRICS, "bbox": {k: v + 40 + shift for k, v in METRICS.items()}}
        (folders[-1] / "inference/results.json").write_text(json.dumps({"some_set": tasks}))
        log = "Total inference pure compute time: 0:00:01 (0.250000 s / iter per device)"
        (folders[-1] / "log.txt").write_text(log.replace("0.25", "9.00") + "\n" + log)
    assert tool.read_results(tmp_path / "absent") is None
    runs = [tool.read_results(folder) for folder in folders]
    assert runs[0]["fps"] == 4
    table = tool.TABLES["2"]
    text = tool.write_table(table, [runs, *[[]] * 5], "shapes", tmp_path / "table2")
    first, second = text.splitlines()[4:6]
    assert "43.3 / 51.0 ± 1.4" in first and "37.4 / 10.0 ± 0.0" in first and "4.5 / 4.0" in first
    assert "38.8 / – " in second
    with open(tmp_path / "table2.csv") as f:
        rows = list(csv.DictReader(f))
    assert [r["APbb"] for r in rows if r["source"] == "measured"] == ["50.0", "52.0"]
    paper = [float(r["AP"]) for r in rows if r["source"] == "paper"]
    assert paper == [r.paper[0] for r in table.rows]


def test_it_trains_prints_and_does_not_train_again(run_here, environment, tmp_path):
    fixed = ["--dataset", "shapes", "--schedule", 20, "--rows", 2, "--output", tmp_path / "out"]
    opts = ["--opts", *TINY, "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2]
    first = run_here(SCRIPT, 3, *fixed, *opts, env=environment).stdout
    folder = tmp_path / "out/table3_row2_naive_sample_consistency/seed1"
    assert (folder / "model_final.pth").exists()
    assert "naive" in (tmp_path / "out/table3.md").read_text()
    weights = (folder / "model_final.pth").stat().st_mtime_ns
    again = run_here(SCRIPT, 3, *fixed, *opts, env=environment).stdout
    assert "done already" in again and (folder / "model_final.pth").stat().st_mtime_ns == weights
    assert first.splitlines()[-3:] == again.splitlines()[-3:]
    other = run_here(SCRIPT, 3, *fixed, *opts, "SOLVER.BASE_LR", 1, env=environment, check=False)
    assert other.returncode != 0 and "results of other settings" in other.stdout
