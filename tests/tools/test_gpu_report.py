"""The page of gpu_report.py, measured at a tiny size on a CPU."""

import re
import sys

import pytest
import torch

from helpers import REPOSITORY, TINY
from scnet.engine import step_benchmark
from scnet.inference import benchmark
from scnet_tools import gpu_report, speed_report, speed_runs
from scnet_tools.speed_runs import BASELINE, MODELS, OWN_MODELS

NARROW = [
    *TINY,
    *("MODEL.RESNETS.WIDTH_PER_GROUP", "8", "MODEL.RESNETS.STEM_OUT_CHANNELS", "16"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "32", "CUDNN_BENCHMARK", "True"),
]
GFLOPS_PER_SECOND = 3.0
OPTIMIZED = ", optimize_for_inference"
OWN = list(OWN_MODELS.values())
ALL = list(MODELS.values())


def start(*args, opts=NARROW):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu_report.py", *map(str, args), "--opts", *opts])
        gpu_report.main()


def tables(text):
    """(part of the page, title) -> the flags, and the rows: a dict of the cells of each."""
    found = {}
    for part, body in re.findall(r"^## (\w+):.*?\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL):
        for title, flags, table in re.findall(r"### (.*)\n\n(.*)\n\n((?:\|.*\n)+)", body):
            lines = [[c.strip() for c in x.strip("|").split("|")] for x in table.splitlines()]
            header, _, *rows = lines
            found[part, title] = (flags, [dict(zip(header, row, strict=True)) for row in rows])
    return found


@pytest.fixture
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
def test_the_page(tmp_path, flags_restored, monkeypatch, capsys):
    for module in (benchmark, step_benchmark):
        monkeypatch.setattr(module, "matrix_product_speed", lambda settings: GFLOPS_PER_SECOND)
    fixed = ["--device", "cpu", "--size", 64, 96, "--rounds", 1, "--warmup", 0]
    start("--output", tmp_path / "out", *fixed)
    text = (tmp_path / "out/gpu_report.md").read_text()
    assert text in capsys.readouterr().out

    found = tables(text)
    models = {key: [row["model"] for row in rows] for key, (_, rows) in found.items()}
    assert models == {
        ("Inference", "float32"): ALL,
        ("Inference", f"float32{OPTIMIZED}"): ALL,
        ("Inference", "bfloat16"): ALL,
        ("Inference", f"bfloat16{OPTIMIZED}"): OWN,
        ("Training", "float32"): ALL,
        ("Training", "bfloat16"): ALL,
    }
    by_the_paper = ["0.726", "1.000", "1.000", "–", "–"]  # 4.5 / 6.2, 4.5 / 4.5 of its Table 1
    gflops = {}
    for (part, title), (flags, rows) in found.items():
        assert flags == (
            "In force: TF32 in convolutions no, matrix products no, on a GPU that has it; "
            "cudnn.benchmark yes."
        )
        seconds = {row["model"]: float(row["seconds"]) for row in rows}
        for row in rows:
            time = seconds[row["model"]]
            ratio = time / seconds[MODELS[BASELINE]]  # of numbers with four digits
            assert float(row["ratio"]) == pytest.approx(ratio, abs=6e-4 + 1e-3 * ratio)
            assert 0 < float(row["min"]) <= time <= float(row["max"])
            assert row["MiB"] == "–"
            assert row["channels_last"] == ("yes" if OPTIMIZED in title else "no")
            # The work of a model does not depend on the precision.
            work = float(row["of limit"]) * time * GFLOPS_PER_SECOND
            assert gflops.setdefault((part, row["model"]), work) == pytest.approx(work, rel=0.05)
        if part == "Inference":
            assert [row["paper"] for row in rows] == by_the_paper[: len(rows)]
            assert {row["detections"] for row in rows} == {"5"}
        else:
            assert not {"paper", "detections"} & rows[0].keys()
    for model in ALL:  # two images per step, forward and backward
        assert gflops["Training", model] > 4 * gflops["Inference", model] > 0

    left_out = text.split("## Left out\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.split(": ")[0] for line in left_out] == [
        "- Peak memory",
        "- TF32",
        "- float16",
        f"- bfloat16{OPTIMIZED}",
    ]
    assert all(model in left_out[-1] for model in ALL if model not in OWN)
    assert text.startswith("# Speed on cpu (")
    assert torch.__version__ in text and "'MODEL.RESNETS.RES2_OUT_CHANNELS' '32'" in text
    assert "GPU available" in text.split("## Hardware and versions")[1]


ROWS = [{"config": name, "total": 2.0, "MiB": 7} for name in MODELS]


@pytest.fixture
def pretend(monkeypatch):
    """A GPU of a compute capability: pretend((8, 0)); what is measured on it is ROWS."""

    def pretend(capability, failing=(), error=None):
        def measure_step(file, settings):
            (row,) = [row for row in ROWS if f"{row['config']}.yaml" in file]
            if (settings.dtype, row["config"]) == failing:
                raise error
            return row

        def of_all(settings):
            tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
            measured.append((settings.dtype, settings.optimize, *tf32))
            return [row for row in ROWS if any(row["config"] in x for x in settings.config_files)]

        measured = []
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA X")
        monkeypatch.setattr(speed_runs, "measure_step", measure_step)
        monkeypatch.setattr(speed_runs, "measure_speed", of_all)
        monkeypatch.setattr(speed_runs, "measure_memory", lambda s: range(len(s.config_files)))
        files = [f"{model}.yaml" for model in MODELS]
        return speed_runs.measure(benchmark.Settings(files)), measured

    return pretend


def test_a_gpu_has_all_precisions_with_the_flags_that_belong_to_them(pretend, flags_restored):
    (inference, training, left_out), measured = pretend((8, 0))
    assert measured == [
        (dtype, optimize, tf32, tf32)
        for dtype, tf32 in (
            *(("float32", False), ("float32", True)),
            *(("float16", False), ("bfloat16", False)),
        )
        for optimize in (False, True)
    ]
    names = ["float32", "TF32", "float16", "bfloat16"]
    assert [s.title for s in training] == names
    assert [s.title for s in inference] == [x for name in names for x in (name, name + OPTIMIZED)]
    for section in (*inference, *training):
        word = "yes" if section.title.startswith("TF32") else "no"
        assert f"TF32 in convolutions {word}, matrix products {word}" in section.flags
    assert [row["MiB"] for row in inference[0].rows] == [0, 1, 2, 3, 4]
    assert [x.split(":")[0] for x in left_out] == [n + OPTIMIZED for n in ("float16", "bfloat16")]


def test_what_an_older_gpu_does_not_have_is_named(pretend, flags_restored):
    (inference, training, left_out), _ = pretend((7, 5))
    assert [section.title for section in training] == ["float32", "float16"]
    assert len(inference) == 4
    reason = "cuda (NVIDIA X) has compute capability 7.5; Ampere's is 8.0."
    assert {f"TF32: {reason}", f"bfloat16: {reason}"} < set(left_out)


@pytest.mark.parametrize(
    "error, reason",
    [
        (torch.cuda.OutOfMemoryError, "The GPU has too little memory."),
        (FloatingPointError, "A loss or a gradient is not finite."),
    ],
)
def test_what_fails_is_named_and_the_rest_measured(pretend, flags_restored, error, reason):
    (_, training, left_out), _ = pretend((8, 0), ("float16", BASELINE), error)
    assert f"Training, float16, {MODELS[BASELINE]}: {reason}" in left_out
    by_title = {section.title: section.rows for section in training}
    assert [row["config"] for row in by_title["float16"]] == [m for m in MODELS if m != BASELINE]
    assert {row["ratio"] for row in by_title["float16"]} == {None}
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
    args, opts, message, monkeypatch, tmp_path, flags_restored
):
    (tmp_path / "gpu_report.md").write_text("mine")
    monkeypatch.setattr(speed_report, "measure", None)
    words = ["--output", tmp_path, *(word.format(folder=tmp_path) for word in args)]
    message = re.escape(message.format(folder=tmp_path))
    with pytest.raises(SystemExit, match=f"^gpu_report.py: .*{message}") as error:
        start("--device", "cpu", *words, opts=opts)
    assert "\n" not in str(error.value)
    assert [x.name for x in tmp_path.iterdir()] == ["gpu_report.md"]
    assert (tmp_path / "gpu_report.md").read_text() == "mine"


def test_every_model_is_a_shipped_config():
    for model in MODELS:
        assert (REPOSITORY / f"projects/SCNet/configs/{model}.yaml").is_file()
