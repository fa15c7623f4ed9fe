"""A page where one drops an image and sees what a model finds in it; it needs Gradio.

The model runs once per image. Other thresholds and classes are chosen from what it found.
"""

import base64
import html
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from detectron2.structures import Instances
from pycocotools import mask as mask_util

from ..image_kind import to_rgb
from ..visualization import COLORS, draw_detections
from .coco_dataset import CocoDataset
from .context import Context
from .inputs import Frame, InputImage
from .outputs import by_score
from .predictor import Predictor

if TYPE_CHECKING:
    from gradio import Blocks

LOWEST = 0.05  # the threshold of the model: no other shows more
MAP_ALPHA = 0.6  # how much of its colour the semantic map has
KEPT = 3600  # seconds that Gradio keeps images and pictures
HEADERS = ["class", "score", "x", "y", "width", "height", "area"]


@dataclass(eq=False)  # Gradio compares a state with itself, which would take long for masks
class Seen:
    """An image that the model has seen; its pixels are read anew for each picture.

    Attributes:
        source: the image.
        instances: with RLE, all above :data:`LOWEST`.
        seconds: that the model took.
    """

    source: InputImage
    instances: Instances
    seconds: float


class Demo:
    """What happens on the page; the methods return what its components show."""

    def __init__(self, predictor: Predictor):
        """
        Args:
            predictor: with masks="rle" and the threshold :data:`LOWEST`.
        """
        self.predictor = predictor
        backend = predictor.backend
        self.semantic_names: List[str] = getattr(backend, "semantic_names", [])
        self.has_image_scores: bool = getattr(backend, "has_image_scores", False)

    @property
    def tabs(self) -> List[str]:
        """The names of the tabs; what the model does not say has none."""
        there = {
            "Instances": True,
            "Semantic map": bool(self.semantic_names),
            "Image scores": self.has_image_scores,
        }
        return [name for name, is_there in there.items() if is_there]

    def look(self, path: Optional[str], threshold: float, classes: Sequence[str]) -> List[Any]:
        """Run the model on an image.

        Args:
            path: of the file that was dropped; None if it was taken away.
            threshold, classes: see :meth:`show`.

        Returns:
            what was seen, None if nothing; what :meth:`show` returns; the semantic map as of
            :meth:`semantic_picture`; the score of each class.
        """
        if path is None:
            return [None, *nothing(""), None, {}]
        source = image_of(path, self.predictor)
        try:
            [frame] = source.frames()
            start = time.perf_counter()
            instances, context = self.predictor.with_context(frame)
            seen = Seen(source, instances, time.perf_counter() - start)
            shown = self._shown(frame, seen, threshold, classes)
        except (OSError, ValueError) as error:
            return [None, *nothing(words(error, path)), None, {}]
        scores = context.image_scores
        named = {} if scores is None else dict(zip(self.predictor.names, scores.tolist()))
        return [seen, *shown, self.semantic_picture(frame.pixels, context), named]

    def show(
        self, path: Optional[str], seen: Optional[Seen], threshold: float, classes: Sequence[str]
    ) -> List[Any]:
        """Show what was found in an image with other settings.

        Args:
            path: of the image that is on the page.
            seen: what the model saw last; of another image while it looks at this one.
            threshold: the lowest score.
            classes: the names of those that are shown; of none, all are.

        Returns:
            a sentence, the picture (H, W, 3) in RGB, the rows of the table, and html with the json.
        """
        if path is None or seen is None or seen.source.file_name != path:
            return nothing("")
        try:
            [frame] = seen.source.frames()
            return self._shown(frame, seen, threshold, classes)
        except FileNotFoundError:
            return nothing("The image is not kept for so long. Drop it once more.")
        except (OSError, ValueError) as error:
            return nothing(words(error, path))

    def _shown(
        self, frame: Frame, seen: Seen, threshold: float, classes: Sequence[str]
    ) -> List[Any]:
        """See :meth:`show`."""
        names, found = self.predictor.names, seen.instances
        wanted = [names[c] in classes or not classes for c in found.pred_classes.tolist()]
        chosen = found[(found.scores > threshold) & found.scores.new_tensor(wanted).bool()]
        height, width = found.image_size
        sentence = (
            f"{len(chosen)} of {len(found)} objects in {width} x {height} pixels. "
            f"The model took {seen.seconds:.1f} seconds."
        )
        picture = draw_detections(frame.pixels, chosen, names)
        return [sentence, picture, rows_of(chosen, names), coco_link(frame, chosen, names)]

    def semantic_picture(
        self, pixels: np.ndarray, context: Context
    ) -> Optional[Tuple[np.ndarray, List[Tuple[np.ndarray, str]]]]:
        """The image at the size of the semantic map, and for each class where it is, with its name.

        Args:
            pixels: (H, W, C), three channels as BGR.
            context: of the image; None is returned if it has no map.
        """
        if context.semantic_map is None:
            return None
        height, width = context.semantic_map.shape
        base = cv2.resize(to_rgb(pixels, "BGR"), (width, height), interpolation=cv2.INTER_AREA)
        numbers = np.unique(context.semantic_map).tolist()
        masks = [(context.semantic_map == k) * MAP_ALPHA for k in numbers]
        return base, list(zip(masks, (self.semantic_names[k] for k in numbers)))

    def page(self, threshold: float = 0.5) -> "Blocks":
        """The page, to be launched.

        Predictions come one after the other, however many visitors there are.

        Args:
            threshold: that the page opens with.

        Raises:
            ImportError: Gradio is not installed.
        """
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported, and later
        try:
            import gradio as gr
        except ImportError as error:
            raise ImportError("The demo needs Gradio: pip install 'gradio>=6.31'.") from error

        names = self.predictor.names
        with gr.Blocks(title="SCNet", delete_cache=(KEPT // 6, KEPT)) as page:
            seen = gr.State()
            with gr.Row():
                with gr.Column(scale=1, min_width=280):
                    file = gr.File(label="Image", height=140)
                    slider = gr.Slider(LOWEST, 1, threshold, step=0.01, label="Lowest score")
                    chosen = gr.Dropdown(
                        names, value=[], multiselect=True, label="Classes (all, if none is chosen)"
                    )
                    sentence = gr.Textbox(label="Result", interactive=False, elem_id="result")
                with gr.Column(scale=3, min_width=320):
                    with gr.Tab("Instances"):
                        picture = gr.Image(
                            label="Picture", format="jpeg", buttons=["download", "fullscreen"]
                        )
                        table = gr.Dataframe(
                            headers=HEADERS,
                            interactive=False,
                            label="Objects, in pixels",
                            elem_id="table",
                        )
                        link = gr.HTML()
                    with gr.Tab("Semantic map", visible="Semantic map" in self.tabs):
                        semantic = gr.AnnotatedImage(
                            label="Semantic map", color_map=colors_of(self.semantic_names)
                        )
                    with gr.Tab("Image scores", visible="Image scores" in self.tabs):
                        gr.Markdown("How sure the global context is that the image has a class.")
                        scores = gr.Label(label="Image scores", show_heading=False)
            shown = [sentence, picture, table, link]
            # One at a time: a second prediction would take memory and time from the first.
            file.change(
                self.look,
                [file, slider, chosen],
                [seen, *shown, semantic, scores],
                concurrency_limit=1,
            )
            gr.on(
                [slider.change, chosen.change],
                self.show,
                [file, seen, slider, chosen],
                shown,
                trigger_mode="always_last",
                show_progress="hidden",
            )
        return page


def image_of(path: str, predictor: Predictor) -> InputImage:
    """The input of an image file, as :func:`find_inputs` makes it, but of any file."""
    picture = Path(path).with_suffix(".png").name
    max_pixels = predictor.backend.max_pixels
    return InputImage(path, picture, max_pixels=max_pixels, kind=predictor.kind)


def nothing(sentence: str) -> List[Any]:
    """What :meth:`Demo.show` returns where there is nothing to show but a sentence."""
    return [sentence, None, [], ""]


def words(error: Exception, path: str) -> str:
    """What is wrong with a file, without the folder that it was uploaded to."""
    return str(error).replace(path, Path(path).name)


def rows_of(instances: Instances, names: List[str]) -> List[List[Any]]:
    """The rows of the table, by falling score: name, score, box and area of each object."""
    rows = []
    for k in by_score(instances):
        x1, y1, x2, y2 = instances.pred_boxes.tensor[k].tolist()
        area = (x2 - x1) * (y2 - y1)
        if instances.has("pred_masks"):
            area = float(mask_util.area(instances.pred_masks[k]))
        score = round(float(instances.scores[k]), 3)
        box = [round(v) for v in (x1, y1, x2 - x1, y2 - y1)]
        rows.append([names[int(instances.pred_classes[k])], score, *box, round(area)])
    return rows


def coco_link(frame: Frame, instances: Instances, names: List[str]) -> str:
    """Html with the objects as a data set in COCO format, which the browser saves as a file.

    It is in the page itself, so that no file of it is kept.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "coco.json")
        with CocoDataset(path, names) as writer:
            writer.write(frame, instances)
        content = base64.b64encode(Path(path).read_bytes()).decode()
    name = html.escape(Path(frame.source.picture).with_suffix(".json").name)
    return (
        f'<a download="{name}" href="data:application/json;base64,{content}">'
        "Download these objects as COCO json</a>"
    )


def colors_of(names: Sequence[str]) -> Dict[str, str]:
    """The colours of semantic classes, as html writes them."""
    shades = (COLORS[k % len(COLORS)] * 255 for k in range(len(names)))
    return {name: f"#{bytes(rgb.astype(np.uint8)).hex()}" for name, rgb in zip(names, shades)}
