"""Several models on the same images: pictures side by side, and a page to leaf through them."""

import json
import os
from html import escape
from itertools import zip_longest
from pathlib import Path
from string import Template
from typing import Dict, List, Optional, Sequence, Tuple
from urllib.parse import quote

import numpy as np
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from .. import visualization
from ..config import read_cfg
from ..overwrite import refuse_impossible_outputs, refuse_to_replace
from ..whole_files import write_whole
from .find_inputs import find_images
from .predictor import Predictor

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Comparison of $title</title>
<style>
body { font-family: sans-serif; margin: 1em; }
figure { margin: 1em 0; }
img { display: block; margin-top: .5em; max-width: 100%; max-height: 85vh; }
</style>
<nav hidden>
<button id="previous">&larr; previous</button> <button id="next">next &rarr;</button>
</nav>
$figures
<script>
// Without this script the page shows all pictures, one below the other.
const figures = [...document.querySelectorAll("figure")];
let current = 1;
function show() {  // the picture that the address ends with: index.html#3
  current = Math.min(Math.max(parseInt(location.hash.slice(1)) || 1, 1), figures.length);
  figures.forEach((figure, i) => { figure.hidden = i + 1 !== current; });
  document.getElementById("previous").disabled = current === 1;
  document.getElementById("next").disabled = current === figures.length;
}
function go(step) {
  const target = current + step;
  if (target >= 1 && target <= figures.length) location.replace("#" + target);
}
document.querySelector("nav").hidden = false;
document.getElementById("previous").onclick = () => go(-1);
document.getElementById("next").onclick = () => go(1);
document.onkeydown = event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;  // the browser's own shortcuts
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
};
window.onhashchange = show;
show();
</script>
</html>
""")
FIGURE = Template("""<figure id="$number">
<figcaption><b>$picture</b> $number / $total<br>
Detections with a score of $threshold or more: $counts</figcaption>
<img src="$source" alt="$picture" loading="lazy">
</figure>""")


def compare_models(
    models: Sequence[Sequence[str]],
    sources: Sequence[str],
    folder: str,
    *,
    opts: Sequence[str] = (),
    threshold: float = 0.5,
    limit: Optional[int] = None,
    overwrite: bool = False,
) -> str:
    """Draw what models find in the same images.

    Args:
        models: (name, config file, weights) of each.
        sources: see :func:`find_images`.
        folder: gets a picture per image, index.html, and predictions.json.
        opts: KEY VALUE pairs for all configs.
        threshold: lowest score that is drawn.
        limit: stop after this many images.
        overwrite: replace files that exist.

    Returns:
        a sentence on what was written.

    Raises:
        FileExistsError: a file exists, and ``overwrite`` is False.
        OSError: see :func:`refuse_impossible_outputs`; or a file cannot be written.
        ValueError: ``limit`` is less than 1; a data set has other classes than the models; or see
            :func:`read_models` and :func:`find_images`.
    """
    if limit is not None and limit < 1:
        raise ValueError("--limit must be 1 or more.")
    predictors, names = read_models(models, opts, threshold)
    first = models[0][0]
    max_pixels = min(predictor.backend.max_pixels for predictor in predictors.values())
    images = find_images(sources, max_pixels, predictors[first].kind)
    read = [image.file_name for image in images]
    annotated = {i.dataset for i in images if i.record and i.record.get("annotations")}
    for dataset in annotated:
        classes = MetadataCatalog.get(dataset).thing_classes
        refuse_other_classes(f"Model '{first}'", names, f"data set '{dataset}'", classes)
    images = images[:limit]
    page, counts = (os.path.join(folder, x) for x in ("index.html", "predictions.json"))
    outputs = [*(os.path.join(folder, image.picture) for image in images), page, counts]
    refuse_impossible_outputs(outputs, read)
    if not overwrite:
        refuse_to_replace(outputs)

    rows = []
    for image in tqdm(images, desc="Comparing", unit="image"):
        [frame] = image.frames()
        pixels = frame.pixels
        panels, detections = [], {}
        if image.record and image.dataset in annotated:
            truth = visualization.draw_ground_truth(pixels, image.record, names)
            panels.append(visualization.add_caption("ground truth", truth))
        for name, predictor in predictors.items():
            instances = predictor(frame)
            drawn = visualization.draw_detections(pixels, instances, names)
            panels.append(visualization.add_caption(name, drawn))
            detections[name] = len(instances)
        target = os.path.join(folder, image.picture)
        visualization.write_rgb(target, np.concatenate(panels, axis=1))
        rows.append({"image": image.file_name, "picture": image.picture, "detections": detections})
    write_page(page, rows, threshold)
    content = json.dumps({"threshold": threshold, "images": rows}, indent=1)
    write_whole(counts, content.encode())
    return f"{len(images)} pictures in {folder}; open {page} to leaf through them"


def read_models(
    models: Sequence[Sequence[str]], opts: Sequence[str], threshold: float
) -> Tuple[Dict[str, Predictor], List[str]]:
    """Predictors by the names of the models, from (name, config file, weights); and the classes.

    Raises:
        ValueError: fewer than two models, two of the same name, or of different classes or kinds
            of images.
        FileNotFoundError: a config or weights file does not exist.
    """
    if len(models) < 2:
        raise ValueError("Give at least two models: --model NAME CONFIG WEIGHTS --model ...")
    predictors: Dict[str, Predictor] = {}
    for name, config_file, weights in models:
        if name in predictors:
            raise ValueError(f"Two models are named '{name}'. Give each its own name.")
        if "://" not in weights and not os.path.isfile(weights):
            raise FileNotFoundError(f"Weights '{weights}' of model '{name}' are no file.")
        cfg = read_cfg(config_file, opts)
        predictors[name] = Predictor(weights, cfg, threshold=threshold, masks="rle")
    first = models[0][0]
    names = predictors[first].names
    for name, predictor in predictors.items():
        refuse_other_classes(f"Model '{first}'", names, f"model '{name}'", predictor.names)
        if predictor.kind != predictors[first].kind:
            raise ValueError(
                f"Model '{first}' takes images with {predictors[first].kind}, and model '{name}' "
                f"with {predictor.kind}."
            )
    return predictors, names


def refuse_other_classes(this: str, names: List[str], that: str, others: List[str]) -> None:
    """Compare class names.

    Raises:
        ValueError: they differ; the message says where.
    """
    for i, (a, b) in enumerate(zip_longest(names, others, fillvalue="missing")):
        if a != b:
            raise ValueError(f"{this} and {that} differ in class {i}: '{a}' and '{b}'.")


def write_page(file_name: str, rows: List[Dict], threshold: float) -> None:
    """Write the HTML page.

    Args:
        rows: per picture its name within the page's folder, and detections by model.
    """
    figures = [
        FIGURE.substitute(
            number=number,
            total=len(rows),
            threshold=f"{threshold:g}",
            picture=escape(readable(row["picture"])),
            source=quote(os.fsencode(Path(row["picture"]).as_posix())),
            counts=", ".join(f"{escape(name)}: {n}" for name, n in row["detections"].items()),
        )
        for number, row in enumerate(rows, 1)
    ]
    title = escape(", ".join(rows[0]["detections"]))
    page = PAGE.substitute(title=title, figures="\n".join(figures))
    write_whole(file_name, page.encode())


def readable(path: str) -> str:
    """A path as text for people; a byte that is not in UTF-8 is a replacement character."""
    return os.fsencode(path).decode(errors="replace")
