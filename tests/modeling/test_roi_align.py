"""RoIAlign as weighted sums, against torchvision's."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import roi_align

from scnet.modeling.roi_align import sum_of_roi_aligns

SIZES, SCALES = [(24, 32), (12, 16)], [1 / 4, 1 / 8]  # of two maps of an image of 96 x 128
ROIS = torch.tensor(
    [
        [0, 10.3, 20.1, 57.9, 44.4],
        [2, 0.0, 0.0, 128.0, 96.0],  # the whole image
        [1, 3.2, 60.7, 4.1, 61.0],  # smaller than a cell
        [1, 50.0, 40.0, 50.0, 70.0],  # no width
        [0, 70.0, 40.0, 60.0, 30.0],  # inside out
        [2, -30.0, -9.0, 40.0, 30.0],  # over the left and upper border
        [0, 90.0, 70.0, 160.0, 130.0],  # over the right and lower border
        [1, 200.0, 200.0, 260.0, 220.0],  # outside
        [0, 64.0, 32.0, 96.0, 64.0],  # samples on cells
        [2, 5.0, 3.0, 120.0, 9.0],  # long
    ]
)
LEVELS = torch.tensor([0, 1, 0, 0, 0, 0, 0, 0, 1, 1])


def make_maps():
    return [torch.randn(3, 5, *size, requires_grad=True) for size in SIZES]


def expected(maps, rois, levels, parts, bins, sampling_ratio):
    out = torch.zeros(len(rois), 5, bins, bins)
    for level, grid in zip(levels.T, parts):
        for k, (x, scale) in enumerate(zip(maps, SCALES)):
            pooled = roi_align(x, rois, bins * grid, scale, sampling_ratio, aligned=True)
            out = out + F.avg_pool2d(pooled, grid) * (level == k)[:, None, None, None]
    return out


@pytest.mark.parametrize("bins", [1, 7])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 3])
def test_sum_of_two_and_gradients(bins, parts, sampling_ratio):
    maps = make_maps()
    levels, parts = torch.stack([LEVELS, 1 - LEVELS], dim=1), [1, parts]
    out = sum_of_roi_aligns(maps, SCALES, ROIS, levels, parts, bins, sampling_ratio)
    reference = expected(maps, ROIS, levels, parts, bins, sampling_ratio)
    torch.testing.assert_close(out, reference, atol=2e-5, rtol=1e-5)
    weight = torch.randn_like(out)
    gradients = torch.autograd.grad((out * weight).sum(), maps)
    references = torch.autograd.grad((reference * weight).sum(), maps)
    torch.testing.assert_close(gradients, references, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_random_boxes(seed):
    torch.manual_seed(seed)
    rois = torch.cat([torch.randint(3, (200, 1)), torch.rand(200, 4) * 150 - 20], dim=1)
    rois[:, 3:] += rois[:, 1:3]
    maps = [x.detach().contiguous(memory_format=torch.channels_last) for x in make_maps()]
    levels = torch.randint(2, (200, 2))
    out = sum_of_roi_aligns(maps, SCALES, rois, levels, [1, 2], 7, 0)
    reference = expected(maps, rois, levels, [1, 2], 7, 0)
    torch.testing.assert_close(out, reference, atol=5e-5, rtol=1e-5)


def test_no_regions():
    maps = make_maps()
    out = sum_of_roi_aligns(maps, SCALES, ROIS[:0], LEVELS[:0, None], [1], 7, 0)
    assert out.shape == (0, 5, 7, 7)
    gradients = torch.autograd.grad(out.sum(), maps)  # still reaches the maps
    assert all(g.count_nonzero() == 0 for g in gradients)


def test_regions_without_a_sample():
    maps = make_maps()
    for rois in (ROIS[3:4], ROIS[7:8]):
        out = sum_of_roi_aligns(maps, SCALES, rois, LEVELS[:1, None], [1], 7, 0)
        assert out.count_nonzero() == 0
