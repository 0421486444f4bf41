"""Where an answer was computed: the class of the machine and the versions of packages, nothing that names anybody."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGES = ("mipverify-py", "numpy", "scipy", "torch", "onnx", "onnxruntime")
"""What every answer may rest on, beside a MIP solver."""


@functools.cache
def host_class() -> Mapping[str, Any]:
    """The class of this machine, as in `Completion.host`.

    "cpu" and "gpu" are names of models, None where unknown or absent; "cores" are those that this process may run on;
    "memory_gib" is rounded to whole GiB.
    """
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": _gpu(),
    }


@functools.cache
def versions(backend: str | None = None) -> Mapping[str, str]:
    """The versions of Python, of the `PACKAGES` that are installed, and of the MIP solver `backend`."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if backend is not None:
        from mipverify_py.backends._registry import BACKEND_NAMES, backend_class

        if backend in BACKEND_NAMES and (version := backend_class(backend).version()) is not None:
            found[backend_class(backend).distribution] = version
    return found


def _cpu() -> str | None:
    return _entry(Path("/proc/cpuinfo"), "model name")


def _gpu() -> str | None:
    """The first graphics processor that NVIDIA's driver knows; torch is not asked, since that would load it."""
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        if (model := _entry(file, "Model")) is not None:
            return model
    return None


def _entry(file: Path, name: str) -> str | None:
    """The value of the first line `name: value`."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        head, _, value = line.partition(":")
        if head.strip() == name:
            return value.strip() or None
    return None
