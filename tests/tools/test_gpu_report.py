"""The page of gpu_report.py, measured at a tiny size on a CPU."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from helpers import REPOSITORY, TINY
from scnet.engine import step_benchmark
from scnet.inference.benchmark import Settings, measure
from scnet.inference.benchmark.parts import PARTS
from scnet_tools import gpu_report, speed_report, speed_runs
from scnet_tools.speed_runs import BASELINE, MODELS, OWN_MODELS

NARROW = [
    *TINY,
    *("MODEL.RESNETS.WIDTH_PER_GROUP", "8", "MODEL.RESNETS.STEM_OUT_CHANNELS", "16"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "32", "CUDNN_BENCHMARK", "True"),
]
GFLOPS_PER_SECOND = 3.0
OWN, ALL = list(OWN_MODELS.values()), list(MODELS.values())
AS_IT_IS, OPTIMIZED = "as it is", "optimized"


def start(*args, opts=NARROW):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu_report.py", *map(str, args), "--opts", *opts])
        gpu_report.main()


def tables(text):
    """(precision, "inference" or "training") -> the flags, and the rows: a dict of cells each."""
    found = {}
    pattern = r"^### (\S+): (\w+), .*\n\n(.*)\n\n((?:\|.*\n)+)"
    for precision, what, flags, table in re.findall(pattern, text, re.MULTILINE):
        header, _, *rows = [
            [c.strip() for c in x.strip("|").split("|")] for x in table.splitlines()
        ]
        found[precision, what] = (flags, [dict(zip(header, row, strict=True)) for row in rows])
    return found


@pytest.fixture(autouse=True)
def flags_restored():
    """PyTorch's flags as they are without the tool: TF32 in convolutions only."""
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places], torch.backends.cudnn.benchmark
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    yield
    for place, value in zip(places, before[0]):
        place.allow_tf32 = value
    torch.backends.cudnn.benchmark = before[1]


@pytest.mark.slow
def test_the_page(tmp_path, monkeypatch, capsys):
    for module in (measure, step_benchmark):
        monkeypatch.setattr(module, "matrix_product_speed", lambda settings: GFLOPS_PER_SECOND)
    fixed = ["--device", "cpu", "--size", 64, 96, "--rounds", 1, "--warmup", 0, "--seeds"]
    start("--output", tmp_path / "out", *fixed)
    text = (tmp_path / "out/gpu_report.md").read_text()
    assert text in capsys.readouterr().out

    found = tables(text)
    ways = {key: [(row["model"], row["way"]) for row in rows] for key, (_, rows) in found.items()}
    as_it_is = [(model, AS_IT_IS) for model in ALL]
    for precision in ("float32", "bfloat16"):
        optimized = [(model, OPTIMIZED) for model in OWN]
        assert ways.pop((precision, "inference")) == as_it_is + optimized
        assert ways.pop((precision, "training")) == as_it_is
    assert not ways
    by_the_paper = ["0.726", "1.000", "1.000", "–", "–"]  # 4.5 / 6.2, 4.5 / 4.5 of its Table 1
    gflops = {}
    for (_, what), (flags, rows) in found.items():
        assert flags == (
            "In force: TF32 in convolutions no, matrix products no, on a GPU that has it; "
            "cudnn.benchmark yes."
        )
        seconds = {(row["model"], row["way"]): float(row["seconds"]) for row in rows}
        for row in rows:
            time = seconds[row["model"], row["way"]]
            ratio = time / seconds[MODELS[BASELINE], row["way"]]  # of numbers with four digits
            assert float(row["ratio"]) == pytest.approx(ratio, abs=6e-4 + 1e-3 * ratio)
            assert 0 < float(row["min"]) <= time <= float(row["max"])
            assert row["MiB"] == "–"
            assert row["channels last"] == ("yes" if row["way"] == OPTIMIZED else "no")
            # The work of a model does not depend on the precision.
            work = float(row["of limit"]) * time * GFLOPS_PER_SECOND
            assert gflops.setdefault((what, row["model"]), work) == pytest.approx(work, rel=0.05)
        if what == "inference":
            assert [row["paper"] for row in rows] == by_the_paper + by_the_paper[:3]
            assert {row["detections"] for row in rows} == {"5"}
            for row in rows:
                parts = [row[part] for part in (*PARTS, "other")]
                assert sum(map(float, parts)) == pytest.approx(float(row["seconds"]), rel=0.01)
        else:
            assert not {"paper", "detections", "masks"} & rows[0].keys()
    for model in ALL:  # two images per step, forward and backward
        assert gflops["training", model] > 4 * gflops["inference", model] > 0

    left_out = text.split("### Left out\n\n")[1].split("\n\n")[0].splitlines()
    names = ["- Peak memory", "- Compiled", "- TF32", "- float16"]
    assert [x.split(": ")[0] for x in left_out] == names
    assert text.startswith("# SCNet on cpu (")
    assert torch.__version__ in text and "'MODEL.RESNETS.RES2_OUT_CHANNELS' '32'" in text
    assert "GPU available" in text.split("## Hardware and versions")[1]
    assert "Left out, without --seeds." in text.split("## Table 2 of the paper")[1]
    tests = text.split("## Tests on a GPU")[1].split("## Speed")[0]
    assert re.search(r"\d+ (passed|skipped)", tests) and "failed" not in tests


def test_table_2_comes_after_a_page_without_it(tmp_path, monkeypatch):
    path, asked = tmp_path / "gpu_report.md", []

    def reproduce(args):
        asked.append(args)
        assert path.read_text().count("Not finished yet.") == 1
        (tmp_path / "table2").mkdir()
        (tmp_path / "table2/table2.md").write_text("| the table |\n")

    monkeypatch.setattr(speed_report, "measure", lambda settings: ([], []))
    monkeypatch.setattr(speed_report, "run_tests", lambda: "## Tests on a GPU")
    monkeypatch.setattr(speed_report, "reproduce", reproduce)
    start("--device", "cpu", "--output", tmp_path)
    assert (asked[0].table, asked[0].dataset, asked[0].seeds) == ("2", "shapes", [1, 2, 3, 4, 5])
    assert asked[0].opts == ["MODEL.DEVICE", "cpu"]
    assert "## Table 2 of the paper\n\n| the table |\n\n## Hardware" in path.read_text()


def test_the_tests_are_those_that_need_a_gpu(monkeypatch):
    def run(command, **kwargs):
        assert command[1:] == ["-m", "pytest", "-q", "-m", "gpu", str(speed_report.TESTS)]
        return subprocess.CompletedProcess(command, 1, "1 failed\n", "a warning")

    assert speed_report.TESTS == REPOSITORY / "tests/test_gpu.py"
    monkeypatch.setattr(subprocess, "run", run)
    assert speed_report.run_tests() == "## Tests on a GPU\n\n```text\n1 failed\na warning\n```"
    monkeypatch.setattr(speed_report, "TESTS", Path("nowhere"))
    assert "in the repository, not in the installed package" in speed_report.run_tests()


ROWS = [{"config": name, "total": 2.0, "MiB": 7} for name in MODELS]


@pytest.fixture
def pretend(monkeypatch):
    """A GPU of a compute capability: pretend((8, 0)); what is measured on it is ROWS."""

    def pretend(capability, failing=(), error=None, compiler=lambda device: None):
        def measure_step(file, settings):
            (row,) = [row for row in ROWS if f"{row['config']}.yaml" in file]
            if (settings.dtype, row["config"]) == failing:
                raise error
            return row

        def of_all(settings):
            tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            measured.append((settings.dtype, settings.optimize, settings.compile, *tf32))
            return [row for row in ROWS if any(row["config"] in x for x in settings.config_files)]

        measured = []
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA X")
        monkeypatch.setattr(speed_runs, "check_compiler", compiler)
        monkeypatch.setattr(speed_runs, "measure_step", measure_step)
        monkeypatch.setattr(speed_runs, "measure_speed", of_all)
        monkeypatch.setattr(speed_runs, "measure_memory", lambda s: range(len(s.config_files)))
        files = [f"{model}.yaml" for model in MODELS]
        return *speed_runs.measure(Settings(files)), measured

    return pretend


def test_a_gpu_has_all_precisions_with_the_flags_that_belong_to_them(pretend):
    sections, left_out, measured = pretend((8, 0))
    precisions = [("float32", False), ("float32", True), ("float16", False), ("bfloat16", False)]
    ways = [(False, False), (True, False), (True, True)]
    assert measured == [(dtype, *way, tf32, tf32) for dtype, tf32 in precisions for way in ways]
    assert [s.title for s in sections] == ["float32", "TF32", "float16", "bfloat16"]
    for section in sections:
        word = "yes" if section.title == "TF32" else "no"
        assert f"TF32 in convolutions {word}, matrix products {word}" in section.flags
    assert [row["MiB"] for row in sections[0].inference] == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2]
    assert not left_out


def test_what_an_older_gpu_does_not_have_is_named(pretend):
    sections, left_out, _ = pretend((7, 5))
    assert [section.title for section in sections] == ["float32", "float16"]
    reason = "cuda (NVIDIA X) has compute capability 7.5; Ampere's is 8.0."
    assert left_out == [f"TF32: {reason}", f"bfloat16: {reason}"]


def test_without_a_compiler_the_rest_is_measured(pretend):
    def compiler(device):
        raise ValueError("There is none.")

    sections, left_out, measured = pretend((8, 0), compiler=compiler)
    assert left_out == ["Compiled: There is none."]
    assert len(measured) == 2 * len(sections) == 8
    assert {row["way"] for section in sections for row in section.training} == {AS_IT_IS}


@pytest.mark.parametrize(
    "error, reason",
    [
        (torch.cuda.OutOfMemoryError, "The GPU has too little memory."),
        (FloatingPointError, "A loss is not finite."),
        (TorchDynamoException("No.\nLong"), "torch.compile failed. No."),
    ],
)
def test_what_fails_is_named_and_the_rest_measured(pretend, error, reason):
    sections, left_out, _ = pretend((8, 0), ("float16", BASELINE), error)
    assert left_out == [
        f"Training, float16, {way}, {MODELS[BASELINE]}: {reason}" for way in (AS_IT_IS, "compiled")
    ]
    by_title = {section.title: section.training for section in sections}
    others = [m for m in (*MODELS, *OWN_MODELS) if m != BASELINE]
    assert [row["config"] for row in by_title["float16"]] == others
    assert {str(row["ratio"]) for row in by_title["float16"]} == {"nan"}
    assert {row["ratio"] for row in by_title["bfloat16"]} == {1.0}


@pytest.mark.parametrize(
    "args, opts, message",
    [
        ([], [], "'{folder}' has gpu_report.md already. Choose another --output."),
        (["--output", "{folder}/gpu_report.md"], [], "is no folder, so nothing can be written"),
        (["--output", "{folder}/new"], ["SOLVER.TF32", "True"], "--opts has SOLVER.TF32, which"),
        (["--output", "{folder}/new", "--rounds", "0"], [], "must be 1 or more"),
        (["--output", "{folder}/new"], ["SOLVER.FUSE", "True"], "the nearest is SOLVER.FUSED"),
    ],
)
def test_mistakes_end_with_one_line_before_anything_is_measured(
    args, opts, message, monkeypatch, tmp_path
):
    (tmp_path / "gpu_report.md").write_text("mine")
    monkeypatch.setattr(speed_report, "run_tests", None)
    words = ["--output", tmp_path, *(word.format(folder=tmp_path) for word in args)]
    message = re.escape(message.format(folder=tmp_path))
    with pytest.raises(SystemExit, match=f"^gpu_report.py: .*{message}") as error:
        start("--device", "cpu", *words, opts=opts)
    assert "\n" not in str(error.value)
    assert [x.name for x in tmp_path.iterdir()] == ["gpu_report.md"]
    assert (tmp_path / "gpu_report.md").read_text() == "mine"
