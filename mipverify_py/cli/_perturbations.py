"""The perturbation set that a command line means, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mipverify_py._balls import L1Ball, L2Ball
from mipverify_py._blur import Blur
from mipverify_py._brightness import Brightness, BrightnessContrast, Contrast
from mipverify_py._enums import Norm
from mipverify_py._layout import Layout
from mipverify_py._perturbation import Box, LinfBall, PerturbationSet, Unrestricted
from mipverify_py._sparse import Sparse
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._inputs import Inputs
from mipverify_py.data import read_input
from onnx_models import Array
from onnx_models.errors import InputError, InvalidBoundsError

_BALLS: dict[Norm, Callable[[float], PerturbationSet]] = {Norm.LINF: LinfBall, Norm.L1: L1Ball, Norm.L2: L2Ball}


def perturbation_of(a: Arguments, inputs: Inputs) -> PerturbationSet:
    """The set; raises InputError where the files of a box do not fit the model or each other."""
    if a.perturbation == "box":
        return _box(a, inputs)
    if a.perturbation == "blur":
        assert a.kernel_size is not None
        return Blur((a.kernel_size.height, a.kernel_size.width), _layout(inputs))
    if a.perturbation == "sparse":
        assert a.max_pixels is not None
        return Sparse(a.max_pixels, a.eps, _layout(inputs))
    if a.perturbation == "brightness":
        return _brightness(a)
    return Unrestricted() if a.eps is None else _BALLS[Norm(a.norm)](a.eps)


def perturbation_record(known: PerturbationSet) -> dict[str, Any]:
    """The set as JSON: its kind and what it is made of; bounds of a box are not repeated."""
    if isinstance(known, Blur):
        return {"kind": "blur", "kernel_size": list(known.kernel_size), "kernel_shape": list(known.kernel_shape)}
    if isinstance(known, Sparse):
        return {"kind": "sparse", "max_pixels": known.max_pixels, "radius": known.radius}
    if isinstance(known, Brightness):
        return {"kind": "brightness", "brightness": [known.low, known.high], "contrast": None}
    if isinstance(known, Contrast):
        return {"kind": "brightness", "brightness": None, "contrast": [known.low, known.high]}
    if isinstance(known, BrightnessContrast):
        return {"kind": "brightness", "brightness": list(known.brightness), "contrast": list(known.contrast)}
    names = {LinfBall: "linf", L1Ball: "l1", L2Ball: "l2", Box: "box", Unrestricted: "unrestricted"}
    return {"kind": names[type(known)]}


def perturbation_words(a: Arguments) -> str:
    """Which images are asked about, to follow "the nearest input of another class"; empty for all or a ball."""
    if a.perturbation == "box":
        return ", in a box"
    if a.perturbation == "blur":
        assert a.kernel_size is not None
        return f", blurred with a {a.kernel_size.height}x{a.kernel_size.width} kernel"
    if a.perturbation == "sparse":
        return f", in at most {a.max_pixels} {'pixel' if a.max_pixels == 1 else 'pixels'}"
    parts = [
        f"{name} {r.low:g} to {r.high:g}" for name, r in (("brightness", a.brightness), ("contrast", a.contrast)) if r
    ]
    return f", with {' and '.join(parts)}" if parts else ""


def parameter_words(known: PerturbationSet, parameters: Array) -> str:
    """The parameters of an image in words, a kernel by its largest weights."""
    if isinstance(known, Blur):
        kernel = parameters.reshape(known.kernel_shape)
        order = np.argsort(-parameters, kind="stable")[:3]
        places = [np.unravel_index(k, kernel.shape) for k in order if parameters[k] > 0]
        shown = [f"{kernel[p]:.4g} at {_place(known, p)}" for p in places]
        return "kernel weights " + ", ".join(shown)
    names = ["brightness"] if isinstance(known, Brightness) else ["contrast", "brightness"][: len(parameters)]
    return ", ".join(f"{name} {value:.6g}" for name, value in zip(names, parameters.tolist(), strict=True))


def _place(known: Blur, place: tuple[Any, ...]) -> str:
    """Row and column, and the channels where there are several."""
    row, column, source, target = (int(k) for k in place)
    return f"({row}, {column})" + (f" from channel {source} to {target}" if known.kernel_shape[2] > 1 else "")


def _brightness(a: Arguments) -> PerturbationSet:
    b, c = a.brightness, a.contrast
    if b is not None and c is not None:
        return BrightnessContrast((b.low, b.high), (c.low, c.high))
    if b is not None:
        return Brightness(b.low, b.high)
    assert c is not None
    return Contrast(c.low, c.high)


def _layout(inputs: Inputs) -> Layout:
    """The image's shape where the model's input is flat and the inputs are images of as many pixels."""
    flat = max(inputs.shape, default=1) == int(np.prod(inputs.shape))
    size = inputs.image_size
    return Layout(shape=size) if flat and size is not None and np.prod(size) == np.prod(inputs.shape) else Layout()


def _box(a: Arguments, inputs: Inputs) -> Box:
    assert a.box_lower is not None and a.box_upper is not None
    ends = [read_input(Path(name)).fitted(inputs.shape) for name in (a.box_lower, a.box_upper)]
    if any(len(end) != 1 or not np.all(np.isfinite(end)) for end in ends):
        raise InputError("--box-lower and --box-upper must hold one finite bound per entry of the model's input.")
    try:
        return Box.of(*ends)
    except InvalidBoundsError as error:
        raise InputError(f"--box-lower and --box-upper: {error}") from error
