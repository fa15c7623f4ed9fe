"""Writing what was predicted as GeoJSON, in the coordinates of georeferenced images."""

import json
import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
from detectron2.structures import Instances

from ..data.image import read_orientation
from ..whole_files import whole_file
from .coco_dataset import name_in_folder
from .inputs import Frame, Input, InputImage
from .mask_formats import to_rle
from .outputs import Writer, by_score
from .polygons import to_rings

SYSTEM = "that of the world files of the images, not changed to WGS 84, which RFC 7946 asks for"


class GeoJson(Writer):
    """Writes a FeatureCollection (RFC 7946), one feature per object, with its holes.

    A world file beside each image says where it is: six numbers that make coordinates of columns
    and rows. Their coordinate system is written nowhere in such files, and is not changed.
    """

    def __init__(self, path: str, names: List[str]):
        """Write nothing yet.

        Args:
            path: of the file.
            names: of the classes.
        """
        self.path, self.names, self.count = path, names, 0
        self.places: Dict[str, WorldFile] = {}

    def paths(self, inputs: Sequence[Input]) -> List[str]:
        return [self.path]

    def check(self, inputs: Sequence[Input]) -> None:
        """Read the world files.

        Raises:
            ValueError: an input is no image, or has no world file or one that cannot be.
        """
        for x in inputs:
            if not isinstance(x, InputImage):
                raise ValueError(f"'{x.file_name}' is no image, and --geojson is for images.")
            self.places[x.file_name] = WorldFile.beside(x.file_name)

    def __enter__(self) -> "GeoJson":
        """Begin the file.

        Raises:
            OSError: it cannot be written.
        """
        self.whole = whole_file(self.path)
        self.file = self.whole.__enter__()
        self.file.write(
            f'{{"type": "FeatureCollection",\n"coordinate_system": {json.dumps(SYSTEM)},\n'
            '"features": ['
        )
        return self

    def write(self, frame: Frame, instances: Instances) -> None:
        """Write what was found in the next image.

        Raises:
            OSError: the file cannot be written.
        """
        assert isinstance(frame.source, InputImage)  # see check
        place = self.places[frame.source.file_name]
        for k in by_score(instances):
            if instances.has("pred_masks"):
                parts = to_rings(to_rle(instances.pred_masks[k]))
            else:
                x1, y1, x2, y2 = instances.pred_boxes.tensor[k].tolist()
                parts = [[np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])]]
            if not parts:
                continue
            feature = {
                "type": "Feature",
                "geometry": {
                    "type": "MultiPolygon",
                    "coordinates": [place.polygon(rings) for rings in parts],
                },
                "properties": {
                    "file_name": name_in_folder(frame.source),
                    "class": self.names[int(instances.pred_classes[k])],
                    "score": float(instances.scores[k]),
                },
            }
            self.file.write((",\n" if self.count else "\n") + json.dumps(feature))
            self.count += 1

    def __exit__(self, *error) -> None:
        """Finish the file; after an error there is none."""
        if error[0] is None:
            self.file.write("\n]}\n")
        self.whole.__exit__(*error)


class WorldFile(NamedTuple):
    """Where an image is: x = a column + b row + c and y = d column + e row + f.

    (0, 0) is the middle of the pixel at the top left.
    """

    a: float
    d: float
    b: float
    e: float
    c: float
    f: float

    @classmethod
    def beside(cls, image: str) -> "WorldFile":
        """Read the world file of an image: "a.tfw", "a.tifw" or "a.wld" for "a.tif".

        Raises:
            ValueError: there is none, it has other lines than six numbers, or puts the image on a
                line; or the image is turned by its EXIF tag, so that columns are no columns.
        """
        stem, ending = os.path.splitext(image)
        ending = ending[1:]
        endings = (f"{ending[:1]}{ending[-1:]}w", f"{ending}w", "wld")
        names = [f"{stem}.{x}" for y in endings for x in dict.fromkeys((y, y.lower(), y.upper()))]
        path = next(filter(os.path.isfile, names), None)
        if path is None:
            raise ValueError(
                f"'{image}' has no world file ({', '.join(f'.{x}' for x in endings)}), which "
                "--geojson needs. 'gdal_translate -co WORLDFILE=YES' or a GIS writes it."
            )
        try:
            place = cls(*map(float, Path(path).read_text(encoding="utf-8").split()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"'{path}' is no world file of six numbers.") from error
        if not np.isfinite(place).all() or place.a * place.e == place.b * place.d:
            raise ValueError(f"'{path}' has numbers that are no place: {list(place)}.")
        if read_orientation(image) != 1:
            raise ValueError(
                f"'{image}' is turned by its EXIF tag, but '{path}' is for the image as it is "
                "stored. Remove the tag."
            )
        return place

    def polygon(self, rings: List[np.ndarray]) -> List[Any]:
        """Coordinates of an outline and its holes, as GeoJSON has them.

        Args:
            rings: each (N, 2), x and y in pixels, where (0, 0) is the corner of the first pixel.

        Returns:
            closed rings; the first goes counterclockwise, the others clockwise.
        """
        matrix = np.array([[self.a, self.d], [self.b, self.e]])
        closed = []
        for k, ring in enumerate(rings):
            points = (ring - 0.5) @ matrix + (self.c, self.f)
            x, y = (points - points[0]).T
            is_counterclockwise = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0
            if is_counterclockwise != (k == 0):
                points = points[::-1]
            closed.append([*points.tolist(), points[0].tolist()])
        return closed
