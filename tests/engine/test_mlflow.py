"""MLflow beside TensorBoard."""

import logging
import sys

import pytest
from detectron2.utils.events import EventStorage

from scnet.engine.mlflow_writer import MLflowWriter, make_mlflow_writer


@pytest.fixture
def client(monkeypatch, tmp_path):
    """MLflow's, of a store in a folder."""
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return mlflow.MlflowClient(f"file://{tmp_path}/store")


def test_it_is_asked_for_but_not_there(tiny_cfg, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    tiny_cfg.MLFLOW.EXPERIMENT = "mine"
    with pytest.raises(ValueError, match="MLFLOW.EXPERIMENT is 'mine'.*pip install mlflow-skinny"):
        make_mlflow_writer(tiny_cfg)


def test_it_cannot_be_used_at_the_start(client, tiny_cfg, monkeypatch):
    """The password that is in the address is not in the message."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tiny_cfg.MLFLOW.EXPERIMENT = "mine"
    tiny_cfg.MLFLOW.TRACKING_URI = "http://me:secret@127.0.0.1:9"
    with pytest.raises(OSError, match="MLflow at http://127.0.0.1:9 cannot be used: ") as info:
        make_mlflow_writer(tiny_cfg)
    assert "secret" not in str(info.value)


@pytest.mark.slow
def test_a_training_and_its_second_half(client, make_trainer, tmp_path, lines_of):
    """One run in MLflow has the config and the numbers of metrics.json."""
    opts = ["MLFLOW.EXPERIMENT", "mine", "MLFLOW.TRACKING_URI", f"file://{tmp_path}/store"]
    make_trainer(*opts, "SOLVER.MAX_ITER", 2).train()
    run_id = (tmp_path / "run/mlflow_id").read_text()
    assert client.get_run(run_id).info.status == "FINISHED"
    make_trainer(*opts, resume=True).train()
    experiment = client.get_experiment_by_name("mine")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == run_id and run.info.run_name == "run"
    assert run.data.params["SOLVER.MAX_ITER"] == "2" and len(run.data.params) > 250
    expected = {
        x["iteration"]: x["total_loss"]
        for x in lines_of(tmp_path / "run/metrics.json")
        if "total_loss" in x
    }
    history = client.get_metric_history(run_id, "total_loss")
    assert {x.step: x.value for x in history} == expected and len(expected) == 2


def test_a_server_that_fails_for_a_time(client, tmp_path, caplog):
    """The training goes on; what was not sent is sent later, once. One warning."""
    run = client.create_run(client.create_experiment("mine"))
    log_batch, fails = client.log_batch, True

    def sometimes(*args, **kwargs):
        if fails:
            raise ConnectionError("no route")
        log_batch(*args, **kwargs)

    client.log_batch = sometimes
    writer = MLflowWriter(client, run.info.run_id, str(tmp_path))
    caplog.set_level(logging.WARNING)
    with EventStorage() as storage:
        for step in range(4):
            storage.iter = step
            if not step:
                storage.put_scalar("once", 1.0)
            storage.put_scalars(
                **{"loss": float(step), "segm/AP-cañón?": 1.0, "nothing": float("nan")}
            )
            writer.write()
            writer._thread.submit(lambda: None).result()
            fails = step < 2
        writer.close()
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [x.step for x in history] == [0, 1, 2, 3]
    assert len(client.get_metric_history(run.info.run_id, "once")) == 1
    metrics = client.get_run(run.info.run_id).data.metrics
    assert "nothing" not in metrics and "segm/AP-cañón_" in metrics
    assert caplog.text.count("The training goes on") == 1 and "no route" in caplog.text
    assert client.get_run(run.info.run_id).info.status == "KILLED"  # there is no model_final.pth


def test_a_server_that_does_not_come_back(client, tmp_path, caplog):
    run = client.create_run(client.create_experiment("mine"))

    def never(*args, **kwargs):
        raise ConnectionError("no route")

    client.log_batch = client.set_terminated = never
    writer = MLflowWriter(client, run.info.run_id, str(tmp_path))
    with EventStorage() as storage:
        storage.put_scalar("loss", 1.0)
        writer.write()
        writer.close()
    assert "MLflow has not got all numbers. metrics.json has them" in caplog.text
