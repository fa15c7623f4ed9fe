"""What the tests of files of weights share."""

import pytest
from torch import nn


@pytest.fixture
def linear():
    """The smallest model that has weights."""
    return nn.Linear(300, 200)
