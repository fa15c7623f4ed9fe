"""What a device is called in logs and tables."""

from pathlib import Path
from typing import Union

import torch


def device_name(device: Union[str, torch.device]) -> str:
    """Device and make, e.g. "cpu (Intel Xeon)" or "cuda:0 (NVIDIA A100)"."""
    device = torch.device(device)
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return str(device)
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.split(": ")[1] for line in info.splitlines() if line.startswith("model name")]
    return f"cpu ({names[0] if names else 'of unknown make'})"
