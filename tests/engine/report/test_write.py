"""When a report is written, and what it leaves as it is."""

import random
import sys

import numpy as np
import pytest
import torch

from report_sets import report
from scnet_tools import evaluate


def test_a_report_has_no_chance_in_it(example, metrics):
    """And it leaves the random numbers as they are."""
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    report(example, "again.html")
    assert states == [
        *(random.getstate(), np.random.get_state()[1].tolist()),
        torch.get_rng_state().tolist(),
    ]
    assert (example / "again.html").read_text() == (example / "report.html").read_text()


def test_files_stay_as_they_are(example, metrics):
    before = (example / "set.json").read_bytes(), (example / "report.html").read_bytes()
    with pytest.raises(FileExistsError, match="report.html' .* add --overwrite"):
        report(example)
    with pytest.raises(ValueError, match="set.json' is read"):
        report(example, "set.json", overwrite=True)
    report(example, overwrite=True)
    assert before == ((example / "set.json").read_bytes(), (example / "report.html").read_bytes())


def test_the_tool(example, monkeypatch, capsys):
    def start(*words):
        data = ["--val-json", "set.json", "--val-images", "."]
        monkeypatch.setattr(sys, "argv", ["scnet eval", *data, "--output", "new", *words])
        evaluate.main()

    monkeypatch.chdir(example)
    start("--results", "results.json")
    assert "The report is new/report.html." in capsys.readouterr().out
    page = (example / "new/report.html").read_text()
    assert "eval&#39; --val-json set.json --val-images . --output new --results" in page
    for words, message in (
        (["--results", "gone.json", "--overwrite"], "'gone.json' does not exist"),
        (["--results", "results.json"], "report.html' exists already.*--overwrite"),
        (["--results", "results.json", "SEED", "1"], "has no config: leave out"),
        (["--results", "results.json", "--val-json", "b"], "needs --val-json .* each once"),
    ):
        with pytest.raises(SystemExit, match=f"^scnet eval: .*{message}"):
            start(*words)
    assert (example / "new/report.html").read_text() == page
