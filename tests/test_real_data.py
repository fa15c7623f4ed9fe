"""Real images through the command line: a few steps of training, then evaluation."""

import json
import os

from helpers import TINY

COMMON = ["SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, *TINY]


def results_of(output):
    (results,) = json.loads((output / "inference/results.json").read_text()).values()
    return results


def test_coco_with_stuff_maps(shared, run, tmp_path):
    opts = [
        *("DATASETS.TRAIN", "('coco_2017_train_stuffthingmaps',)"),
        *("DATASETS.TEST", "('coco_2017_val',)"),
        *("MODEL.ROI_HEADS.NUM_CLASSES", 80, "MODEL.SEM_SEG_HEAD.NUM_CLASSES", 183),
    ]
    run(
        *("train_net.py", "--config-file", "projects/SCNet/configs/quickstart.yaml"),
        *("OUTPUT_DIR", tmp_path, *COMMON, *opts),
        env={**os.environ, "DETECTRON2_DATASETS": str(shared / "datasets")},
    )
    assert set(results_of(tmp_path)) == {"bbox", "segm"}
    assert "AP-person" in results_of(tmp_path)["segm"]


def test_nuclei_with_rle_masks_and_one_class(shared, run_forked, tmp_path):
    nuclei = shared / "datasets/nuclei"
    data = []
    for part in ("train", "val"):
        data += [f"--{part}-json", nuclei / f"instances_{part}.json"]
        data += [f"--{part}-images", nuclei / part]
    result = run_forked(
        *("train_net.py", "--config-file", "projects/SCNet/configs/nuclei.yaml", *data),
        *("OUTPUT_DIR", tmp_path, *COMMON),
    )
    assert "MODEL.SCNET.SEMANTIC.SOURCE instances" in result.stdout
    metrics = (tmp_path / "metrics.json").read_text()
    assert "loss_mask" in metrics and "loss_sem_seg" in metrics
    assert set(results_of(tmp_path)) == {"bbox", "segm"}
