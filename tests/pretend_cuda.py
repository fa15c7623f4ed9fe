"""A pretend GPU: what a CPU can say about how a program would run on CUDA.

Its tensors say that they are on "cuda:0", lie in the memory of the CPU, and are computed there.
PyTorch treats them as CUDA tensors: autocast follows the rules for CUDA, and Python code that asks
for ``x.device`` takes the way of a GPU. The pretend GPU

- refuses an operation on tensors of both devices, as CUDA does;
- notes each operation at which the host would wait for the GPU: copies between the two, and
  whatever needs a value or a size that only the GPU knows;
- notes the casts from one floating point type to another.

It knows nothing of speed, and no kernel of CUDA runs.
"""

import traceback
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

CUDA = torch.device("cuda", 0)
# Whatever gives a value to the host, or tensors of a size that depends on values.
WAITING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "multinomial",
    "nms",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}


class CudaTensor(torch.Tensor):
    """A tensor that says it is on CUDA.

    Attributes:
        on_cpu: the tensor that it is made of.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, on_cpu: Tensor):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            on_cpu.size(),
            strides=on_cpu.stride(),
            storage_offset=on_cpu.storage_offset(),
            dtype=on_cpu.dtype,
            device=CUDA,
        )

    def __init__(self, on_cpu: Tensor):
        self.on_cpu = on_cpu

    def unsqueeze_(self, dim: int) -> Tensor:
        return self.unsqueeze(dim)  # the size of such a tensor cannot change

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return PretendGPU().__torch_dispatch__(
            function, types, args, kwargs
        )  # one that is not read


class Cast(NamedTuple):
    """A conversion of a tensor from one floating point type to another."""

    tensor: CudaTensor
    dtype: torch.dtype


class PretendGPU(TorchDispatchMode):
    """The pretend GPU, while it is entered.

    Attributes:
        waits: for each time that the host would wait, the operation and the line of Python.
        casts: in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: List[str] = []
        self.casts: List[Cast] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.__name__.split(".")[0]
        tensors: List[Tensor] = []
        tree_map(lambda x: tensors.append(x) if isinstance(x, Tensor) else None, (args, kwargs))
        here = any(isinstance(x, CudaTensor) for x in tensors)
        device = kwargs.get("device")
        to_here = here if device is None else torch.device(device).type == "cuda"
        if here:
            self._check(name, args, kwargs, tensors)
        copied = name in ("_to_copy", "copy_") and len({*map(_is_here, tensors), to_here}) > 1
        if copied and not kwargs.get("non_blocking"):
            self._wait(name)
        if name == "_to_copy" and here and _changes_precision(args[0], kwargs.get("dtype")):
            self.casts.append(Cast(args[0], kwargs["dtype"]))

        own = {id(x.on_cpu): x for x in tensors if isinstance(x, CudaTensor)}
        cpu_args, cpu_kwargs = tree_map(_to_cpu, (args, kwargs))
        if device is not None:
            cpu_kwargs["device"] = torch.device("cpu")
        if name in ("_softmax", "_log_softmax") and cpu_args[2]:  # CUDA's also converts to float32
            cpu_args = (cpu_args[0].float(), cpu_args[1], False)
        result = function(*cpu_args, **cpu_kwargs)
        if not to_here:
            return result
        # What an operation in place returns is the tensor that it got.
        return tree_map(
            lambda x: own.get(id(x), CudaTensor(x)) if isinstance(x, Tensor) else x, result
        )

    def _check(self, name: str, args, kwargs, tensors: List[Tensor]) -> None:
        """Refuse mixed devices, and note a wait of an operation on the GPU."""
        indices = []
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            indices = [x for x in args[1] if x is not None]
            self.waits += [self._line(name) for x in indices if not _is_here(x)]  # copied
            one_value = name != "index" and args[2].numel() == 1  # it becomes masked_fill
            if not one_value and any(x.dtype in (torch.bool, torch.uint8) for x in indices):
                self._wait(name)
        elif name in WAITING or (name == "repeat_interleave" and not kwargs.get("output_size")):
            self._wait(name)
        # Numbers and indices may be on the CPU. Copies are made for going from one to the other.
        allowed = {id(x) for x in indices}
        mixed = [x for x in tensors if not _is_here(x) and x.dim() and id(x) not in allowed]
        if mixed and name not in ("_to_copy", "copy_"):
            raise RuntimeError(
                f"{name} of tensors on cuda and on cpu, {[tuple(x.shape) for x in tensors]}"
            )

    def _wait(self, name: str) -> None:
        self.waits.append(self._line(name))

    def _line(self, name: str) -> str:
        """The operation and the innermost line outside of PyTorch that asked for it."""
        for frame, line in traceback.walk_stack(None):
            file = frame.f_code.co_filename
            if file != __file__ and "/torch/" not in file:
                return f"{name} in {file}:{line}"
        return name


def _is_here(x: Tensor) -> bool:
    return isinstance(x, CudaTensor)


def _to_cpu(x):
    return x.on_cpu if isinstance(x, CudaTensor) else x


def _changes_precision(x: Tensor, dtype) -> bool:
    return dtype not in (None, x.dtype) and dtype.is_floating_point and x.is_floating_point()


@contextmanager
def pretend_gpu() -> Iterator[PretendGPU]:
    """Let there be a GPU, for PyTorch's checks and for factory functions, too."""
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") copies visibly
    try:
        with (
            patch("torch.cuda._lazy_init"),
            patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
            patch("torch.cuda.is_bf16_supported", return_value=True),
            torch.backends.cudnn.flags(enabled=False),  # PyTorch's own operators run on a CPU, too
            PretendGPU() as gpu,
        ):
            yield gpu
    finally:
        torch._C._set_only_lift_cpu_tensors(False)


def to_gpu(module: nn.Module) -> nn.Module:
    """Move the parameters and buffers of a module to the pretend GPU, in place."""
    for m in module.modules():
        for name, parameter in m._parameters.items():
            if parameter is not None:
                m._parameters[name] = nn.Parameter(
                    CudaTensor(parameter.data), requires_grad=parameter.requires_grad
                )
        for name, buffer in m._buffers.items():
            if buffer is not None:
                m._buffers[name] = CudaTensor(buffer)
    return module
