"""Tables 1 to 5 of the paper: the config and the published values of each row.

Table 1 was measured on COCO test-dev, Tables 2 to 5 on COCO val2017, the speed on a V100.
"""

from typing import Dict, List, NamedTuple, Tuple

# Columns of results: name in the paper -> (task, metric) of COCOEvaluator; fps has none.
METRICS: Dict[str, Tuple[str, str]] = {
    "AP": ("segm", "AP"),
    "AP50": ("segm", "AP50"),
    "AP75": ("segm", "AP75"),
    "APS": ("segm", "APs"),
    "APM": ("segm", "APm"),
    "APL": ("segm", "APl"),
    "APbb": ("bbox", "AP"),
}
FPS = "fps"


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        config: the shipped config, below ``projects/SCNet/configs``, without ".yaml".
        labels: one per descriptive column.
        paper: the published values; percent, and images per second.
    """

    config: str
    labels: List[str]
    paper: List[float]


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
        label_columns: the columns that describe a row.
        value_columns: the columns of results: keys of METRICS, or FPS.
    """

    title: str
    label_columns: List[str]
    value_columns: List[str]
    rows: List[Row]


def _table2_row(number: int, name: str, components: str, *paper: float) -> Row:
    marks = ["x" if component in components else "" for component in "SRG"]
    return Row(f"ablations/table2_row{number}_{name}", marks, list(paper))


def _table1_rows(backbone: str, *per_method: List[float]) -> List[Row]:
    methods = {"cascade_mask_rcnn_sem": "Cascade Mask R-CNN", "htc": "HTC", "scnet": "SCNet"}
    return [
        Row(f"{prefix}_{backbone}_FPN_20e_coco", [method, backbone], paper)
        for (prefix, method), paper in zip(methods.items(), per_method)
    ]


TABLES = {
    "1": Table(
        "Table 1: comparison with other methods, semantic branch in all (COCO test-dev)",
        ["method", "backbone"],
        [*METRICS, FPS],
        [
            *_table1_rows(
                "R_50",
                [37.9, 59.8, 40.8, 20.2, 40.2, 50.2, 43.7, 4.5],
                [38.5, 60.1, 41.7, 20.4, 40.6, 51.2, 43.6, 4.5],
                [40.2, 62.3, 43.4, 22.4, 42.8, 53.4, 45.0, 6.2],
            ),
            *_table1_rows(
                "R_101",
                [39.2, 61.3, 42.4, 20.9, 41.7, 52.2, 45.3, 4.4],
                [39.7, 61.8, 43.0, 20.9, 42.4, 53.0, 45.1, 4.4],
                [41.3, 63.9, 44.8, 22.7, 44.1, 55.2, 46.4, 5.8],
            ),
            *_table1_rows(
                "X_101_64x4d",
                [40.9, 63.7, 44.2, 22.4, 43.5, 54.2, 47.3, 3.7],
                [41.3, 63.9, 44.8, 22.7, 44.0, 54.7, 47.2, 3.7],
                [42.7, 65.7, 46.4, 24.1, 45.7, 56.3, 48.3, 4.6],
            ),
        ],
    ),
    "2": Table(
        "Table 2: components, on Cascade Mask R-CNN with semantic branch (COCO val)",
        ["sample consistency", "feature relay", "global context"],
        ["AP", "AP50", "AP75", "APbb", FPS],
        [
            _table2_row(1, "cascade_mask_rcnn", "", 37.4, 59.0, 40.0, 43.3, 4.5),
            _table2_row(2, "sample_consistency", "S", 38.8, 59.8, 41.7, 43.5, 6.5),
            _table2_row(3, "feature_relay", "R", 38.0, 59.2, 40.8, 43.4, 4.1),
            _table2_row(4, "global_context", "G", 38.3, 59.8, 41.2, 44.5, 4.4),
            _table2_row(5, "sample_consistency_feature_relay", "SR", 39.0, 60.0, 41.9, 43.7, 6.3),
            _table2_row(6, "scnet", "SRG", 39.8, 61.4, 42.7, 44.6, 6.2),
        ],
    ),
    "3": Table(
        "Table 3: naive and effective sample consistency (COCO val)",
        ["sample consistency"],
        ["AP", "APbb", FPS],
        [
            Row("ablations/table3_row1_cascade_mask_rcnn", ["none"], [37.4, 43.3, 4.5]),
            Row("ablations/table3_row2_naive_sample_consistency", ["naive"], [38.0, 43.5, 4.5]),
            Row(
                "ablations/table3_row3_effective_sample_consistency",
                ["effective"],
                [38.8, 43.5, 6.5],
            ),
        ],
    ),
    "4": Table(
        "Table 4: feature relay (COCO val)",
        ["model", "feature relay"],
        ["AP", "APbb", FPS],
        [
            Row("ablations/table4_row1_mask_rcnn", ["Mask R-CNN", ""], [35.1, 38.4, 7.7]),
            Row(
                "ablations/table4_row2_mask_rcnn_feature_relay",
                ["Mask R-CNN", "x"],
                [35.7, 38.3, 7.4],
            ),
            Row(
                "ablations/table4_row3_cascade_mask_rcnn",
                ["Cascade Mask R-CNN", ""],
                [37.4, 43.3, 4.5],
            ),
            Row(
                "ablations/table4_row4_cascade_mask_rcnn_feature_relay",
                ["Cascade Mask R-CNN", "x"],
                [38.0, 43.4, 4.1],
            ),
        ],
    ),
    "5": Table(
        "Table 5: weight of the global context loss (COCO val)",
        ["lambda"],
        ["AP", "AP50", "AP75", "APS", "APM", "APL", "APbb"],
        [
            Row(f"ablations/table5_row{number}_lambda_{weight}", [weight], paper)
            for number, (weight, paper) in enumerate(
                {
                    "none": [39.0, 60.0, 42.0, 20.2, 41.8, 54.5, 43.7],
                    "0": [39.6, 61.3, 42.6, 21.9, 42.7, 54.8, 44.4],
                    "1": [39.6, 61.3, 42.6, 21.9, 42.8, 55.0, 44.5],
                    "2": [39.7, 61.2, 42.8, 21.7, 42.9, 55.1, 44.6],
                    "3": [39.8, 61.4, 42.7, 22.1, 43.0, 54.5, 44.6],
                    "5": [39.6, 61.3, 42.6, 21.8, 42.7, 55.0, 44.5],
                }.items(),
                start=1,
            )
        ],
    ),
}
