"""A training whose disk is full for a time goes on, and says so."""

import io
import logging
import sys
import threading
from contextlib import redirect_stderr
from functools import partial

import pytest
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from detectron2.utils.logger import setup_logger

from helpers import room_for
from scnet.engine.full_disk import (
    LOGGERS,
    PatientWriter,
    let_log_files_pause,
    let_writing_pause,
)


@pytest.fixture
def no_other_logs(monkeypatch):
    """The logs of other tests are not written to."""
    for name in LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])


def warnings(caplog):
    return [x.getMessage() for x in caplog.records if x.levelno == logging.WARNING]


def write_loss(writer, storage, value):
    storage.put_scalar("loss", value, smoothing_hint=False)
    writer.write()
    storage.step()


def test_metrics_pause(tmp_path, lines_of, caplog):
    path = tmp_path / "metrics.json"
    writer = PatientWriter(JSONWriter(str(path)), str(tmp_path))
    with EventStorage() as storage:
        write = partial(write_loss, writer, storage)
        write(0)
        for value in (1, 4):
            with room_for(path.stat().st_size + 5):
                write(value)
                write(value + 1)
            write(value + 2)
    assert [x["loss"] for x in lines_of(path)] == list(range(7))
    messages = warnings(caplog)
    assert len(messages) == 2  # once whenever the disk is full
    assert all(f"JSONWriter cannot write to '{tmp_path}': " in x for x in messages)


@pytest.mark.usefixtures("no_other_logs")
def test_tensorboard_pauses(tmp_path, monkeypatch, caplog):
    """Its thread says nothing by itself, and where there is room again it writes again."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    let_writing_pause()
    tensorboard = TensorboardXWriter(str(tmp_path), flush_secs=0)
    writer = PatientWriter(tensorboard, str(tmp_path))
    with EventStorage() as storage:
        write = partial(write_loss, writer, storage)
        write(0)
        tensorboard._writer.flush()
        [path] = tmp_path.iterdir()
        printed = io.StringIO()
        with room_for(path.stat().st_size), redirect_stderr(printed):
            write(1)
            tensorboard._writer.file_writer.event_writer._async_writer._worker.join()
            write(2)
        write(3)
        writer.close()
    assert len(warnings(caplog)) == 1
    assert printed.getvalue() == ""
    found = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [x.value for x in found] == [0, 3]

    def fail():
        raise OSError("not of TensorBoard")

    with redirect_stderr(printed):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert "not of TensorBoard" in printed.getvalue()


def test_other_errors_of_writers_are_raised(tmp_path):
    writer = PatientWriter(JSONWriter(str(tmp_path / "metrics.json")), str(tmp_path))
    with pytest.raises(AssertionError):  # there is no EventStorage
        writer.write()


@pytest.mark.usefixtures("no_other_logs")
def test_a_log_pauses(tmp_path):
    loggers = [logging.getLogger(name) for name in LOGGERS[:2]]
    for logger in loggers:
        setup_logger(str(tmp_path), name=logger.name, configure_stdout=False)
    let_log_files_pause()
    path = tmp_path / "log.txt"
    loggers[0].info("one")
    printed = []
    with room_for(path.stat().st_size + 5):
        sys.stderr.write = printed.append
        for logger in loggers:
            logger.info("two")
            logger.info("three")
    loggers[0].info("four")
    words = [line.split()[-1] for line in path.read_text().splitlines()]
    assert words == ["one", "two", "three", "two", "three", "four"]
    said = "".join(printed)
    assert said.startswith(f"The log '{path}' cannot be written: ") and said.count("\n") == 1


@pytest.mark.slow
def test_a_training_goes_on(make_trainer, tmp_path, caplog):
    """The metrics of its last step cannot be written, after its checkpoint."""
    trainer = make_trainer()
    room = room_for(0)

    class Fill(HookBase):
        def after_step(self):
            if self.trainer.iter + 1 == self.trainer.max_iter:
                room.__enter__()

        def after_train(self):
            room.__exit__(None, None, None)

    trainer.register_hooks([Fill()])
    trainer._hooks.insert(-2, trainer._hooks.pop())  # before the one of the metrics
    trainer.train()
    assert (tmp_path / "run/model_final.pth").exists()
    assert any("JSONWriter cannot write" in x for x in warnings(caplog))
