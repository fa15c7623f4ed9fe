"""SCNet as a whole: backbone -> context of the whole image -> proposals -> RoI heads (Fig. 2c).

Shapes: N images, C channels, (H, W) the size of the padded batch in pixels.
"""

from contextlib import nullcontext
from typing import ContextManager, Dict, List, Optional, Sequence, Set, Tuple

import torch
from detectron2.config import configurable
from detectron2.data.catalog import Metadata
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, build_sem_seg_head
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..image_kind import COLOUR, ImageKind, to_rgb
from . import class_metadata
from .activation_checkpointing import checkpoint_activations
from .backbone.keys import check_backbone_keys
from .backbone.pixel_statistics import check_pixels
from .context_pooler import GLOBAL_CONTEXT, SEMANTIC
from .global_context import GlobalContextHead
from .panoptic import PanopticCombination
from .process_mean import Losses
from .required_keys import require_keys, require_registered
from .run_length_masks import with_bitmaps
from .semantic_head import SemanticHead

REQUIRED_KEYS = {
    "MODEL.LOAD_PROPOSALS": (False, "SCNet makes its proposals itself"),
    "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT": (
        1.0,
        "the losses of SCNet are weighted by MODEL.SCNET.STAGE_LOSS_WEIGHTS and "
        "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
    ),
    "MODEL.PANOPTIC_FPN.COMBINE.ENABLED": (
        True,
        "MODEL.SCNET.SEMANTIC.OUTPUT switches the panoptic output on and off",
    ),
}


@META_ARCH_REGISTRY.register()
class SCNet(GeneralizedRCNN):
    """Detectron2's generalized R-CNN with the two branches that see the whole image.

    What they find joins the feature dict as "semantic" and "global_context", so proposals, RoI
    heads and test-time augmentation need not know about it.

    Attributes:
        autocast_dtype: of convolutions and matrix products at inference.
        kind: of the images.
        metadata: the names of the classes, for Detectron2's Visualizer. They are loaded and saved
            with the weights; training sets them.
    """

    @configurable
    def __init__(
        self,
        *,
        semantic_head: Optional[SemanticHead] = None,
        global_context_head: Optional[GlobalContextHead] = None,
        freeze_bn_statistics: bool = False,
        semantic_output: bool = False,
        panoptic_combination: Optional[PanopticCombination] = None,
        image_scores_output: bool = False,
        activation_checkpointing: Sequence[str] = (),
        kind: ImageKind = COLOUR,
        **kwargs,
    ):
        """
        Args:
            semantic_head: None switches the semantic branch off.
            global_context_head: None switches global context off.
            freeze_bn_statistics: batch norm layers of the backbone use and keep the statistics
                that they were loaded with.
            semantic_output: predictions have "sem_seg".
            panoptic_combination: makes "panoptic_seg" of the instances and "sem_seg".
            image_scores_output: predictions have "image_scores".
            activation_checkpointing: see :func:`checkpoint_activations`.
            kind: of the images.
            kwargs: see :class:`detectron2.modeling.GeneralizedRCNN`.

        Raises:
            ValueError: a prediction is asked for whose branch is switched off, or the parts do not
                fit together.
        """
        super().__init__(**kwargs)
        self.semantic_head = semantic_head
        self.global_context_head = global_context_head
        self.freeze_bn_statistics = freeze_bn_statistics
        self.semantic_output = semantic_output
        self.panoptic_combination = panoptic_combination
        self.image_scores_output = image_scores_output
        self.autocast_dtype = torch.float32
        self.kind = kind
        self.metadata = Metadata()
        self._check_parts()
        checkpoint_activations(self, activation_checkpointing)

    @classmethod
    def from_config(cls, cfg):
        require_keys(cfg, REQUIRED_KEYS)
        require_registered(cfg)
        check_backbone_keys(cfg)
        check_pixels(cfg)
        ret = super().from_config(cfg)
        shape = ret["backbone"].output_shape()
        scnet = cfg.MODEL.SCNET
        if scnet.SEMANTIC.SOURCE != "none":
            ret["semantic_head"] = build_sem_seg_head(cfg, shape)
        if scnet.GLOBAL_CONTEXT.ENABLED:
            ret["global_context_head"] = GlobalContextHead(cfg, shape)
        ret["freeze_bn_statistics"] = scnet.FREEZE_BN_STATISTICS
        ret["semantic_output"] = scnet.SEMANTIC.OUTPUT
        if scnet.SEMANTIC.OUTPUT and scnet.SEMANTIC.SOURCE == "panoptic" and cfg.MODEL.MASK_ON:
            ret["panoptic_combination"] = PanopticCombination(cfg)
        ret["image_scores_output"] = scnet.GLOBAL_CONTEXT.OUTPUT
        ret["kind"] = ImageKind.of(cfg)
        ret["activation_checkpointing"] = scnet.ACTIVATION_CHECKPOINTING
        return ret

    def _check_parts(self) -> None:
        """Refuse parts that do not fit together, however the model was put together."""
        if self.proposal_generator is None:
            raise ValueError(
                "There is no proposal_generator. MODEL.PROPOSAL_GENERATOR.NAME must be 'SCNetRPN' "
                "or another one that makes proposals, not 'PrecomputedProposals'."
            )
        if not isinstance(self.semantic_head, (SemanticHead, type(None))):
            raise ValueError(
                f"The semantic head is {type(self.semantic_head).__name__} (MODEL.SEM_SEG_HEAD."
                "NAME), which gives no embedding for the regions. It must be SCNetSemanticHead or "
                "another subclass of scnet.modeling.semantic_head.SemanticHead."
            )
        pooled = getattr(self.roi_heads, "box_in_features", ())
        heads = {SEMANTIC: self.semantic_head, GLOBAL_CONTEXT: self.global_context_head}
        for name, head in heads.items():
            if (head is not None) != (name in pooled):
                raise ValueError(
                    f"'{name}' is {'not ' if head is None else ''}made by the model, but "
                    f"{type(self.roi_heads).__name__} (MODEL.ROI_HEADS.NAME) pools {list(pooled)}. "
                    "Use SCNetROIHeads or a subclass of it, with poolers for what the model makes."
                )
        if self.semantic_output and self.semantic_head is None:
            raise ValueError(
                "semantic_output (MODEL.SCNET.SEMANTIC.OUTPUT) is True, but the semantic branch is "
                "switched off (MODEL.SCNET.SEMANTIC.SOURCE 'none')."
            )
        if self.panoptic_combination is not None and not self.semantic_output:
            raise ValueError("panoptic_combination needs semantic_output True.")
        if self.image_scores_output and self.global_context_head is None:
            raise ValueError(
                "image_scores_output (MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT) is True, but global "
                "context is switched off (MODEL.SCNET.GLOBAL_CONTEXT.ENABLED False)."
            )

    def train(self, mode: bool = True):
        super().train(mode)
        if self.freeze_bn_statistics:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, batched_inputs: List[Dict]):
        """The losses of a batch in training, its predictions otherwise.

        Args:
            batched_inputs: a dict per image with "image" (C, h, w); in training "instances" and,
                with the semantic branch, "sem_seg" (h, w); at inference "height" and "width" of
                the output.

        Returns:
            in training a dict of losses, else a dict per image with "instances" and, if asked
            for, "sem_seg" (classes, height, width), logits; "panoptic_seg", see
            :class:`PanopticCombination`; "image_scores" (classes,), probabilities.

        Raises:
            KeyError: an image of a training batch has no semantic map.
            FloatingPointError: proposals of a training batch are not finite.
        """
        if not self.training:
            return self.inference(batched_inputs)
        try:
            losses = self.losses(batched_inputs)
        except FloatingPointError:  # Detectron2's RPN raises it for proposals that are not finite
            Losses().over_processes(self.device)  # the others wait for it, and are told later
            raise
        return losses.over_processes(self.device)

    def losses(self, batched_inputs: List[Dict]) -> Losses:
        """The losses of this process; arguments and errors as for :meth:`forward`."""
        images = self.preprocess_image(batched_inputs)
        targets = [with_bitmaps(x["instances"].to(self.device)) for x in batched_inputs]

        features, logits = self.add_context(self.backbone(images.tensor))
        losses = self._context_losses(logits, targets, batched_inputs)
        proposals, proposal_losses = self.proposal_generator(images, features, targets)
        losses.include(proposal_losses)
        _, detector_losses = self.roi_heads(images, features, proposals, targets)
        losses.include(detector_losses)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            pictures = [{**x, "image": self._picture(x["image"])} for x in batched_inputs]
            self.visualize_training(pictures, proposals)
        return losses

    def inference(
        self,
        batched_inputs: List[Dict],
        detected_instances: Optional[List[Instances]] = None,
        do_postprocess: bool = True,
    ):
        """See :meth:`detectron2.modeling.GeneralizedRCNN.inference`."""
        results, logits, image_sizes = self.detect(batched_inputs, detected_instances)
        if not do_postprocess:
            return results
        outputs = self._postprocess(results, batched_inputs, image_sizes)
        self._add_context_outputs(outputs, logits, image_sizes)
        return outputs

    def detect(
        self, batched_inputs: List[Dict], detected_instances: Optional[List[Instances]] = None
    ) -> Tuple[List[Instances], Dict[str, Tensor], List[Tuple[int, int]]]:
        """What the network finds, at the size that it sees; arguments as for :meth:`inference`.

        Returns:
            the instances per image, the logits of :meth:`add_context`, and height and width of
            each image within the batch.
        """
        images = self.preprocess_image(batched_inputs)
        with self.autocast():
            features, logits = self.add_context(self.backbone(images.tensor))
            if detected_instances is None:
                proposals, _ = self.proposal_generator(images, features, None)
                results, _ = self.roi_heads(images, features, proposals, None)
            else:
                detected_instances = [x.to(self.device) for x in detected_instances]
                results = self.roi_heads.forward_with_given_boxes(features, detected_instances)
        return results, logits, images.image_sizes

    def autocast(self) -> ContextManager:
        """PyTorch's autocast to ``autocast_dtype``, in which all of inference is computed."""
        if self.autocast_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast_dtype)

    def add_context(
        self, features: Dict[str, Tensor]
    ) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:
        """Run the branches that see the whole image, and add what they find to the features.

        Args:
            features: the levels of the pyramid, by name.

        Returns:
            the features with "semantic" (N, C, H/8, W/8) and "global_context" (N, C, 1, 1) added;
            and under the same names the logits of the branches, (N, classes, H/8, W/8) and
            (N, classes).
        """
        features, logits = dict(features), {}
        if self.semantic_head is not None:
            logits[SEMANTIC], features[SEMANTIC] = self.semantic_head(features)
        if self.global_context_head is not None:
            logits[GLOBAL_CONTEXT], features[GLOBAL_CONTEXT] = self.global_context_head(features)
        return features, logits

    def _picture(self, image: Tensor) -> Tensor:
        """Make an image (C, H, W) one that can be shown: (3, H, W) uint8, in the model's order."""
        picture = to_rgb(image.permute(1, 2, 0).cpu().numpy(), self.input_format)
        picture = picture[:, :, ::-1] if self.input_format == "BGR" else picture
        return torch.as_tensor(picture.copy()).permute(2, 0, 1)

    def preprocess_image(self, batched_inputs: List[Dict]) -> ImageList:
        """Normalise the images of a batch and pad them, to squares if the backbone wants them.

        Raises:
            ValueError: an image has other channels than MODEL.PIXEL_MEAN, of which PyTorch would
                make several out of one; or it is larger than the square, and Detectron2 would cut
                it off.
        """
        channels = len(self.pixel_mean)
        for image in (x["image"] for x in batched_inputs):
            if image.shape[0] != channels:
                raise ValueError(
                    f"An image has the shape {tuple(image.shape)}, but the model takes {channels} "
                    "channels (INPUT.CHANNELS)."
                )
        side = self.backbone.padding_constraints.get("square_size", 0)
        for image in (x["image"] for x in batched_inputs) if side > 0 else ():
            if max(image.shape[-2:]) > side:
                raise ValueError(
                    f"An image of {image.shape[-2]} x {image.shape[-1]} pixels (height x width) is "
                    f"larger than MODEL.BACKBONE.SQUARE_PAD {side}. Limit INPUT.MAX_SIZE_TRAIN, "
                    "INPUT.MAX_SIZE_TEST and TEST.AUG.MAX_SIZE to it."
                )
        return super().preprocess_image(batched_inputs)

    def _context_losses(
        self, logits: Dict[str, Tensor], targets: List[Instances], batched_inputs: List[Dict]
    ) -> Losses:
        """The losses of the branches that see the whole image.

        Args:
            logits: of :meth:`add_context`.
            targets: the ground truth per image.
            batched_inputs: with "sem_seg", if there is a semantic branch.
        """
        losses = Losses()
        if self.semantic_head is not None:
            sem_seg = self.semantic_head.targets(batched_inputs, logits[SEMANTIC])
            losses.include(self.semantic_head.losses(logits[SEMANTIC], sem_seg))
        if self.global_context_head is not None:
            losses.include(self.global_context_head.losses(logits[GLOBAL_CONTEXT], targets))
        return losses

    def _add_context_outputs(
        self, outputs: List[Dict], logits: Dict[str, Tensor], image_sizes: List[Tuple[int, int]]
    ) -> None:
        """Add what is asked for of "sem_seg", "panoptic_seg" and "image_scores".

        Args:
            outputs: per image, with "instances" at the size of the output.
            logits: of :meth:`add_context`.
            image_sizes: height and width of each image within the batch.
        """
        if self.semantic_head is not None and self.semantic_output:
            maps = self.semantic_head.upsample(logits[SEMANTIC].float())
            for output, sem_seg, image_size in zip(outputs, maps, image_sizes):
                height, width = output["instances"].image_size
                output["sem_seg"] = sem_seg_postprocess(sem_seg, image_size, height, width)
                if self.panoptic_combination is not None:
                    output["panoptic_seg"] = self.panoptic_combination(
                        output["instances"], output["sem_seg"]
                    )
        if self.image_scores_output:
            for output, scores in zip(outputs, logits[GLOBAL_CONTEXT].float().sigmoid()):
                output["image_scores"] = scores

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.metadata.get("thing_classes"):
            destination[prefix + class_metadata.KEY] = class_metadata.encode(self.metadata)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Take the names of the classes from the weights.

        Raises:
            ValueError: the weights are for another number of classes, unless the model is in
                training mode: training may start from the weights of other classes.
        """
        encoded = state_dict.pop(prefix + class_metadata.KEY, None)
        if encoded is not None:
            metadata = class_metadata.decode(encoded)
            names, expected = metadata.thing_classes, self.roi_heads.num_classes
            if len(names) == expected:
                self.metadata = metadata
            elif not self.training:
                raise ValueError(
                    f"The weights are for {len(names)} classes ({', '.join(names[:10])}), but the "
                    f"config has MODEL.ROI_HEADS.NUM_CLASSES {expected}. Use the config.yaml that "
                    "the training saved beside the weights, or correct the number."
                )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def parameters_of_predictions(self) -> Set[str]:
        """The names of the parameters without which there are no predictions.

        The regions need the embedding of the semantic branch and the vector of the global context;
        the classifiers of the two branches are needed where their outputs are asked for.
        """
        unused = []
        if not self.semantic_output:
            unused.append("semantic_head.predictor.")
        if not self.image_scores_output:
            unused.append("global_context_head.classifier.")
        return {n for n, _ in self.named_parameters() if not n.startswith(tuple(unused))}
