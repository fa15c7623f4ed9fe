"""MLflow, which can follow a training beside TensorBoard."""

import logging
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor, wait
from math import isfinite
from pathlib import Path
from typing import Any, List, Sequence

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from ..config_mistakes import known_keys, value_of
from ..whole_files import whole_file
from .measured import FINAL

logger = logging.getLogger(__name__)

WINDOW = 20  # iterations whose median is taken, as in metrics.json
METRICS, PARAMETERS = 1000, 100  # that MLflow takes at a time
LONGEST = 6000  # text of a parameter
LAST_WAIT = 60.0  # seconds at the end of a training


class MLflowWriter(EventWriter):
    """Sends the numbers of metrics.json from a thread: a slow server does not hold the training up.

    What cannot be sent waits for the next time. The log says once that the server fails.
    """

    def __init__(self, client: Any, run_id: str, folder: str):
        """
        Args:
            client: MLflow's.
            run_id: of the run that gets the numbers.
            folder: OUTPUT_DIR.
        """
        self.client, self.run_id, self.folder = client, run_id, folder
        self.fails = False
        self.unsent: List[Any] = []  # of the thread alone
        self._last = -1
        self._thread = ThreadPoolExecutor(1, "mlflow")

    def write(self) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        latest = get_event_storage().latest_with_smoothing_hint(WINDOW)
        new = {name: (x, when) for name, (x, when) in latest.items() if when > self._last}
        self._last = max([self._last, *(when for _, when in new.values())])
        numbers = [
            Metric(_allowed(name), float(x), now, when)
            for name, (x, when) in new.items()
            if isfinite(x)
        ]
        self._thread.submit(self._send, numbers)

    def close(self) -> None:
        """Send the rest, and say whether the training has come to its end."""
        finished = os.path.isfile(os.path.join(self.folder, FINAL))
        last = self._thread.submit(self._end, "FINISHED" if finished else "KILLED")
        wait([last], LAST_WAIT)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if not last.done() or self.unsent:
            logger.warning("MLflow has not got all numbers. metrics.json has them.")

    def _send(self, numbers: Sequence[Any]) -> None:
        from mlflow.exceptions import MlflowException

        self.unsent += numbers
        try:
            while self.unsent:
                self.client.log_batch(self.run_id, metrics=self.unsent[:METRICS])
                del self.unsent[:METRICS]
            self.fails = False
        except (MlflowException, OSError) as error:
            self._say(error)

    def _end(self, status: str) -> None:
        from mlflow.exceptions import MlflowException

        self._send([])
        try:
            self.client.set_terminated(self.run_id, status)
        except (MlflowException, OSError) as error:
            self._say(error)

    def _say(self, error: Exception) -> None:
        if not self.fails:
            logger.warning(
                f"MLflow gets no numbers for now ({_short(error)}). The training goes on."
            )
        self.fails = True


def make_mlflow_writer(cfg: CfgNode) -> MLflowWriter:
    """Let MLflow follow a training; a run that is resumed goes on there.

    Args:
        cfg: of the training; a new run gets it as its parameters.

    Raises:
        ValueError: MLflow is not installed.
        OSError: it cannot be used at the start of the training.
    """
    key = f"MLFLOW.EXPERIMENT is '{cfg.MLFLOW.EXPERIMENT}', but MLflow"
    way_out = "Or set MLFLOW.EXPERIMENT ''."
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise ValueError(f"{key} is not installed: pip install mlflow-skinny. {way_out}") from error
    uri = cfg.MLFLOW.TRACKING_URI
    try:
        client = MlflowClient(uri or None)
        run = _find_run(client, cfg)
    except (MlflowException, OSError) as error:
        where = f" at {_public(uri)}" if uri else ""
        raise OSError(f"{key}{where} cannot be used: {_short(error)}. {way_out}") from error
    ids = f"experiment {run.info.experiment_id}, run {run.info.run_id}"
    logger.info(f"MLflow at {_public(client.tracking_uri)} follows: {ids}.")
    return MLflowWriter(client, run.info.run_id, cfg.OUTPUT_DIR)


def _find_run(client: Any, cfg: CfgNode) -> Any:
    """Go on with the run that OUTPUT_DIR names, or begin one."""
    from mlflow.entities import Param

    id_file = Path(cfg.OUTPUT_DIR, "mlflow_id")
    if id_file.exists():
        run_id = id_file.read_text()
        client.update_run(run_id, status="RUNNING")
        return client.get_run(run_id)
    name = cfg.MLFLOW.EXPERIMENT
    experiment = client.get_experiment_by_name(name)
    number = experiment.experiment_id if experiment else client.create_experiment(name)
    run = client.create_run(number, run_name=os.path.basename(os.path.abspath(cfg.OUTPUT_DIR)))
    values = [(key, str(value_of(cfg, key))[:LONGEST]) for key in sorted(known_keys(cfg))]
    for k in range(0, len(values), PARAMETERS):
        part = [Param(key, value) for key, value in values[k : k + PARAMETERS]]
        client.log_batch(run.info.run_id, params=part)
    with whole_file(str(id_file)) as f:
        f.write(run.info.run_id)
    return run


def _allowed(name: str) -> str:
    """The name of a metric in the letters that MLflow takes; names of classes may have others."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]


def _short(error: Exception) -> str:
    return _public(" ".join(str(error).split()))[:300].rstrip(".")


def _public(text: str) -> str:
    """A text with the addresses in it, but without the names and passwords in these."""
    return re.sub(r"//[^@/\s]*@", "//", text)
