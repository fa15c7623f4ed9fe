"""The configuration keys of SCNet, and where the shipped config files lie."""

from difflib import get_close_matches
from pathlib import Path
from typing import Sequence, Union

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg as get_detectron2_cfg

from .config_mistakes import merge_opts
from .safe_config import SafeCfgNode

# The shipped configs lie beside the package in the repository, and inside it in a wheel.
CONFIG_DIR = Path(__file__).parent / "configs"
if not CONFIG_DIR.is_dir():
    CONFIG_DIR = Path(__file__).parents[1] / "configs"


MAX_PIXELS = 178956970  # of an image; Pillow calls a larger one a decompression bomb


def add_scnet_config(cfg: CN) -> None:
    """Add the keys that Detectron2 does not have, with the paper's values as defaults.

    The cascade, the heads and the semantic branch also use Detectron2's own keys, which
    ``configs/Base-SCNet-FPN.yaml`` sets: ``MODEL.ROI_BOX_CASCADE_HEAD``, ``MODEL.ROI_BOX_HEAD``,
    ``MODEL.ROI_MASK_HEAD``, ``MODEL.SEM_SEG_HEAD``. The last three name the classes of the heads,
    which are in Detectron2's registries.
    """
    _C = cfg
    _C.MODEL.SCNET = CN()

    # alpha_t of Eq. 3: the weight of the box losses of stage t. The mask branch takes its own
    # weight from these: their sum, beta of Eq. 4, with sample consistency.
    _C.MODEL.SCNET.STAGE_LOSS_WEIGHTS = (1.0, 0.5, 0.25)
    # True: every stage appends the ground truth and samples anew, as the authors do.
    # False: Detectron2's cascade, which samples once and only labels again.
    _C.MODEL.SCNET.RESAMPLE = True
    # What is averaged over the stages to give the score of a box: "logits" (the authors) or
    # "probabilities" (Detectron2).
    _C.MODEL.SCNET.SCORE_AVERAGE = "logits"

    # Which RoIs train which mask head:
    # - "sample_consistency" (Sec. 4.1, Fig. 3b): one deep head, the samples of the last box stage;
    # - "naive_sample_consistency" (Fig. 3a): one head per stage, all after the last box stage;
    # - "per_stage" (Fig. 2a): one head per stage, the samples of its stage (Cascade Mask R-CNN);
    # - "interleaved" (Fig. 2b): one head per stage, each stage's refined boxes, mask features
    #   handed from head to head (Hybrid Task Cascade).
    # MODEL.ROI_MASK_HEAD.NAME is "SCNetMaskHead" with the first, "MaskRCNNConvUpsampleHead" with
    # the next two and "HTCMaskHead" with the last, or a head of one's own.
    # MODEL.ROI_MASK_HEAD.NUM_CONV counts the convolutions of one stage in all cases; effective
    # sample consistency stacks those of all stages into its one head (3 x 4 = 12).
    _C.MODEL.SCNET.MASK_BRANCH = "sample_consistency"
    # Sec. 4.2, Fig. 4: for each mask head, from the box head of the stage whose samples it gets.
    _C.MODEL.SCNET.FEATURE_RELAY = True

    # Sec. 4.2, Fig. 5.
    _C.MODEL.SCNET.GLOBAL_CONTEXT = CN()
    _C.MODEL.SCNET.GLOBAL_CONTEXT.ENABLED = True
    _C.MODEL.SCNET.GLOBAL_CONTEXT.IN_FEATURE = "p6"
    _C.MODEL.SCNET.GLOBAL_CONTEXT.NUM_BLOCKS = 2
    _C.MODEL.SCNET.GLOBAL_CONTEXT.LOSS_WEIGHT = 3.0  # lambda of Eq. 3
    # Predictions have "image_scores": per class, how sure the branch is that the image has it.
    _C.MODEL.SCNET.GLOBAL_CONTEXT.OUTPUT = False

    # The semantic branch; its layers are described by MODEL.SEM_SEG_HEAD, whose NAME is
    # "SCNetSemanticHead" and whose LOSS_WEIGHT is gamma of Eq. 3.
    _C.MODEL.SCNET.SEMANTIC = CN()
    # What the branch learns from:
    # - "stuffthingmaps": a PNG per image, whose values are classes (the paper);
    # - "panoptic": panoptic annotations in COCO format;
    # - "instances": the objects, and one class for the background;
    # - "none": there is no semantic branch;
    # - "auto": the maps that the training sets have, "instances" if they have none.
    _C.MODEL.SCNET.SEMANTIC.SOURCE = "auto"
    # Predictions have "sem_seg", and with the source "panoptic" "panoptic_seg", which
    # MODEL.PANOPTIC_FPN.COMBINE describes.
    _C.MODEL.SCNET.SEMANTIC.OUTPUT = False
    _C.MODEL.SCNET.SEMANTIC.NUM_CONV = 4
    # True: a skip connection over every two convolutions, as in the authors' SCNet.
    # False: plain convolutions, as in Hybrid Task Cascade.
    _C.MODEL.SCNET.SEMANTIC.RESIDUAL = True

    # True: batch norm in the backbone keeps its statistics in training (its gamma and beta
    # train where the backbone is not frozen), as in the authors' code. With the norm "FrozenBN"
    # (MODEL.RESNETS.NORM, MODEL.REGNET.NORM, MODEL.TIMM.NORM) gamma and beta are constant too.
    _C.MODEL.SCNET.FREEZE_BN_STATISTICS = True

    # > 0: images are padded to squares of this side, larger ones are an error. For all backbones
    # but ResNets. ViTDet is trained so; transformers can be exported with a fixed size only.
    _C.MODEL.BACKBONE.SQUARE_PAD = 0

    # MODEL.BACKBONE.NAME "build_swin_fpn_backbone", with the values of Swin-T.
    _C.MODEL.SWIN = CN()
    _C.MODEL.SWIN.EMBED_DIM = 96
    _C.MODEL.SWIN.DEPTHS = (2, 2, 6, 2)
    _C.MODEL.SWIN.NUM_HEADS = (3, 6, 12, 24)
    _C.MODEL.SWIN.WINDOW_SIZE = 7
    _C.MODEL.SWIN.DROP_PATH = 0.2

    # MODEL.BACKBONE.NAME "build_vit_backbone", with the values of ViT-B in ViTDet.
    _C.MODEL.VIT = CN()
    _C.MODEL.VIT.IMG_SIZE = 1024  # the side for which there are relative positions
    _C.MODEL.VIT.EMBED_DIM = 768
    _C.MODEL.VIT.DEPTH = 12
    _C.MODEL.VIT.NUM_HEADS = 12
    _C.MODEL.VIT.WINDOW_SIZE = 14
    _C.MODEL.VIT.GLOBAL_BLOCKS = (2, 5, 8, 11)  # attend to the whole image, not to a window
    _C.MODEL.VIT.DROP_PATH = 0.1

    # MODEL.BACKBONE.NAME "build_mvit_fpn_backbone", with the values of MViTv2-T.
    _C.MODEL.MVIT = CN()
    _C.MODEL.MVIT.EMBED_DIM = 96
    _C.MODEL.MVIT.DEPTH = 10
    _C.MODEL.MVIT.NUM_HEADS = 1
    _C.MODEL.MVIT.LAST_BLOCKS = (0, 2, 7, 9)  # of the four stages
    _C.MODEL.MVIT.DROP_PATH = 0.2

    # MODEL.BACKBONE.NAME "build_regnet_fpn_backbone", with the values of RegNetX-4GF.
    _C.MODEL.REGNET = CN()
    _C.MODEL.REGNET.DEPTH = 23
    _C.MODEL.REGNET.W_A = 38.65
    _C.MODEL.REGNET.W_0 = 96
    _C.MODEL.REGNET.W_M = 2.43
    _C.MODEL.REGNET.GROUP_WIDTH = 40
    _C.MODEL.REGNET.SE_RATIO = 0.0  # 0.25 for RegNetY
    _C.MODEL.REGNET.NORM = "BN"

    # MODEL.BACKBONE.NAME "build_timm_fpn_backbone".
    _C.MODEL.TIMM = CN()
    _C.MODEL.TIMM.NAME = ""  # of timm.list_models(), "convnext_tiny" for one
    # Begin with timm's weights, unless MODEL.WEIGHTS are given.
    _C.MODEL.TIMM.PRETRAINED = True
    # The maps for the pyramid, as timm counts them; (): those of the strides 4, 8, 16 and 32.
    _C.MODEL.TIMM.OUT_INDICES = ()
    _C.MODEL.TIMM.DROP_PATH = 0.0
    # "" is the norm that the model has; "FrozenBN": its batch norm is constant.
    _C.MODEL.TIMM.NORM = ""

    # Computed again in the backward pass instead of kept in memory: ("backbone", "mask_branch").
    _C.MODEL.SCNET.ACTIVATION_CHECKPOINTING = ()

    # MODEL.WEIGHTS may hold more than tensors and plain values, and so run any code when read. Set
    # in the command or in Python: in a file it is an error.
    _C.MODEL.TRUST_WEIGHTS = False
    # Without training, MODEL.WEIGHTS may hold parameters that the model has not: those of a larger
    # model, or of parts that are switched off.
    _C.MODEL.ALLOW_SURPLUS_WEIGHTS = False

    # Evaluation optimizes the model first, see scnet.optimize_for_inference: "float32", or also
    # computes in "bfloat16" or "float16", with test-time augmentation, too; "" evaluates the model
    # as it is.
    _C.MODEL.SCNET.OPTIMIZE_FOR_INFERENCE = ""

    # What a training or evaluation does when it meets an image that cannot be read or used:
    # - "stop": it ends with the name of the image. A training writes a checkpoint first.
    # - "skip": a training takes the next image in its place, an evaluation counts it as one without
    #   detections. The log names it. More than one of a hundred images (but one in any case) of a
    #   data set are as with "stop".
    _C.DATALOADER.ON_BROKEN_IMAGE = "stop"

    # What images have, docs/channels.md: 3 is colour in the order of INPUT.FORMAT, 1 is gray, other
    # numbers are the channels in the order of the files. The weights of the first layer follow.
    _C.INPUT.CHANNELS = 3
    # The type of their values: "uint8"; "uint16", for PNG, TIFF and .npy; or "float32", for TIFF
    # and .npy. They are not scaled: MODEL.PIXEL_MEAN and MODEL.PIXEL_STD are in their unit. For all
    # but colours of 8 bits, training computes these from its images if they are not given.
    _C.INPUT.DTYPE = "uint8"

    # Images of more pixels are refused before memory is taken for them: few bytes can say that an
    # image is very large.
    _C.INPUT.MAX_PIXELS = MAX_PIXELS

    # True: INPUT.MIN_SIZE_*, MAX_SIZE_* and CROP, TEST.AUG.MIN_SIZES and
    # MODEL.ANCHOR_GENERATOR.SIZES follow from the objects of the training data, for a CPU; see
    # data/sizes_from_data.py. They are chosen once: the config.yaml of a training has False.
    _C.INPUT.SIZES_FROM_DATA = False
    # Large-scale jitter: an image is resized to a random share of a square of SIZE pixels, within
    # SCALES, and what is larger than the square is cropped. It replaces INPUT.MIN_SIZE_TRAIN.
    _C.INPUT.LARGE_SCALE_JITTER = CN()
    _C.INPUT.LARGE_SCALE_JITTER.ENABLED = False
    _C.INPUT.LARGE_SCALE_JITTER.SCALES = (0.1, 2.0)
    _C.INPUT.LARGE_SCALE_JITTER.SIZE = 1024
    # Brightness, contrast and, of three channels, saturation are multiplied by random values from
    # 1 - this to 1 + this.
    _C.INPUT.COLOR_JITTER = 0.0
    # The share of the training images that get objects of other images pasted onto them.
    _C.INPUT.COPY_PASTE = 0.0

    # "SGD" (the paper, Sec. 5.1) or "AdamW", which needs fewer steps when nothing is pretrained.
    _C.SOLVER.OPTIMIZER = "SGD"

    # Below 1: the learning rate of each layer of the backbone is that of the next times this.
    _C.SOLVER.LAYER_DECAY = 1.0

    # One call changes all parameters, where PyTorch can (SGD and AdamW on GPUs and CPUs).
    _C.SOLVER.FUSED = False
    # Of mixed precision (SOLVER.AMP.ENABLED): "float16", with a scaled loss, on GPUs only; or
    # "bfloat16", which has the range of float32. "" is float16 on a GPU and bfloat16 on the CPU.
    _C.SOLVER.AMP.DTYPE = ""
    # Single precision on NVIDIA's GPUs since Ampere: True rounds to TF32 in convolutions and matrix
    # products, False in neither. None is PyTorch's choice: in convolutions only.
    _C.SOLVER.TF32 = None
    # The layout of images and weights in memory that the tensor cores of GPUs are made for.
    _C.SOLVER.CHANNELS_LAST = False
    # torch.compile for the parts of the trained model that are one graph each: backbone, semantic
    # and global context head, head of the RPN, box heads, mask heads.
    _C.SOLVER.COMPILE = False
    # A thread writes a checkpoint while the training goes on, from a copy in the memory of the CPU.
    _C.SOLVER.CHECKPOINT_IN_BACKGROUND = False

    # A step's IMS_PER_BATCH images are taken in so many parts per process, one after the other.
    # Their gradients are averaged; so a large batch fits into little memory.
    _C.SOLVER.GRADIENT_ACCUMULATION = 1
    # An exponential moving average of the weights. It is what is evaluated, and what checkpoints
    # have as the model.
    _C.SOLVER.EMA = CN()
    _C.SOLVER.EMA.ENABLED = False
    _C.SOLVER.EMA.DECAY = 0.999

    # Where there is a GPU, batches lie in memory that it can copy from while it computes.
    _C.DATALOADER.PIN_MEMORY = True

    # The weights with the best value of this metric are kept as model_best.pth. "" is "segm/AP"
    # (without masks "bbox/AP") of the first of DATASETS.TEST.
    _C.TEST.BEST_METRIC = ""
    # The training ends after so many evaluations (EVAL_PERIOD) without a better value; 0: never.
    _C.TEST.PATIENCE = 0
    # Each evaluation of a training computes the losses on DATASETS.TEST, too.
    _C.TEST.LOSS = False
    # Each evaluation writes report.html in OUTPUT_DIR, with its numbers, curves and pictures.
    _C.TEST.REPORT = True

    # Not empty: Weights & Biases gets what TensorBoard gets.
    _C.WANDB = CN()
    _C.WANDB.PROJECT = ""
    # Not empty: MLflow gets the numbers of metrics.json, at the address of a server or, if it is
    # empty, of the variable MLFLOW_TRACKING_URI. A password belongs into MLflow's own variables.
    _C.MLFLOW = CN()
    _C.MLFLOW.EXPERIMENT = ""
    _C.MLFLOW.TRACKING_URI = ""

    # Test-time augmentation as the authors do it limits the long side of each scale to this
    # times its TEST.AUG.MIN_SIZES: (600, 900), ..., (1400, 2100). TEST.AUG.MAX_SIZE limits all.
    _C.TEST.AUG.MAX_SIZE_RATIO = 1.5

    # One's own data: COCO json files and, in the same order, the folders of their images.
    # When given, they are registered and replace DATASETS.TRAIN and DATASETS.TEST.
    _C.DATASETS.TRAIN_JSON = ()
    _C.DATASETS.TRAIN_IMAGES = ()
    _C.DATASETS.TEST_JSON = ()
    _C.DATASETS.TEST_IMAGES = ()
    # Some tools write iscrowd 1 for masks that were painted. True: each annotation is one object,
    # whatever its iscrowd. False: crowds are crowds. None: they are, but data in which most
    # annotations are crowds is an error.
    _C.DATASETS.CROWDS_ARE_OBJECTS = None
    # Names of classes that are as if they were not in the json files, nor their annotations.
    _C.DATASETS.CLASSES_LEFT_OUT = ()
    # In the same order, if there are any: the folders of semantic maps; panoptic json files, and
    # the folders of their PNGs.
    _C.DATASETS.TRAIN_SEM_SEG = ()
    _C.DATASETS.TRAIN_PANOPTIC_JSON = ()
    _C.DATASETS.TRAIN_PANOPTIC_IMAGES = ()


def get_cfg() -> SafeCfgNode:
    """Detectron2's default config with SCNet's keys.

    ``MODEL.DEVICE`` is "cuda" where PyTorch sees a GPU and "cpu" where it does not; no file changes
    it. Files that are merged into it are read as data, see :class:`SafeCfgNode`.
    """
    cfg = SafeCfgNode(get_detectron2_cfg())
    add_scnet_config(cfg)
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    return cfg


def read_cfg(config_file: Union[str, Path], opts: Sequence[str] = ()) -> SafeCfgNode:
    """Read a config file upon the defaults of :func:`get_cfg`.

    Args:
        config_file: see :func:`find_config`; "" for the defaults alone.
        opts: keys and values in turn, which come last.

    Raises:
        FileNotFoundError, ValueError: see :func:`find_config`,
            :meth:`SafeCfgNode.merge_from_file` and :func:`merge_opts`.
    """
    cfg = get_cfg()
    if config_file:
        cfg.merge_from_file(find_config(config_file))
    merge_opts(cfg, opts)
    return cfg


def find_config(config: Union[str, Path]) -> str:
    """The path of a config that a user names.

    Args:
        config: a yaml file; or, where there is no such file, as for :func:`get_config_file`.

    Raises:
        FileNotFoundError: there is neither.
    """
    name = str(config)
    if Path(name).is_file() or "://" in name:  # a URL is refused where files are read
        return name
    try:
        return get_config_file(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"The config '{name}' does not exist. {error}") from error


def get_config_file(name: str) -> str:
    """The path of a config that comes with the package.

    Args:
        name: of a file in ``projects/SCNet/configs``, with or without its folder there and its
            ending: "scnet_R_50_FPN_1x_coco". A LazyConfig has both.

    Raises:
        FileNotFoundError: there is none of that name; the message has the nearest ones.
    """
    if name.endswith(".py") and (CONFIG_DIR / name).is_file():
        return str(CONFIG_DIR / name)
    paths = {path.stem: path for path in CONFIG_DIR.rglob("*.yaml")}
    wanted = Path(name.removesuffix(".yaml"))
    path = paths.get(wanted.name)
    if not path or path.with_suffix("") not in (CONFIG_DIR / wanted, path.parent / wanted):
        names = [stem for stem in paths if not stem.startswith("Base")]
        near = ", ".join(get_close_matches(wanted.name, names, 3, 0.0))
        raise FileNotFoundError(
            f"No config '{name}' comes with the package. The nearest are {near}."
        )
    return str(path)
