"""Images that cannot be used, in a training and in its evaluations; see ON_BROKEN_IMAGE."""

import shutil
import uuid
from itertools import islice
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

from helpers import CocoSet
from scnet import get_cfg, register_coco_json
from scnet.data.broken_images import BrokenImageError, most_to_skip, skips_broken_images
from scnet.data.datasets import shapes
from scnet.engine import step
from scnet.engine.evaluation.coco_evaluator import SCNetCOCOEvaluator
from scnet.engine.trainer import Trainer
from scnet_tools import train_net

pytestmark = pytest.mark.slow
SKIP = ["DATALOADER.ON_BROKEN_IMAGE", "skip"]


@pytest.fixture
def data(environment, tmp_path):
    """A copy of the built-in set, eight images for training and six to test, to be broken."""
    root = Path(environment["FVCORE_CACHE"], "scnet", f"shapes_v{shapes.VERSION}")
    return Path(shutil.copytree(root, tmp_path / f"data_{uuid.uuid4().hex[:8]}"))


@pytest.fixture
def train(make_trainer, data):
    """train(KEY, value, ..., output=...): the trainer after four steps, with the images of each.

    before(trainer) is called when it is ready.
    """
    places = {
        "DATASETS.TRAIN_JSON": data / "annotations/instances_train.json",
        "DATASETS.TRAIN_IMAGES": data / "train",
        "DATASETS.TRAIN_SEM_SEG": data / "stuffthingmaps/train",
    }
    places = [x for key, path in places.items() for x in (key, (str(path),))]

    def train(*opts, before=lambda trainer: None, **kwargs):
        trainer = make_trainer(*places, *opts, **kwargs)
        before(trainer)
        trainer.seen, step = [], trainer._trainer
        write = step._write_metrics

        def note(*args, **kwargs):
            trainer.seen.append([x["file_name"] for x in step.last_batch])
            write(*args, **kwargs)

        step._write_metrics = note
        trainer.error = None
        try:
            trainer.train()
        except BrokenImageError as error:
            trainer.error = error
        return trainer

    return train


def first_seen(trainer, step):
    """An image that a training takes in this step, and not before."""
    before = {name for batch in trainer.seen[:step] for name in batch}
    return Path(next(name for name in trainer.seen[step] if name not in before))


def weights(trainer):
    return torch.cat([x.flatten() for x in trainer.trained.state_dict().values()])


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("workers, parts, breaks", [(0, 1, Path.unlink), (2, 1, cut), (0, 2, cut)])
def test_a_broken_image_ends_the_training_with_a_checkpoint(
    train, tmp_path, workers, parts, breaks
):
    """Repaired, the training goes on as if it had not been interrupted."""
    opts = ["DATALOADER.NUM_WORKERS", workers, "SOLVER.GRADIENT_ACCUMULATION", parts]
    whole = train(*opts, output="whole")
    path = first_seen(whole, 2)
    kept = path.read_bytes()
    breaks(path)
    trainer = train(*opts)
    assert path.name in str(trainer.error) and "--resume" in str(trainer.error)
    assert "\n" not in str(trainer.error)  # no traceback of the process that loads the data
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000001.pth"
    assert torch.load(tmp_path / "run/model_0000001.pth")["iteration"] == 1
    assert not (tmp_path / "run/model_final.pth").exists()
    assert "stopped_by" not in vars(trainer)
    path.write_bytes(kept)
    resumed = train(*opts, resume=True)
    assert {**trainer.losses, **resumed.losses} == whole.losses
    assert list(resumed.losses) == [2, 3]
    assert torch.equal(weights(resumed), weights(whole))


PRECISE_BN = ["TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER", 2]


def break_while_statistics_are_computed(kept):
    """For `before`: an image of the second batch is gone; `kept` gets its path and content."""

    def change(trainer):
        update = trainer.precise_bn.update

        def broken(iterations):
            first, second = islice(trainer.data_loader.starting_at(iterations), 2)
            names = {x["file_name"] for x in second} - {x["file_name"] for x in first}
            path = Path(min(names))
            kept[path] = path.read_bytes()
            path.unlink()
            update(iterations)

        trainer.precise_bn.update = broken

    return change


def test_a_broken_image_among_those_of_batch_norm(train, tmp_path):
    """The model is kept as the steps left it; repaired, the run ends as if nothing had been."""
    kept = {}
    whole, plain = train(*PRECISE_BN, output="whole"), train(output="plain")
    trainer = train(*PRECISE_BN, before=break_while_statistics_are_computed(kept))
    ((path, content),) = kept.items()
    assert path.name in str(trainer.error)
    assert not (tmp_path / "run/model_final.pth").exists()
    assert torch.load(tmp_path / "run/model_0000003.pth")["iteration"] == 3
    assert torch.equal(weights(trainer), weights(plain))
    path.write_bytes(content)
    resumed = train(*PRECISE_BN, resume=True)
    assert not resumed.losses
    assert torch.equal(weights(resumed), weights(whole))
    assert not torch.equal(weights(resumed), weights(plain))


def test_an_image_skipped_among_those_of_batch_norm_is_named(train, caplog):
    kept = {}
    trainer = train(*PRECISE_BN, *SKIP, before=break_while_statistics_are_computed(kept))
    (path,) = kept
    assert trainer.error is None
    named = [x.getMessage() for x in caplog.records if path.name in x.getMessage()]
    assert len(named) == 2  # when it is met, and at the end


def test_a_broken_image_in_the_first_step(train, tmp_path):
    first_seen(train(output="whole"), 0).unlink()
    trainer = train()
    assert trainer.error and not trainer.losses
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_skipped_image_is_replaced_named_and_counted(train, tmp_path, caplog, lines_of):
    whole = train(output="whole")
    path = first_seen(whole, 1)
    path.unlink()
    caplog.clear()
    trainer = train(*SKIP, "SOLVER.CHECKPOINT_PERIOD", 2)
    assert trainer.error is None and len(trainer.losses) == 4
    assert all(str(path) not in batch for batch in trainer.seen)
    for batch, before in zip(trainer.seen, whole.seen):
        assert all(new == old for new, old in zip(batch, before) if old != str(path))
    assert trainer.losses[0] == whole.losses[0] and trainer.losses[1] != whole.losses[1]
    named = [x.getMessage() for x in caplog.records if path.name in x.getMessage()]
    assert len(named) == 2  # when it is met, and at the end
    assert f"'{path}' is skipped" in named[0] and "1 images" in named[1]
    assert lines_of(tmp_path / "run/metrics.json")[-1]["broken_images"] == 1
    # However it is loaded, and interrupted or not, the training is the same.
    again = train(*SKIP, "DATALOADER.NUM_WORKERS", 2, output="again")
    assert again.losses == trainer.losses
    (tmp_path / "run/last_checkpoint").write_text("model_0000001.pth")
    resumed = train(*SKIP, resume=True)
    assert list(resumed.losses) == [2, 3]
    assert torch.equal(weights(resumed), weights(trainer))


def test_no_more_images_are_skipped_than_may_be(train, data, tmp_path):
    """Of eight images it is one."""
    whole = train(output="whole")
    paths = [first_seen(whole, step) for step in (1, 3)]
    for path in paths:
        path.unlink()
    trainer = train(*SKIP)
    assert all(path.name in str(trainer.error) for path in paths)
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000002.pth"
    assert list(trainer.losses) == [0, 1, 2]
    for path in (data / "train").iterdir():
        path.unlink()
    trainer = train(*SKIP, output="none")  # and it does not look through all images for one
    assert len(trainer.error.broken) <= 2 * 2


def test_what_processes_skip_counts_together(train, monkeypatch, tmp_path):
    """Another process has met another image."""
    whole = train(output="whole")
    first_seen(whole, 2).unlink()
    monkeypatch.setattr(
        comm, "all_gather", lambda x: [x, ({"far.png": "far.png is empty."}, False)]
    )
    trainer = train(*SKIP)
    assert "far.png" in str(trainer.error) and list(trainer.losses) == [0, 1]


def test_a_process_stops_where_another_one_has_to(train, monkeypatch, tmp_path):
    """The numbers of a step say that another process has met an image; only then they ask which."""
    steps, asked = [], []

    def rows(row):
        own = row.tolist()
        steps.append(own)
        return [own, [*own[:2], float(len(steps) == 2), *own[3:]]]

    def gather(x):
        if not isinstance(x, tuple):  # of something else
            return [x]
        asked.append(len(steps))
        return [x, ({"far.png": "far.png is empty."}, True) if len(steps) == 2 else ({}, False)]

    monkeypatch.setattr(step, "all_rows", rows)
    monkeypatch.setattr(comm, "all_gather", gather)
    trainer = train()
    assert asked == [0, 1, 2]  # in the first step, as there are two processes now
    assert "far.png is empty" in str(trainer.error) and list(trainer.losses) == [0, 1]
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000001.pth"


@pytest.fixture
def val(data):
    """The folder of the test images, and options to evaluate on them after two of four steps."""
    json_file, images = data / "annotations/instances_val.json", data / "val"
    sets = ["DATASETS.TEST_JSON", (str(json_file),), "DATASETS.TEST_IMAGES", (str(images),)]
    return images, [*sets, "TEST.EVAL_PERIOD", 2]


def test_a_broken_test_image_costs_no_step(train, val, tmp_path):
    folder, opts = val
    whole = train(*opts, output="whole")
    path = sorted(folder.iterdir())[1]
    kept = path.read_bytes()
    path.unlink()
    trainer = train(*opts)
    assert path.name in str(trainer.error) and list(trainer.losses) == [0, 1]
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000001.pth"
    path.write_bytes(kept)
    resumed = train(*opts, resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    best = [torch.load(tmp_path / x / "model_best.pth")["iteration"] for x in ("run", "whole")]
    assert best[0] == best[1]  # so the evaluation that failed was made up for


def test_evaluation_alone_ends_with_one_sentence(train, val, tmp_path):
    folder, opts = val
    train(*opts)
    path = sorted(folder.iterdir())[1]
    cut(path)
    config, final = (str(tmp_path / "run" / name) for name in ("config.yaml", "model_final.pth"))
    command = ["--eval-only", "--config-file", config, "MODEL.WEIGHTS", final]
    with pytest.raises(SystemExit, match=path.name) as ended:
        train_net.train(train_net.argument_parser().parse_args(command))
    assert "\n" not in str(ended.value)


def test_any_error_of_an_evaluation_costs_no_step(make_trainer, tmp_path, monkeypatch):
    def fail(cls, cfg, model):
        raise RuntimeError("out of memory")

    trainer = make_trainer("TEST.EVAL_PERIOD", 3)
    monkeypatch.setattr(Trainer, "test", classmethod(fail))
    with pytest.raises(RuntimeError):
        trainer.train()
    assert (tmp_path / "run/last_checkpoint").read_text() == "model_0000002.pth"


def test_a_skipped_test_image_is_named_in_the_results(train, val, tmp_path):
    folder, opts = val
    path = sorted(folder.iterdir())[1]
    cut(path)
    trainer = train(*opts, *SKIP)
    assert trainer.error is None and (tmp_path / "run/model_final.pth").exists()
    assert f"- `{path}`" in (tmp_path / "run/inference/results.md").read_text()


RECORDS = [
    {"file_name": name, "image_id": number, "height": CocoSet.SIZE[0], "width": CocoSet.SIZE[1]}
    for name, number in (("sub/b.jpg", 2), ("a.png", 1))
]


def perfect(coco_set, name, record):
    """The objects of an image as an output of a model."""
    objects = [x for x in coco_set.content["annotations"] if x["image_id"] == record["image_id"]]
    numbers = MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id
    found = Instances(CocoSet.SIZE)
    boxes = [x["bbox"] for x in objects]
    found.pred_boxes = Boxes(torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes]))
    found.scores = torch.ones(len(objects))
    found.pred_classes = torch.tensor([numbers[x["category_id"]] for x in objects])
    return {"instances": found}


def test_a_skipped_test_image_counts_without_detections(coco_set):
    """What was found in the black image is dropped, so that AP is neither flattered nor spoilt."""
    name = coco_set.json_file.parent.name
    register_coco_json(name, coco_set.json_file, coco_set.images)
    DatasetCatalog.get(name)  # which fills in the metadata
    broken, whole = RECORDS

    def evaluate(inputs, **kwargs):
        evaluator = SCNetCOCOEvaluator(name, **kwargs)
        evaluator.reset()
        evaluator.process(inputs, [perfect(coco_set, name, x) for x in inputs])
        return evaluator.evaluate()["bbox"]

    marked = {**broken, "broken_image": "b.jpg is empty."}
    skipped = evaluate([marked, whole], skip_broken_images=True)
    assert skipped == pytest.approx(evaluate([whole]), nan_ok=True)
    assert skipped["AP"] < evaluate([broken, whole])["AP"] == pytest.approx(100)
    with pytest.raises(BrokenImageError, match="b.jpg is empty"):
        evaluate([marked, whole])


def test_links_in_the_folder_of_an_evaluation_are_replaced(coco_set, tmp_path):
    name = coco_set.json_file.parent.name
    register_coco_json(name, coco_set.json_file, coco_set.images)
    DatasetCatalog.get(name)  # which fills in the metadata
    mine, folder = tmp_path / "mine", tmp_path / "inference"
    mine.write_text("mine")
    folder.mkdir()
    for file in ("coco_instances_results.json", "instances_predictions.pth"):
        (folder / file).symlink_to(mine)
    evaluator = SCNetCOCOEvaluator(name, output_dir=str(folder))
    evaluator.reset()
    evaluator.process(RECORDS, [perfect(coco_set, name, x) for x in RECORDS])
    evaluator.evaluate()
    assert mine.read_text() == "mine"
    assert all((folder / x).is_file() and not (folder / x).is_symlink() for x in folder.iterdir())


def test_the_share_that_may_be_skipped():
    assert [most_to_skip(n) for n in (1, 99, 199, 200, 118287)] == [1, 1, 1, 2, 1182]


def test_what_the_key_may_be():
    cfg = get_cfg()
    assert not skips_broken_images(cfg)
    cfg.DATALOADER.ON_BROKEN_IMAGE = "ignore"
    with pytest.raises(
        ValueError, match="ON_BROKEN_IMAGE is 'ignore'. It must be 'stop' or 'skip'"
    ):
        skips_broken_images(cfg)
