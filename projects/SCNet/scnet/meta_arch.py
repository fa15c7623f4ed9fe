"""SCNet as a whole: backbone -> context of the whole image -> proposals -> RoI heads (Fig. 2c).

Shapes: N images, C channels, (H, W) the size of the padded batch in pixels.
"""

from typing import Dict, List, Optional, Tuple

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .modeling.context_pooler import GLOBAL_CONTEXT, SEMANTIC
from .modeling.global_context import GlobalContextHead
from .modeling.semantic_head import SemanticHead


@META_ARCH_REGISTRY.register()
class SCNet(GeneralizedRCNN):
    """Detectron2's generalized R-CNN with the two branches that see the whole image.

    What they find joins the feature dict as "semantic" and "global_context", so proposals, RoI
    heads and test-time augmentation need not know about it.
    """

    @configurable
    def __init__(
        self,
        *,
        semantic_head: Optional[nn.Module] = None,
        global_context_head: Optional[nn.Module] = None,
        freeze_bn_statistics: bool = False,
        **kwargs,
    ):
        """
        Args:
            semantic_head: None switches the semantic branch off.
            global_context_head: None switches global context off.
            freeze_bn_statistics: batch norm layers of the backbone use and keep the statistics
                that they were loaded with.
            kwargs: see :class:`detectron2.modeling.GeneralizedRCNN`.
        """
        super().__init__(**kwargs)
        self.semantic_head = semantic_head
        self.global_context_head = global_context_head
        self.freeze_bn_statistics = freeze_bn_statistics

    @classmethod
    def from_config(cls, cfg):
        ret = super().from_config(cfg)
        shape = ret["backbone"].output_shape()
        if cfg.MODEL.SCNET.SEMANTIC.ENABLED:
            ret["semantic_head"] = SemanticHead(cfg, shape)
        if cfg.MODEL.SCNET.GLOBAL_CONTEXT.ENABLED:
            ret["global_context_head"] = GlobalContextHead(cfg, shape)
        ret["freeze_bn_statistics"] = cfg.MODEL.SCNET.FREEZE_BN_STATISTICS
        return ret

    def train(self, mode: bool = True):
        super().train(mode)
        if self.freeze_bn_statistics:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, batched_inputs: List[Dict]):
        """
        Args:
            batched_inputs: a dict per image with "image" (3, h, w); in training "instances" and,
                with the semantic branch, "sem_seg" (h, w); at inference "height" and "width" of
                the output.

        Returns:
            in training a dict of losses, else a dict per image with "instances".

        Raises:
            KeyError: an image of a training batch has no semantic map.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = [x["instances"].to(self.device) for x in batched_inputs]
        sem_seg = self._semantic_targets(batched_inputs) if self.semantic_head else None

        features, losses = self._context(self.backbone(images.tensor), targets, sem_seg)
        proposals, proposal_losses = self.proposal_generator(images, features, targets)
        _, detector_losses = self.roi_heads(images, features, proposals, targets)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return {**losses, **proposal_losses, **detector_losses}

    def inference(
        self,
        batched_inputs: List[Dict],
        detected_instances: Optional[List[Instances]] = None,
        do_postprocess: bool = True,
    ):
        """See :meth:`detectron2.modeling.GeneralizedRCNN.inference`."""
        images = self.preprocess_image(batched_inputs)
        features, _ = self._context(self.backbone(images.tensor))
        if detected_instances is None:
            proposals, _ = self.proposal_generator(images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            detected_instances = [x.to(self.device) for x in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, detected_instances)
        if do_postprocess:
            return self._postprocess(results, batched_inputs, images.image_sizes)
        return results

    def _context(
        self,
        features: Dict[str, Tensor],
        targets: Optional[List[Instances]] = None,
        sem_seg: Optional[Tensor] = None,
    ) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
        """Run the branches that see the whole image.

        Args:
            features: the levels of the pyramid, by name.
            targets: the ground truth per image, in training.
            sem_seg: (N, H, W), the semantic map, in training.

        Returns:
            the features with "semantic" (N, C, H/8, W/8) and "global_context" (N, C, 1, 1) added,
            and the losses of both.
        """
        features, losses = dict(features), {}
        if self.semantic_head is not None:
            logits, features[SEMANTIC] = self.semantic_head(features)
            if self.training:
                losses.update(self.semantic_head.losses(logits, sem_seg))
        if self.global_context_head is not None:
            logits, features[GLOBAL_CONTEXT] = self.global_context_head(features)
            if self.training:
                losses.update(self.global_context_head.losses(logits, targets))
        return features, losses

    def _semantic_targets(self, batched_inputs: List[Dict]) -> Tensor:
        """The semantic maps (N, H, W), padded like the images with the value to ignore."""
        for x in batched_inputs:
            if "sem_seg" not in x:
                raise KeyError(
                    f"{x.get('file_name', 'An image')} has no semantic map ('sem_seg'), but the "
                    "semantic branch is on. Train on a data set with maps, or set "
                    "MODEL.SCNET.SEMANTIC.ENABLED False."
                )
        return ImageList.from_tensors(
            [x["sem_seg"].to(self.device) for x in batched_inputs],
            self.backbone.size_divisibility,
            self.semantic_head.ignore_value,
            self.backbone.padding_constraints,
        ).tensor
