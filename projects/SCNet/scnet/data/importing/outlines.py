"""Polygons and boxes of shapes that are described in another way."""

import math
from typing import List

import numpy as np

POINTS = 64  # of an ellipse: the polygon has 99.8% of its area


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0) -> List[float]:
    """The polygon [x1, y1, x2, y2, ...] of an ellipse.

    Args:
        x, y: its middle, in pixels.
        rx, ry: half of its width and height, before it is turned.
        degrees: that it is turned by, clockwise on the screen.
    """
    angles = np.arange(POINTS) * (2 * math.pi / POINTS)
    points = np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=1)
    return (turn(points, degrees) + (x, y)).ravel().tolist()


def box_around(
    x: float, y: float, width: float, height: float, degrees: float, about: str
) -> List[float]:
    """The box [x, y, width, height] around a box that is turned.

    Args:
        x, y, width, height: of the box before it is turned.
        degrees: clockwise on the screen.
        about: what it is turned about, "corner" (top left) or "middle".
    """
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    pivot = np.array((0, 0) if about == "corner" else (width / 2, height / 2))
    points = turn(corners - pivot, degrees) + pivot + (x, y)
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def turn(points: np.ndarray, degrees: float) -> np.ndarray:
    """Turn points (N, 2) about (0, 0), clockwise on the screen, where y goes down."""
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])
