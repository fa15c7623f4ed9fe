"""Steps that make a valid data set, or the config for it, one that no training can use."""

import json
import shutil

import cv2
import numpy as np
from PIL import Image

from helpers import CocoSet
from scnet import register_coco_json

HEIGHT, WIDTH = CocoSet.SIZE
GRAY = Image.new("L", (WIDTH, HEIGHT))
COLOURS = Image.new("RGB", (WIDTH, HEIGHT))
WHITE = Image.new("L", (WIDTH, HEIGHT), 255)
FLAT = Image.new("L", (WIDTH, HEIGHT - 1))
DELETED = object()


class Inputs:
    """A valid data set and a config for it, which the steps below break."""

    def __init__(self, coco, cfg):
        self.coco, self.cfg, self.folder = coco, cfg, coco.json_file.parent
        self.given = []  # keys that the user has set
        self.name = None  # of the data set, if the user chooses it
        cfg.DATASETS.TRAIN_JSON = (str(coco.json_file),)
        cfg.DATASETS.TRAIN_IMAGES = (str(coco.images),)

    def __getitem__(self, name):
        return self.folder / name


def _set(content, path, value):
    """Set, or delete, what a path such as "images.0.id" leads to."""
    *parents, last = (int(x) if x.isdigit() else x for x in path.split("."))
    for key in parents:
        content = content[key]
    if value is DELETED:
        del content[last]
    else:
        content[last] = value


def put(path, value, file="set.json"):
    def step(inputs):
        content = json.loads(inputs[file].read_text())
        _set(content, path, value)
        inputs[file].write_text(json.dumps(content))

    return step


def without(path, file="set.json"):
    return put(path, DELETED, file)


def write(name, content):
    return lambda inputs: inputs[name].write_bytes(content)


def cut(name):
    return lambda inputs: inputs[name].write_bytes(inputs[name].read_bytes()[:-40])


def remove(name):
    def step(inputs):
        path = inputs[name]
        (shutil.rmtree if path.is_dir() else type(path).unlink)(path)

    return step


def move(name, other):
    def step(inputs):
        inputs[other].parent.mkdir(exist_ok=True)
        inputs[name].rename(inputs[other])

    return step


def save(name, image, **kwargs):
    return lambda inputs: image.save(inputs[name], **kwargs)


def turned(inputs):
    """An image whose EXIF tag says that it is to be turned, as cameras write it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    COLOURS.save(inputs["images/sub/b.jpg"], exif=exif)


def config(key, value):
    """What the user gives as KEY VALUE."""

    def step(inputs):
        inputs.cfg.merge_from_list([key, value])
        inputs.given.append(key)

    return step


def files(key, *names):
    """Paths below the folder of the data as a key of DATASETS."""
    return lambda inputs: inputs.cfg.DATASETS.update({key: tuple(str(inputs[x]) for x in names)})


def other_classes(inputs):
    shutil.copy(inputs["set.json"], inputs["val.json"])
    put("categories.0.name", "wolf", "val.json")(inputs)
    files("TEST_JSON", "val.json")(inputs)
    files("TEST_IMAGES", "images")(inputs)


def maps(inputs):
    """Valid semantic maps."""
    for record in inputs.coco.content["images"]:
        path = inputs["maps/" + record["file_name"].rsplit(".")[0] + ".png"]
        path.parent.mkdir(parents=True, exist_ok=True)
        GRAY.save(path)
    files("TRAIN_SEM_SEG", "maps")(inputs)


def panoptic(inputs):
    """Valid panoptic annotations: all pixels are grass."""
    records = [{"image_id": k, "file_name": f"{k}.png"} for k in (1, 2, 3)]
    inputs["panoptic"].mkdir()
    for record in records:
        record["segments_info"] = [{"id": 5, "category_id": 9}]
        Image.new("RGB", (WIDTH, HEIGHT), (5, 0, 0)).save(inputs["panoptic"] / record["file_name"])
    content = {
        "categories": [
            {"id": 3, "name": "cat", "isthing": 1},
            {"id": 7, "name": "dog", "isthing": 1},
            {"id": 9, "name": "grass", "isthing": 0},
        ],
        "annotations": records,
    }
    inputs["panoptic.json"].write_text(json.dumps(content))
    files("TRAIN_PANOPTIC_JSON", "panoptic.json")(inputs)
    files("TRAIN_PANOPTIC_IMAGES", "panoptic")(inputs)


def many_classes(inputs):
    put("categories", [{"id": k, "name": f"class {k}"} for k in range(1, 256)])(inputs)


def elongated(inputs):
    put("annotations.0.image_id", 2)(inputs)
    put("annotations.1.image_id", 2)(inputs)
    put("images.0", {"id": 1, "file_name": "a.png", "width": 1, "height": 5000})(inputs)
    Image.new("L", (1, 5000)).save(inputs["images/a.png"])


def taken_name(inputs):
    inputs.name = f"{inputs.folder.name}/set"
    register_coco_json(inputs.name, inputs["set.json"], inputs.folder)


def unknown_name(inputs):
    inputs.cfg.DATASETS.update({"TRAIN_JSON": (), "TRAIN_IMAGES": (), "TRAIN": ("nowhere",)})


def no_data(inputs):
    inputs.cfg.DATASETS.update({"TRAIN_JSON": (), "TRAIN_IMAGES": (), "TRAIN": (), "TEST": ()})


# What is wrong, in plain words, and the steps that make it so. docs/troubleshooting.md has the
# first line of the error that each gives.
CASES = {
    # the json file
    "the json file is missing": [remove("set.json")],
    "the folder of the images is missing": [remove("images")],
    "a folder is given as the json file": [files("TRAIN_JSON", "images")],
    "the json file is given as the folder of the images": [files("TRAIN_IMAGES", "set.json")],
    "the json file is empty": [write("set.json", b"")],
    "the json file is cut off": [cut("set.json")],
    "the json file is not in UTF-8": [write("set.json", '{"images": "ä"}'.encode("latin-1"))],
    "the json file begins with a byte order mark": [write("set.json", b"\xef\xbb\xbf{}")],
    "the json file holds an object per line": [write("set.json", b'{"id": 1}\n{"id": 2}\n')],
    "the json file is nested too deeply": [write("set.json", b"[" * 200_000)],
    "the json file holds a list": [write("set.json", b"[]")],
    "the json file has no 'images'": [without("images")],
    "the json file has no 'categories'": [without("categories")],
    "'images' is no list": [put("images", {})],
    "'annotations' holds numbers": [put("annotations", [1, 2])],
    "there are no classes": [put("categories", []), put("annotations", [])],
    "there are no images": [put("images", []), put("annotations", [])],
    "nothing is annotated": [put("annotations", [])],
    # its classes
    "two classes with one id": [put("categories.1.id", 7)],
    "two classes with one name": [put("categories.1.name", "dog")],
    "a class without a name": [without("categories.1.name")],
    "a class to leave out that is not there": [
        lambda inputs: inputs.cfg.DATASETS.update({"CLASSES_LEFT_OUT": ("wolf",)})
    ],
    "ids of classes of two kinds": [put("categories.1.id", "3")],
    # its images
    "an image without id": [without("images.0.id")],
    "an image whose id is text, others not": [put("images.0.id", "1")],
    "two images with one id": [put("images.1.id", 1)],
    "an image without file_name": [without("images.0.file_name")],
    "an image of LVIS, with a URL in place of the file_name": [
        put("images.0", {"id": 1, "height": HEIGHT, "width": WIDTH, "coco_url": "http://a/a.jpg"})
    ],
    "an image without height": [without("images.0.height")],
    "an image whose width is 0": [put("images.0.width", 0)],
    "a file_name with backslashes": [put("images.1.file_name", "sub\\b.jpg")],
    "a file_name with capital letters": [put("images.0.file_name", "A.PNG")],
    "an image in another folder than its file_name says": [put("images.1.file_name", "b.jpg")],
    "an image whose file_name fits two files": [
        lambda inputs: shutil.copy(inputs["images/a.png"], inputs["images/a b.png"]),
        move("images/a.png", "images/a%20b.png"),
        put("images.0.file_name", "a b.png?v=1"),
    ],
    "an image file is missing": [remove("images/a.png")],
    # the image files
    "an image file without content": [write("images/a.png", b"")],
    "an image file is cut off": [cut("images/a.png")],
    "an image file that is no image": [write("images/a.png", b"no image")],
    "an image with 16 bits per channel": [save("images/a.png", Image.new("I;16", (WIDTH, HEIGHT)))],
    "an image with 16 bits per colour": [
        lambda inputs: cv2.imwrite(str(inputs["images/a.png"]), np.zeros((HEIGHT, WIDTH, 3), "u2"))
    ],
    "an image in colours for a model of gray images": [config("INPUT.CHANNELS", 1)],
    "an image of several frames": [
        move("images/a.png", "images/a.gif"),
        save("images/a.gif", GRAY, save_all=True, append_images=[WHITE]),
        put("images.0.file_name", "a.gif"),
    ],
    "an image of floating-point numbers": [
        move("images/a.png", "images/a.tif"),
        save("images/a.tif", Image.new("F", (WIDTH, HEIGHT))),
        put("images.0.file_name", "a.tif"),
    ],
    "an image of another size than the json says": [save("images/a.png", FLAT)],
    "an image that its EXIF tag turns, annotated without turning it": [turned],
    "an image that is far too elongated": [elongated],
    # its annotations
    "an annotation without id": [without("annotations.0.id")],
    "two annotations with one id": [put("annotations.1.id", 1)],
    "an annotation without image_id": [without("annotations.0.image_id")],
    "an annotation of an unknown class": [put("annotations.0.category_id", 1)],
    "an annotation without class": [without("annotations.0.category_id")],
    "an annotation with 'ignore'": [put("annotations.0.ignore", 1)],
    "an annotation of text as bbox, no mask and iscrowd 3": [
        put("annotations.0.bbox", "2 3 20 10"),
        put("annotations.0.segmentation", 5),
        put("annotations.0.iscrowd", 3),
    ],
    "an annotation whose iscrowd is 2": [put("annotations.0.iscrowd", 2)],
    "most objects are crowds": [put("annotations.1.iscrowd", 1), put("annotations.2.iscrowd", 1)],
    "an annotation without bbox": [without("annotations.0.bbox")],
    "a bbox of three numbers": [put("annotations.0.bbox", [2, 3, 20])],
    "a bbox with NaN": [put("annotations.0.bbox", [2, 3, float("nan"), 10])],
    "a bbox with a negative width": [put("annotations.0.bbox", [22, 3, -20, 10])],
    "bboxes in parts of the image's width and height": [
        put("annotations.0.bbox", [0.1, 0.1, 0.3, 0.4]),
        put("annotations.1.bbox", [0.2, 0.1, 0.8, 0.4]),
        put("annotations.2.bbox", [0.5, 0.1, 0.3, 0.4]),
    ],
    # masks
    "a polygon with an odd number of coordinates": [
        put("annotations.0.segmentation.0", [2, 3, 22, 3, 22, 13, 2])
    ],
    "a polygon with text": [put("annotations.0.segmentation.0.1", "top")],
    "a polygon far outside its image": [put("annotations.0.segmentation.0.1", 1e9)],
    "an RLE of another size than its image": [put("annotations.2.segmentation.size", [60, 40])],
    "an RLE whose size is a number": [put("annotations.2.segmentation.size", 2400)],
    "an RLE whose runs do not fill the image": [
        put("annotations.2.segmentation.counts", [100, 200])
    ],
    "an RLE whose packed string is damaged": [put("annotations.2.segmentation.counts", "Piä~")],
    "an RLE without counts": [without("annotations.2.segmentation.counts")],
    "boxes without masks": [*(without(f"annotations.{k}.segmentation") for k in range(3))],
    "one of the objects has no mask": [put("annotations.0.segmentation", [])],
    # semantic maps
    "the folder of the semantic maps is missing": [maps, remove("maps")],
    "a semantic map is missing": [maps, remove("maps/a.png")],
    "semantic maps that are no PNG files": [maps, move("maps/a.png", "maps/a.jpg")],
    "a semantic map that is a JPEG named .png": [maps, save("maps/a.png", GRAY, format="JPEG")],
    "a semantic map that is no image": [maps, write("maps/a.png", b"no image")],
    "a semantic map in colours": [maps, save("maps/a.png", COLOURS)],
    "a semantic map with 16 bits": [maps, save("maps/a.png", Image.new("I;16", (WIDTH, HEIGHT)))],
    "a semantic map of another size than its image": [maps, save("maps/a.png", FLAT)],
    "a semantic map with values that are no class": [
        maps,
        save("maps/a.png", Image.new("L", (WIDTH, HEIGHT), 77)),
    ],
    # panoptic annotations
    "the panoptic json is cut off": [panoptic, cut("panoptic.json")],
    "the panoptic json has no annotations": [panoptic, without("annotations", "panoptic.json")],
    "a panoptic segment without class": [
        panoptic,
        without("annotations.0.segments_info.0.category_id", "panoptic.json"),
    ],
    "a panoptic segment of an unknown class": [
        panoptic,
        put("annotations.0.segments_info.0.category_id", 8, "panoptic.json"),
    ],
    "a panoptic thing that is no class of the instances": [
        panoptic,
        put("categories.0.id", 4, "panoptic.json"),
    ],
    "a panoptic thing with another name than in the instances": [
        panoptic,
        put("categories.0.name", "wolf", "panoptic.json"),
    ],
    "an image that the panoptic json does not have": [
        panoptic,
        without("annotations.0", "panoptic.json"),
    ],
    "a panoptic PNG is missing": [panoptic, remove("panoptic/1.png")],
    "a panoptic PNG with the ids of no segment": [
        panoptic,
        save("panoptic/1.png", Image.new("RGB", (WIDTH, HEIGHT), (6, 0, 0))),
    ],
    "a panoptic PNG in shades of gray": [panoptic, save("panoptic/1.png", GRAY)],
    "a panoptic json without the folder of its PNGs": [panoptic, files("TRAIN_PANOPTIC_IMAGES")],
    # the command line and the config
    "two json files, but one folder of images": [files("TRAIN_JSON", "set.json", "set.json")],
    "training and validation with different classes": [other_classes],
    "NUM_CLASSES is given, but the data has other classes": [
        config("MODEL.ROI_HEADS.NUM_CLASSES", 80)
    ],
    "the mask format 'polygon' is given, but there are RLE masks": [
        config("INPUT.MASK_FORMAT", "polygon")
    ],
    "an unknown semantic source": [config("MODEL.SCNET.SEMANTIC.SOURCE", "maps")],
    "the semantic source 'stuffthingmaps', but no maps": [
        config("MODEL.SCNET.SEMANTIC.SOURCE", "stuffthingmaps")
    ],
    "too many classes for a semantic map of 8 bits": [many_classes],
    "a name that other data is registered under": [taken_name],
    "a name that no data is registered under": [unknown_name],
    "no data is given": [no_data],
    "the validation json is missing": [
        files("TEST_JSON", "val.json"),
        files("TEST_IMAGES", "images"),
    ],
}
