"""Read a data set in two processes, for test_distributed.py.

python reading.py JSON IMAGES: each process prints how often it has opened the json file, a digest
of the records of both splits, the classes, and the errors of a file that it cannot read.
"""

import json
import pickle
import sys
from hashlib import sha1

from detectron2.data import MetadataCatalog
from detectron2.engine import launch
from detectron2.utils import comm

from scnet import get_config_file
from scnet.config import read_cfg
from scnet.data.once_per_machine import packed_once_per_machine
from scnet.engine import Trainer
from scnet.engine.evaluation.load_for_evaluation import check_class_names
from scnet.engine.setup import configure_data
from scnet.engine.start_checks import check_best_metric


def digest(records):
    return sha1(pickle.dumps([records[k] for k in range(len(records))])).hexdigest()


def fail():
    raise ValueError("It cannot be read.")


def main(json_file, images):
    opened = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
    opts = ["DATASETS.TRAIN_JSON", (json_file,), "DATASETS.TRAIN_IMAGES", (images,)]
    opts += ["DATASETS.TEST_JSON", (json_file,), "DATASETS.TEST_IMAGES", (images,)]
    opts += ["MODEL.DEVICE", "cpu", "TEST.BEST_METRIC", "segm/AP-dog"]
    cfg = read_cfg(get_config_file("quickstart.yaml"), opts)
    decisions = configure_data(cfg, [])
    check_best_metric(cfg)
    check_class_names("It", ["cat", "dog"], cfg.DATASETS.TEST[0])
    train = Trainer.build_train_loader(cfg).records
    name = cfg.DATASETS.TRAIN[0]
    reads_to_train = opened.count(json_file)
    test = Trainer.build_test_loader(cfg, name).dataset._dataset
    errors = []
    for read in (fail, lambda: [{1: lambda: None}]):
        try:
            packed_once_per_machine(read)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    result = {
        "reads": reads_to_train,
        "decisions": len(decisions),
        "num_classes": cfg.MODEL.ROI_HEADS.NUM_CLASSES,
        "classes": MetadataCatalog.get(name).thing_classes,
        "train": digest(train),
        "test": digest(test),
        "error": errors[0],
    }
    for line in comm.gather(json.dumps(result)):
        print(f"process {line}", flush=True)


if __name__ == "__main__":
    launch(main, 2, dist_url="auto", args=sys.argv[1:])
