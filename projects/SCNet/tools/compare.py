#!/usr/bin/env python
"""Draw what several models find in the same images, side by side, and a page to leaf through.

    python projects/SCNet/tools/compare.py --model NAME CONFIG WEIGHTS \
        --model NAME CONFIG WEIGHTS ... --input IMAGE_OR_FOLDER_OR_DATASET ... --output FOLDER

FOLDER gets a picture per image; index.html, which shows them; and predictions.json, the number
of detections. Images of a data set with annotations have the ground truth as their first panel.
"""

import argparse
import json
import os
import sys
from html import escape
from itertools import zip_longest
from pathlib import Path
from string import Template
from typing import Dict, List, Sequence, Tuple
from urllib.parse import quote

import numpy as np
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from scnet import Predictor, visualization
from scnet.config import read_cfg
from scnet.data import read_image
from scnet.inference.inputs import find_images

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


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        required=True,
        nargs=3,
        action="append",
        metavar=("NAME", "CONFIG", "WEIGHTS"),
        help="at least twice; WEIGHTS take the place of the config's and of --opts'",
    )
    visualization.add_arguments(parser)
    return parser.parse_args()


def read_models(
    models: Sequence[Sequence[str]], opts: List[str], threshold: float
) -> Tuple[Dict[str, Predictor], List[str]]:
    """Predictors by the names of the models, from (name, config file, weights); and the classes.

    Raises:
        ValueError: fewer than two models, two of the same name, or of different classes.
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
        predictors[name] = Predictor(weights, read_cfg(config_file, opts), threshold=threshold)
    first = models[0][0]
    names = predictors[first].names
    for name, predictor in predictors.items():
        refuse_other_classes(f"Model '{first}'", names, f"model '{name}'", predictor.names)
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
            picture=escape(row["picture"]),
            source=quote(Path(row["picture"]).as_posix()),
            counts=", ".join(f"{escape(name)}: {n}" for name, n in row["detections"].items()),
        )
        for number, row in enumerate(rows, 1)
    ]
    title = escape(", ".join(rows[0]["detections"]))
    page = PAGE.substitute(title=title, figures="\n".join(figures))
    Path(file_name).write_text(page, encoding="utf-8")


def main() -> None:
    args = parse_args()
    if args.limit is not None and args.limit < 1:
        raise ValueError("--limit must be 1 or more.")
    predictors, names = read_models(args.model, args.opts, args.threshold)
    first = args.model[0][0]
    images = find_images(args.input)
    annotated = {i.dataset for i in images if i.record and i.record.get("annotations")}
    for dataset in annotated:
        classes = MetadataCatalog.get(dataset).thing_classes
        refuse_other_classes(f"Model '{first}'", names, f"data set '{dataset}'", classes)
    images = images[: args.limit]
    page, counts = (os.path.join(args.output, x) for x in ("index.html", "predictions.json"))
    if not args.overwrite:
        pictures = [os.path.join(args.output, image.picture) for image in images]
        visualization.refuse_to_replace([*pictures, page, counts])

    rows = []
    for image in tqdm(images, desc="Comparing", unit="image"):
        pixels = read_image(image.file_name)
        panels, detections = [], {}
        if image.dataset in annotated:
            truth = visualization.draw_ground_truth(pixels, image.record, names)
            panels.append(visualization.add_caption("ground truth", truth))
        for name, predictor in predictors.items():
            instances = predictor(image.file_name)
            drawn = visualization.draw_detections(pixels, instances, names)
            panels.append(visualization.add_caption(name, drawn))
            detections[name] = len(instances)
        target = os.path.join(args.output, image.picture)
        visualization.write_rgb(target, np.concatenate(panels, axis=1))
        rows.append({"image": image.file_name, "picture": image.picture, "detections": detections})
    write_page(page, rows, args.threshold)
    with open(counts, "w", encoding="utf-8") as f:
        json.dump({"threshold": args.threshold, "images": rows}, f, indent=1)
    print(f"{len(images)} pictures in {args.output}; open {page} to leaf through them")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"compare.py: {error}")
