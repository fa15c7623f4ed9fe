"""The memory that this process has taken."""

import sys
from typing import Optional

try:
    import resource
except ModuleNotFoundError:  # on Windows
    resource = None  # type: ignore[assignment]


def peak_memory() -> Optional[float]:
    """Measure the largest resident memory of this process so far.

    Returns:
        MiB; None where the system does not tell (Windows).
    """
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB
