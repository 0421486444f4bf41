"""Which options go with which perturbation set."""

from __future__ import annotations

from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._perturbation_options import PERTURBATIONS

_WITH_EPS = ("linf", "sparse")
_OWN = {
    "--kernel-size": "blur",
    "--box-lower": "box",
    "--box-upper": "box",
    "--max-pixels": "sparse",
    "--brightness": "brightness",
    "--contrast": "brightness",
}
"""The set that an option belongs to."""


def perturbation_pairs(a: Arguments) -> tuple[tuple[bool, str], ...]:
    """Whether something does not fit, and the sentence to say then."""
    values = {
        "--kernel-size": a.kernel_size,
        "--box-lower": a.box_lower,
        "--box-upper": a.box_upper,
        "--max-pixels": a.max_pixels,
        "--brightness": a.brightness,
        "--contrast": a.contrast,
    }
    given, name = [option for option, value in values.items() if value is not None], a.perturbation
    strange = next((option for option in given if _OWN[option] != name), None)
    missing = [option for option in _OWN if _OWN[option] == name and option not in given]
    lacking = bool(missing) if name != "brightness" else len(missing) == 2
    together = " and ".join(missing) if name != "brightness" else " or ".join(missing)
    return (
        (strange is not None, f"{strange} is for --perturbation {_OWN.get(strange or '')}; add that."),
        (lacking, f"--perturbation {name} needs {together}."),
        (name == "linf" and a.eps is None, "--perturbation linf needs --eps, its radius."),
        (
            name == "linf" and a.norm != "linf",
            f"--perturbation linf contradicts --norm {a.norm}; leave one of them out.",
        ),
        (
            name == "sparse" and a.eps is not None and a.norm != "linf",
            f"--perturbation sparse measures --eps in L-infinity; leave out --norm {a.norm}.",
        ),
        (
            name in PERTURBATIONS and name not in _WITH_EPS and a.eps is not None,
            f"--eps is no part of --perturbation {name}; leave it out: it asks for the nearest example.",
        ),
        (
            name not in (None, "linf", "unrestricted") and a.inspect,
            f"--inspect counts unstable units within --eps; leave out --perturbation {name}.",
        ),
        (
            name in ("blur", "sparse") and a.engine not in ("auto", "mip"),
            f"--engine {a.engine} cannot search --perturbation {name}; choose auto or mip.",
        ),
    )
