"""RoIAlign on a CPU, as weighted sums of feature vectors.

RoIAlign is linear in the features: a bin is a weighted sum of the cells around its samples.
torchvision computes it on one core, channel by channel and sample by sample. Here the samples
that share a cell become one weight, ``embedding_bag`` sums whole vectors on all cores, and the
sum over several maps (pyramid and semantic embedding) is the same sum with more terms.

Shapes: N images, C channels, R regions over all images, S maps that are summed, P bins along a
side, L cells along a side that a bin touches at most.
"""

from typing import List, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.jit.script_if_tracing  # a trace would keep the numbers of samples and cells of one image
def sum_of_roi_aligns(
    maps: List[Tensor],
    scales: List[float],
    rois: Tensor,
    levels: Tensor,
    parts: List[int],
    bins: int,
    sampling_ratio: int,
) -> Tensor:
    """The sum of S terms, each torchvision's ``roi_align(..., aligned=True)`` of a map.

    Args:
        maps: (N, C, H, W) each; fastest if their memory format is ``channels_last``.
        scales: of each map, cells per pixel.
        rois: (R, 5), the index of the image and the box in pixels.
        levels: (R, S), the indices of the maps that each region is pooled from.
        parts: S of them, k; the bins of a term are the averages of k x k bins of a grid of
            P k x P k.
        bins: P.
        sampling_ratio: samples along a side of a bin; 0 for one per cell, rounded up.

    Returns:
        (R, C, P, P), ``channels_last``. Gradients go into the maps, not into the boxes.
    """
    channels, device = maps[0].shape[1], rois.device
    sizes = torch.tensor([list(m.shape[-2:]) for m in maps], device=device)
    heights, widths = sizes.unbind(dim=1)
    cells = len(maps[0]) * heights * widths
    height, width = heights[levels], widths[levels]
    first_cell = (cells.cumsum(0) - cells)[levels] + rois[:, :1].long() * height * width

    scale = torch.tensor(scales, device=device)[levels]
    x0, y0, x1, y1 = (rois[:, None, 1:].float() * scale[..., None] - 0.5).unbind(dim=2)
    k = torch.tensor(parts, device=device)
    top, num_rows, y_weights = _axis(y0, y1, height, k, bins, sampling_ratio)
    left, num_columns, x_weights = _axis(x0, x1, width, k, bins, sampling_ratio)

    # A patch is what one term adds to one bin, (R, P, P, S) in this order; it has rows of cells.
    row_of_cells = first_cell[:, None] + top * width[:, None]
    corner = _along_y(row_of_cells, bins) + _along_x(left, bins)
    patch, y = _enumerate(_along_y(num_rows, bins))
    row_start = corner[patch] + y * _along_y(width[:, None].expand_as(top), bins)[patch]
    row_weight = y_weights[_along_y(_indices(top), bins)[patch], y]
    row_columns = (_along_x(_indices(left), bins) * x_weights.shape[1])[patch]
    row, x = _enumerate(_along_x(num_columns, bins)[patch])
    index = row_start[row] + x
    weight = row_weight[row] * x_weights.flatten()[row_columns[row] + x]

    table = torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels) for m in maps])
    counts = torch.einsum("rys,rxs->ryx", num_rows, num_columns).flatten()
    out = F.embedding_bag(
        index,
        table,
        counts.cumsum(0) - counts,
        mode="sum",
        per_sample_weights=weight.to(table.dtype),
    )
    return out.view(-1, bins, bins, channels).permute(0, 3, 1, 2)


def _axis(
    start: Tensor, end: Tensor, size: Tensor, parts: Tensor, bins: int, sampling_ratio: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """Along one axis, the cells that each bin touches, and their weights.

    Args:
        start, end, size: (R, S), of the regions and of their maps, in cells.
        parts: (S,).

    Returns:
        (R, P, S), the first cell and the number of cells; and (R P S, L), the cells' weights.
    """
    bin_size = (end - start) / bins
    count = torch.full_like(start, sampling_ratio)
    if sampling_ratio <= 0:
        count = (bin_size / parts).ceil().clamp(min=0)  # without area there are no samples
    count = (count * parts)[:, None, :, None]
    sample = torch.arange(max(1, int(count.max())) if len(start) else 1, device=start.device)
    bin_start = (
        start[:, None] + torch.arange(bins, device=start.device)[:, None] * bin_size[:, None]
    )
    step = bin_size[:, None, :, None] / count.clamp(min=1)
    position = bin_start[..., None] + (sample + 0.5) * step  # (R, P, S, samples)

    # As in torchvision, samples near the map are moved onto its border; those far off are zero.
    size = size[:, None, :, None]
    inside = (sample < count) & (position >= -1) & (position <= size)
    position = position.clamp(min=0).minimum(size - 1)
    cell = position.long()
    fraction = position - cell
    first = torch.where(inside, cell, size).amin(dim=3)
    end = torch.where(inside, cell + (fraction > 0), -1).amax(dim=3) + 1
    num_cells = (end - first).clamp(min=0)

    near = torch.where(inside, cell - first[..., None], 0).flatten(0, 2)
    weight = (inside / count.clamp(min=1)).flatten(0, 2)
    fraction = torch.where(inside, fraction, 0).flatten(0, 2)
    weights = weight.new_zeros([len(near), 1 + int(num_cells.max()) if len(near) else 1])
    weights.scatter_add_(1, near, weight * (1 - fraction))
    weights.scatter_add_(1, near + (fraction > 0), weight * fraction)
    return first, num_cells, weights


def _along_y(x: Tensor, bins: int) -> Tensor:
    """What holds for rows of bins, (R, P, S), for every bin: (R P P S,)."""
    return x[:, :, None].expand(-1, -1, bins, -1).flatten()


def _along_x(x: Tensor, bins: int) -> Tensor:
    """What holds for columns of bins, (R, P, S), for every bin: (R P P S,)."""
    return x[:, None].expand(-1, bins, -1, -1).flatten()


def _indices(x: Tensor) -> Tensor:
    """Of each element of x, its place in memory."""
    return torch.arange(x.numel(), device=x.device).view(x.shape)


def _enumerate(counts: Tensor) -> Tuple[Tensor, Tensor]:
    """Of ``counts.sum()`` elements, the owner, and the position among those of the same owner.

    E.g. counts (2, 0, 3) give the owners (0, 0, 2, 2, 2) and the positions (0, 1, 0, 1, 2).
    """
    owner = torch.repeat_interleave(counts)
    return owner, _indices(owner) - (counts.cumsum(0) - counts)[owner]
