"""Getting published weights of SCNet, HTC and Cascade Mask R-CNN by their names (``scnet://``)."""

import io
import os

import torch
from detectron2.utils.file_io import PathManager

from .converted import ConvertedWeightsHandler
from .hashes import verify_hash
from .mmdet import convert_mmdet_checkpoint

URL = "https://download.openmmlab.com/mmdetection/v2.0/"

# The last eight digits of a file's name begin its SHA-256.
FILES = {
    "R_50_FPN_1x": "scnet/scnet_r50_fpn_1x_coco/scnet_r50_fpn_1x_coco-c3f09857.pth",
    "R_50_FPN_20e": "scnet/scnet_r50_fpn_20e_coco/scnet_r50_fpn_20e_coco-a569f645.pth",
    "R_101_FPN_20e": "scnet/scnet_r101_fpn_20e_coco/scnet_r101_fpn_20e_coco-294e312c.pth",
    "X_101_64x4d_FPN_20e": (
        "scnet/scnet_x101_64x4d_fpn_20e_coco/scnet_x101_64x4d_fpn_20e_coco-fb09dec9.pth"
    ),
    "htc_R_50_FPN_1x": "htc/htc_r50_fpn_1x_coco/htc_r50_fpn_1x_coco_20200317-7332cf16.pth",
    "htc_R_50_FPN_20e": "htc/htc_r50_fpn_20e_coco/htc_r50_fpn_20e_coco_20200319-fe28c577.pth",
    "htc_R_101_FPN_20e": "htc/htc_r101_fpn_20e_coco/htc_r101_fpn_20e_coco_20200317-9b41b48f.pth",
    "htc_X_101_64x4d_FPN_20e": (
        "htc/htc_x101_64x4d_fpn_16x1_20e_coco/"
        "htc_x101_64x4d_fpn_16x1_20e_coco_20200318-b181fd7a.pth"
    ),
    "cascade_mask_rcnn_R_50_FPN_1x": (
        "cascade_rcnn/cascade_mask_rcnn_r50_fpn_1x_coco/"
        "cascade_mask_rcnn_r50_fpn_1x_coco_20200203-9d4dcb24.pth"
    ),
    "cascade_mask_rcnn_R_50_FPN_20e": (
        "cascade_rcnn/cascade_mask_rcnn_r50_fpn_20e_coco/cascade_mask_rcnn_r50_fpn_20e_coco_"
        "bbox_mAP-0.419__segm_mAP-0.365_20200504_174711-4af8e66e.pth"
    ),
    "cascade_mask_rcnn_R_101_FPN_20e": (
        "cascade_rcnn/cascade_mask_rcnn_r101_fpn_20e_coco/cascade_mask_rcnn_r101_fpn_20e_coco_"
        "bbox_mAP-0.434__segm_mAP-0.378_20200504_174836-005947da.pth"
    ),
    "cascade_mask_rcnn_X_101_64x4d_FPN_20e": (
        "cascade_rcnn/cascade_mask_rcnn_x101_64x4d_fpn_20e_coco/"
        "cascade_mask_rcnn_x101_64x4d_fpn_20e_coco_20200512_161033-bdb5126a.pth"
    ),
}


class ZooHandler(ConvertedWeightsHandler):
    """Downloads the official file, verifies the hash in its name, and converts it.

    Raises:
        ValueError: there is no such name, or the file is not what its hash says.
        OSError: without network; the message says what to fetch and where to put it.
    """

    prefix = "scnet://"
    suffix = ".pth"

    def convert(self, name: str, folder: str) -> bytes:
        if name not in FILES:
            raise ValueError(f"No weights '{self.prefix}{name}'. There are: {', '.join(FILES)}.")
        buffer = io.BytesIO()
        torch.save(convert_mmdet_checkpoint(self._official_file(name, folder)), buffer)
        return buffer.getvalue()

    @staticmethod
    def _official_file(name: str, folder: str) -> str:
        """Find the file that was put into the folder by hand, or else download it.

        Raises:
            OSError: without network.
            ValueError: see :func:`scnet.checkpoint.hashes.verify_hash`.
        """
        url = URL + FILES[name]
        path = os.path.join(folder, os.path.basename(url))
        if not os.path.exists(path):
            try:
                path = PathManager.get_local_path(url)
            except OSError as error:
                raise OSError(
                    f"Cannot download {url} ({error}). Fetch it by hand, put it there as {path}, "
                    "and start again."
                ) from error
        verify_hash(path)
        return path
