"""Feature relay (Sec. 4.2, Fig. 4): the box head's features, handed to the mask head."""

import fvcore.nn.weight_init as weight_init
from torch import Tensor, nn
from torch.nn import functional as F


class FeatureRelay(nn.Module):
    """One fully connected layer from the vector of the box head to a map for the mask head.

    The map is predicted at half the mask head's resolution and enlarged.
    """

    def __init__(self, in_channels: int, out_channels: int, out_size: int):
        """
        Args:
            in_channels: D, the length of the box head's vector (1024).
            out_channels: C, the channels of the mask features (256).
            out_size: S, the side of the mask features (14); even.
        """
        super().__init__()
        self.shape = (out_channels, out_size // 2, out_size // 2)
        self.out_size = (out_size, out_size)
        self.fc = nn.Linear(in_channels, out_channels * (out_size // 2) ** 2)
        weight_init.c2_msra_fill(self.fc)

    def forward(self, box_features: Tensor) -> Tensor:
        """(R, D) -> (R, C, S, S), for R regions."""
        x = self.fc(box_features).unflatten(1, self.shape)
        return F.interpolate(x, size=self.out_size, mode="bilinear", align_corners=True)
