"""From json files and folders to a config that fits them, and to a model that knows its classes."""

import json
import shutil

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from helpers import TINY, CocoSet
from scnet import configure_for_datasets, get_cfg, get_config_file, register_coco_json
from scnet.data.own_data import read_cfg_of, register_datasets
from scnet.engine import Trainer, setup
from scnet.engine.output_dir import changed_keys
from scnet_tools.train_net import argument_parser


@pytest.fixture
def coco_sets(tmp_path):
    """Two data sets of the same classes: to train on, and to evaluate on."""
    sets = []
    for name in ("train", "val"):
        folder = tmp_path / tmp_path.name / name
        folder.mkdir(parents=True)
        sets.append(CocoSet(folder))
    return sets


def parse(train, val, output, *opts, flags=()):
    paths = []
    for part, coco_set in (("train", train), ("val", val)):
        if coco_set is not None:
            paths += [f"--{part}-json", coco_set.json_file, f"--{part}-images", coco_set.images]
    opts = ["OUTPUT_DIR", output, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, *opts]
    config = ["--config-file", get_config_file("quickstart.yaml")]
    return [*map(str, [*flags, *config, *paths, *TINY, *opts])]


def setup_from(*args, **kwargs):
    return setup(argument_parser().parse_args(parse(*args, **kwargs)))


def write_maps(coco_set):
    """Semantic maps of nine classes, as those of the quick start."""
    folder = coco_set.json_file.parent / "maps"
    for image in coco_set.content["images"]:
        path = (folder / image["file_name"]).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(coco_set.SIZE, 8, np.uint8)).save(path)
    return ["DATASETS.TRAIN_SEM_SEG", f"('{folder}',)"]


def write_panoptic(coco_set):
    """The left half of each image is a dog (id 300), the right half sky; the last row nothing."""
    folder = coco_set.json_file.parent / "panoptic"
    folder.mkdir()
    ids = np.full(coco_set.SIZE, 300)
    ids[:, 30:] = 2
    ids[-1] = 0
    annotations = []
    for image in coco_set.content["images"]:
        name = f"{image['id']}.png"
        png = np.stack([ids % 256, ids // 256, ids * 0], axis=-1).astype(np.uint8)
        Image.fromarray(png).save(folder / name)
        segments = [{"id": 300, "category_id": 7}, {"id": 2, "category_id": 90}]
        annotations.append({"image_id": image["id"], "file_name": name, "segments_info": segments})
    categories = [{**c, "isthing": 1} for c in coco_set.content["categories"]]
    categories += [
        {"id": 95, "name": "grass", "isthing": 0},
        {"id": 90, "name": "sky", "isthing": 0},
    ]
    content = {"annotations": annotations, "categories": categories}
    path = coco_set.json_file.parent / "panoptic.json"
    path.write_text(json.dumps(content))
    return [
        *("DATASETS.TRAIN_PANOPTIC_JSON", f"('{path}',)"),
        *("DATASETS.TRAIN_PANOPTIC_IMAGES", f"('{folder}',)"),
    ]


SOURCES = {
    "instances": (lambda coco_set: [], 3, ["cat", "dog", "background"]),
    "stuffthingmaps": (write_maps, 9, None),
    "panoptic": (write_panoptic, 4, ["cat", "dog", "sky", "grass"]),
    "none": (lambda coco_set: ["MODEL.SCNET.SEMANTIC.SOURCE", "none"], 9, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_every_source_is_chosen_trains_tests_and_resumes(coco_sets, tmp_path, source):
    write, num_classes, names = SOURCES[source]
    train, val = coco_sets
    opts = [*write(train), "SOLVER.STEPS", "()", "SOLVER.MAX_ITER"]
    for iterations, flags in ((2, ()), (4, ["--resume"])):
        cfg = setup_from(train, val, tmp_path / "out", *opts, iterations, flags=flags)
        assert source == cfg.MODEL.SCNET.SEMANTIC.SOURCE
        assert num_classes == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=bool(flags))
        assert trainer.start_iter == (2 if flags else 0)
        trainer.train()
    (results,) = json.loads((tmp_path / "out/inference/results.json").read_text()).values()
    assert set(results) == {"bbox", "segm"}
    log = (tmp_path / "out/log.txt").read_text()
    assert f"MODEL.SCNET.SEMANTIC.SOURCE {source}" in log
    assert ("loss_sem_seg" in (tmp_path / "out/metrics.json").read_text()) == (source != "none")
    metadata = trainer.model.metadata
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.get("stuff_classes") == names


def test_what_follows_from_the_data(coco_sets, tmp_path):
    train, val = coco_sets
    cfg = setup_from(train, val, tmp_path / "out")
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert cfg.INPUT.MASK_FORMAT == "bitmask"  # one of the masks is an RLE
    train.content["annotations"].pop()
    train.write()
    cfg = setup_from(train, val, tmp_path / "out")
    assert cfg.INPUT.MASK_FORMAT == "polygon"
    log = (tmp_path / "out/log.txt").read_text()
    for line in (
        "MODEL.ROI_HEADS.NUM_CLASSES 2 (cat, dog)",
        "INPUT.MASK_FORMAT polygon (all masks are polygons)",
        "COCOEvaluator evaluates boxes and masks on",
        "3 images, 2 objects, 0 crowds, 2 images without objects",
        "The category ids are not 1 to 2".replace("The", "the"),
    ):
        assert line in log


def test_what_is_said_on_the_command_line_is_kept_or_refused(coco_sets, tmp_path):
    train, val = coco_sets
    train.content["annotations"].pop()
    train.write()
    cfg = setup_from(train, val, tmp_path / "out", "INPUT.MASK_FORMAT", "bitmask")
    assert cfg.INPUT.MASK_FORMAT == "bitmask"
    with pytest.raises(ValueError, match="NUM_CLASSES 3 was given, but the data needs 2 .cat, dog"):
        setup_from(train, val, tmp_path / "out", "MODEL.ROI_HEADS.NUM_CLASSES", 3)
    with pytest.raises(ValueError, match="SOURCE is 'panoptic', but the training sets.*have no"):
        setup_from(train, val, tmp_path / "out", "MODEL.SCNET.SEMANTIC.SOURCE", "panoptic")


def test_several_sets_with_other_ids_for_the_same_classes(coco_sets, tmp_path):
    first, second = coco_sets
    for category in second.content["categories"]:
        category["id"] += 10
    for annotation in second.content["annotations"]:
        annotation["category_id"] += 10
    second.write()
    args = argument_parser().parse_args(parse(first, first, tmp_path / "out"))
    args.train_json.append(str(second.json_file))
    args.train_images.append(str(second.images))
    cfg = setup(args)
    assert len(cfg.DATASETS.TRAIN) == 2
    batch = next(iter(Trainer.build_train_loader(cfg)))
    assert all(x["instances"].gt_classes.max() < 2 for x in batch)
    assert cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2


def test_other_classes_in_validation_are_refused(coco_sets, tmp_path):
    train, val = coco_sets
    val.content["categories"][0]["name"] = "wolf"
    val.write()
    with pytest.raises(ValueError, match=r"val/set' has the classes \['cat', 'wolf'\]"):
        setup_from(train, val, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match="no data to train on. Give --train-json"):
        setup_from(None, None, tmp_path / "out", "DATASETS.TRAIN", "()")


def test_without_validation_data_nothing_is_evaluated(coco_sets, tmp_path):
    cfg = setup_from(coco_sets[0], None, tmp_path / "out", "SOLVER.MAX_ITER", 1)
    assert cfg.DATASETS.TEST == ()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert (tmp_path / "out/model_final.pth").exists()
    assert not (tmp_path / "out/inference").exists()


def test_data_to_train_on_replaces_the_example_of_a_config(coco_sets, tmp_path):
    def read(train, *opts):
        parsed = argument_parser().parse_args(parse(train, None, tmp_path / "out", *opts))
        parsed.config_file = get_config_file("nuclei.yaml")
        return read_cfg_of(parsed).DATASETS

    data = read(coco_sets[0])
    assert (str(coco_sets[0].json_file),) == data.TRAIN_JSON
    assert data.TEST_JSON == data.TEST_IMAGES == ()
    data = read(coco_sets[0], "DATASETS.TEST_JSON", "('a.json',)", "DATASETS.TEST_IMAGES", "('a',)")
    assert data.TEST_JSON == ("a.json",)
    assert read(None).TEST_JSON == ("datasets/nuclei/instances_val.json",)


def test_json_files_of_one_name_get_names_that_differ(tmp_path):
    cfg = get_cfg()
    for root in ("a", "b"):
        folder = tmp_path / tmp_path.name / root / "annotations"
        folder.mkdir(parents=True)
        coco_set = CocoSet(folder)
        cfg.DATASETS.TRAIN_JSON += (str(coco_set.json_file),)
        cfg.DATASETS.TRAIN_IMAGES += (str(coco_set.images),)
    register_datasets(cfg)
    assert len(set(cfg.DATASETS.TRAIN)) == 2
    again = cfg.clone()
    register_datasets(again)
    assert again.DATASETS.TRAIN == cfg.DATASETS.TRAIN
    roots = [MetadataCatalog.get(name).image_root for name in cfg.DATASETS.TRAIN]
    assert roots == list(cfg.DATASETS.TRAIN_IMAGES)


@pytest.mark.parametrize("limit, noted", [(1, True), (2, False)])
def test_more_objects_than_detections_are_noted(coco_set, tiny_cfg, limit, noted):
    """The images have 2, 1 and 0 objects."""
    tiny_cfg.TEST.DETECTIONS_PER_IMAGE = limit
    tiny_cfg.DATASETS.TEST_JSON = (str(coco_set.json_file),)
    tiny_cfg.DATASETS.TEST_IMAGES = (str(coco_set.images),)
    register_datasets(tiny_cfg)
    notes = "\n".join(configure_for_datasets(tiny_cfg, eval_only=True))
    text = "1 images have more objects than TEST.DETECTIONS_PER_IMAGE 1, up to 2. At most 66.7 % of"
    assert (text in notes) == noted


def test_crowds_can_be_objects_only_where_this_package_loads_the_data(tiny_cfg):
    tiny_cfg.DATASETS.TRAIN = ("coco_2017_val_stuffthingmaps", "not_registered")
    tiny_cfg.DATASETS.TEST = ("coco_2017_val",)  # Detectron2's
    tiny_cfg.DATASETS.CROWDS_ARE_OBJECTS = True
    with pytest.raises(ValueError, match="CROWDS_ARE_OBJECTS has no effect .* 'coco_2017_val'"):
        register_datasets(tiny_cfg)
    tiny_cfg.DATASETS.CROWDS_ARE_OBJECTS = False
    register_datasets(tiny_cfg)
    reading = MetadataCatalog.get("coco_2017_val_stuffthingmaps").reading
    assert reading.crowds_are_objects is False
    tiny_cfg.DATASETS.CROWDS_ARE_OBJECTS = None
    register_datasets(tiny_cfg)
    tiny_cfg.DATASETS.CLASSES_LEFT_OUT = ("person",)
    with pytest.raises(ValueError, match="CLASSES_LEFT_OUT has no effect .* 'coco_2017_val'"):
        register_datasets(tiny_cfg)


def test_from_python(coco_sets, tiny_cfg, tmp_path):
    """The cells of a notebook: register, name, configure."""
    for _ in range(2):
        names = []
        for coco_set in coco_sets:
            names.append(str(coco_set.json_file.parent))
            register_coco_json(names[-1], coco_set.json_file, coco_set.images)
        tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = tuple(names[:1]), tuple(names[1:])
        lines = configure_for_datasets(tiny_cfg)
    assert tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert tiny_cfg.MODEL.SCNET.SEMANTIC.SOURCE == "instances"
    assert any("MODEL.SEM_SEG_HEAD.NUM_CLASSES 3" in line for line in lines)
    tiny_cfg.merge_from_list(["SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "SOLVER.IMS_PER_BATCH", 2])
    tiny_cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "OUTPUT_DIR", str(tmp_path / "out")])
    trainer = Trainer(tiny_cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    *_, last = map(json.loads, (tmp_path / "out/metrics.json").read_text().splitlines())
    assert {"segm/AR", "segm/AR10", "segm/AP50-cat", "bbox/ARs"} <= last.keys()
    saved = get_cfg()
    saved.merge_from_file(tmp_path / "out/config.yaml")
    assert not changed_keys(saved, tiny_cfg)
    before = (tmp_path / "out/model_final.pth").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        Trainer(tiny_cfg).resume_or_load(resume=False)
    assert (tmp_path / "out/model_final.pth").read_bytes() == before


def test_resume_with_renamed_classes_is_refused(coco_sets, tmp_path):
    train, _ = coco_sets
    opts = ["SOLVER.STEPS", "()", "SOLVER.MAX_ITER"]
    trainer = Trainer(setup_from(train, None, tmp_path / "out", *opts, 1))
    trainer.resume_or_load(resume=False)
    trainer.train()
    train.content["categories"][0]["name"] = "wolf"
    train.write()
    trainer = Trainer(setup_from(train, None, tmp_path / "out", *opts, 2, flags=["--resume"]))
    with pytest.raises(ValueError, match=r"classes \['cat', 'dog'\].*now has \['cat', 'wolf'\]"):
        trainer.resume_or_load(resume=True)


def test_shared_images_are_said(coco_sets, tmp_path):
    train, _ = coco_sets
    setup_from(train, train, tmp_path / "out")
    assert "a.png' is in training and validation" in (tmp_path / "out/log.txt").read_text()


def test_a_trained_model_predicts_without_its_data(coco_sets, run_forked, run_here, tmp_path):
    """In another process, with three classes, after the data set is gone."""
    for coco_set in coco_sets:
        coco_set.content["categories"].append({"id": 9, "name": "Ente 鸭"})
        coco_set.write()
    photo = tmp_path / "photo.png"
    shutil.copy(coco_sets[0].images / "a.png", photo)
    output = tmp_path / "out"
    steps = ["SOLVER.MAX_ITER", 2, "SOLVER.STEPS", "()"]
    run_forked("train_net.py", *parse(*coco_sets, output, *steps))
    for coco_set in coco_sets:
        shutil.rmtree(coco_set.json_file.parent)

    predict = ["projects/SCNet/tools/predict.py", "--config-file", output / "config.yaml"]
    predict += ["--input", photo, "--threshold", 0, "--output", tmp_path / "pictures"]
    weights = ["--opts", "MODEL.WEIGHTS", output / "model_final.pth"]
    run_here(*predict, *weights)
    assert (tmp_path / "pictures/photo.png").exists()

    script = tmp_path / "script.py"
    script.write_text(f"""
import cv2
from detectron2.engine import DefaultPredictor
from scnet import get_cfg
cfg = get_cfg()
cfg.merge_from_file({str(output / "config.yaml")!r})
cfg.MODEL.WEIGHTS = {str(output / "model_final.pth")!r}
predictor = DefaultPredictor(cfg)
predictor(cv2.imread({str(photo)!r}))
print("classes:", ascii(predictor.model.metadata.thing_classes))
""")
    assert r"classes: ['cat', 'dog', 'Ente \u9e2d']" in run_forked(script).stdout


def test_evaluation_refuses_weights_of_other_classes(
    coco_sets, make_model, tiny_cfg, tmp_path, run_forked
):
    train, val = coco_sets
    tiny_cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    model = make_model(tiny_cfg)
    model.metadata.thing_classes = ["dog", "cat"]
    weights = tmp_path / "model.pth"
    torch.save({"model": model.state_dict()}, weights)
    args = parse(None, val, tmp_path / "out", "MODEL.WEIGHTS", weights, flags=["--eval-only"])
    result = run_forked("train_net.py", *args, check=False)
    assert result.returncode != 0 and "Traceback" not in result.stdout
    assert "differ in class 0: 'dog' and 'cat'" in result.stdout
    model.metadata = type(model.metadata)(thing_classes=["cat", "dog"])
    torch.save({"model": model.state_dict()}, weights)
    run_forked("train_net.py", *args)


def test_a_json_with_maps_and_without_is_two_data_sets(coco_set, tmp_path):
    names = []
    for maps in ((str(tmp_path),), ()):
        cfg = get_cfg()
        cfg.DATASETS.TRAIN_JSON = (str(coco_set.json_file),)
        cfg.DATASETS.TRAIN_IMAGES, cfg.DATASETS.TRAIN_SEM_SEG = (str(coco_set.images),), maps
        register_datasets(cfg, ("TRAIN",))
        names += cfg.DATASETS.TRAIN
    assert names[0] != names[1]
