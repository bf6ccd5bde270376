"""CUDA kernels and their checked launchers; see README.md. Only the module `cuda` imports CuPy."""

from cupy_kernels import geometry, packing
from cupy_kernels.device import Device, Properties
from cupy_kernels.launchers import Kernels

__all__ = ["Device", "Kernels", "Properties", "geometry", "packing"]
