"""One question about one network and one input, with everything the answer depends on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from bounds import Bounds
from mipverify_py._arguments import choice, instance, real_number, whole_number
from mipverify_py._distance import distance
from mipverify_py._enums import Norm, Objective
from mipverify_py._image import AffineImage
from mipverify_py._perturbation import PerturbationSet, Unrestricted
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class Targets:
    """Which classes count as wrong answers: all but the reference class, a set, or all but a set.

    Attributes:
        classes: zero-based classes, or None for all.
        inverted: take every class that is not in `classes` instead.
        winning: a target has to reach every class that is no target (as in MIPVerify), not only the reference class.
            The same where all wrong classes are targets.
    """

    classes: tuple[int, ...] | None = None
    inverted: bool = False
    winning: bool = False

    def __post_init__(self) -> None:
        if self.classes is not None:
            plain = tuple(whole_number(j, "A target class") for j in self.classes)
            object.__setattr__(self, "classes", plain)

    @classmethod
    def only(cls, classes: int | Iterable[int], *, winning: bool = False) -> Targets:
        """Exactly these classes."""
        return cls(_several(classes), winning=winning)

    @classmethod
    def excluding(cls, classes: int | Iterable[int], *, winning: bool = False) -> Targets:
        """Every class but these (and the reference class)."""
        return cls(_several(classes), inverted=True, winning=winning)

    def resolve(self, reference: int, count: int) -> tuple[int, ...]:
        """The target classes, ascending, for a model of `count` classes; raises InputError if that makes no sense."""
        named = () if self.classes is None else self.classes
        for j in named:
            if not 0 <= j < count:
                raise InputError(f"Target class {j} is out of range: the model has classes 0 to {count - 1}.")
        if self.classes is None:
            chosen = set(range(count)) - {reference}
        elif self.inverted:
            chosen = set(range(count)) - set(named) - {reference}
        else:
            chosen = set(named)
            if reference in chosen:
                raise InputError(
                    f"Target class {reference} is the class that the input already has; name other classes as targets."
                )
        if not chosen:
            raise InputError("No target class is left; name at least one class other than the input's own.")
        return tuple(sorted(chosen))


def _several(classes: int | Iterable[int]) -> tuple[int, ...]:
    """One class or several as a tuple; a zero-dimensional array or tensor is one class, although it has `__iter__`."""
    try:
        return tuple(classes)  # type: ignore[arg-type]
    except TypeError:
        return (classes,)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """Is there, or how near is, an x in the perturbation set with  max over targets j of f_j(x) - f_c(x) >= margin?

    c, the reference class, is `label` if that is given and the predicted class otherwise; with targets that have to win
    f_c stands for the largest output of all classes that are no targets. Ties count: with margin 0 an input at which
    f_j = f_c is adversarial, so the distance is a minimum that is attained.

    Args:
        network: the classifier; at least two outputs.
        x0: the input, of the model's shape or flat; must lie in `domain`.
        perturbation: which inputs are considered; default all of `domain`.
        objective: closest, feasibility or worst.
        label: the true class, if known, zero-based. An input that the model already gets wrong has distance 0.
        targets: which classes count as wrong.
        margin: by how much f_j must reach f_c, finite, in logit units.
        norm: how distance is measured.
        domain: valid inputs, one pair of bounds per entry; None means [0, 1]. Ends may be infinite where the
            perturbation set is bounded without them.
        measured: distances are those between the images of x and x0 under this map; None: between x and x0 themselves.

    Raises:
        InputError: for any argument that does not fit the network or the others, in one sentence.
    """

    network: ReluNetwork
    x0: Array
    perturbation: PerturbationSet = field(default_factory=Unrestricted)
    objective: Objective = Objective.CLOSEST
    label: int | None = None
    targets: Targets = field(default_factory=Targets)
    margin: float = 0.0
    norm: Norm = Norm.LINF
    domain: Bounds | None = None
    measured: AffineImage | None = None
    predicted: int = field(init=False)
    """The model's own class for x0 (lowest index among ties)."""
    reference: int = field(init=False)
    """c, the class that f_j is compared with."""
    target_classes: tuple[int, ...] = field(init=False)
    """The targets j, ascending."""
    rivals: tuple[int, ...] = field(init=False)
    """The classes that a target has to reach, ascending: c alone, or every class that is no target."""
    input_domain: Bounds = field(init=False)
    """`domain` with the default filled in."""
    box: Bounds = field(init=False)
    """Bounding box of the perturbation set inside the domain."""

    def __post_init__(self) -> None:
        self._check_types()
        network, count = self.network, self.network.output_size
        label = None if self.label is None else whole_number(self.label, "The label")
        margin = real_number(self.margin, "The margin")
        if count < 2:
            raise InputError(f"The model has {count} output; a classifier needs at least two.")
        x0 = network.flatten_input(self.x0)
        domain = self.domain or Bounds(np.zeros(x0.size), np.ones(x0.size))
        _check_domain(x0, domain)
        if label is not None and not 0 <= label < count:
            raise InputError(f"Label {label} is out of range: the model has classes 0 to {count - 1}.")
        if not np.isfinite(margin):
            raise InputError(f"The margin is {margin!r}; it must be a finite number.")
        logits = network.forward(x0)
        if not np.all(np.isfinite(logits)):
            raise InputError("The model's outputs at the input are not finite; its weights make float64 overflow.")
        predicted = int(np.argmax(logits))
        reference = predicted if label is None else label
        targets = self.targets.resolve(reference, count)
        perturbation = self.perturbation.for_shape(network.input_shape)
        box = perturbation.bounding_box(x0, domain)
        _check_bounded(box)
        derived = {
            "x0": x0,
            "perturbation": perturbation,
            "objective": choice(Objective, self.objective, "The objective"),
            "norm": choice(Norm, self.norm, "The norm"),
            "label": label,
            "margin": margin,
            "predicted": predicted,
            "reference": reference,
            "target_classes": targets,
            "rivals": tuple(i for i in range(count) if i not in targets) if self.targets.winning else (reference,),
            "input_domain": domain,
            "box": box,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def _check_types(self) -> None:
        instance(ReluNetwork, self.network, "The network")
        instance(PerturbationSet, self.perturbation, "The perturbation")
        instance(Targets, self.targets, "The targets argument")
        if self.domain is not None:
            instance(Bounds, self.domain, "The domain")

    def __repr__(self) -> str:
        return (
            f"Query({self.objective.value}, {self.network!r}, {type(self.perturbation).__name__}, "
            f"class {self.reference} against {list(self.target_classes)})"
        )

    def distance_of(self, point: Array) -> float:
        """How far `point`, shape (n,), is from x0, in the query's norm, rounded up."""
        if self.measured is None:
            return distance(point, self.x0, self.norm)
        return self.measured.distance(point, self.measured.rounded(self.x0), self.norm)

    @property
    def is_native(self) -> bool:
        """Whether the native engines answer it: the set is a box and a distance is one in the L-infinity norm of x."""
        plain = self.norm is Norm.LINF and self.measured is None
        return self.perturbation.is_box and (plain or self.objective is not Objective.CLOSEST)

    @property
    def reach(self) -> float:
        """Largest distance from x0 of a point of the query's box."""
        return float(np.maximum(np.abs(self.box.lower - self.x0), np.abs(self.box.upper - self.x0)).max(initial=0.0))

    @property
    def clearance(self) -> float:
        """Distance from x0 to the query's box, rounded down; 0 where x0 lies inside."""
        gap = np.maximum(self.box.lower - self.x0, self.x0 - self.box.upper).max(initial=0.0)
        return float(np.nextafter(gap, -np.inf)) if gap > 0 else 0.0

    def margin_at(self, logits: Array) -> Array:
        """max over targets j of f_j - f_c for each row of `logits`, shape (N, classes); the result has shape (N,)."""
        best: Array = logits[:, list(self.target_classes)].max(axis=1) - logits[:, list(self.rivals)].max(axis=1)
        return best


def _check_domain(x0: Array, domain: Bounds) -> None:
    if domain.size != x0.size:
        raise InputError(f"The domain has {domain.size} entries, the model's input has {x0.size}.")
    if domain.lower.ndim != 1:
        raise InputError(f"The domain has ends of shape {domain.lower.shape}; Bounds.of(lower, upper) makes them flat.")
    outside = (x0 < domain.lower) | (x0 > domain.upper)
    if not np.any(outside):
        return
    entry = int(np.argmax(outside))
    hint = (
        "Divide pixels in 0..255 by 255."
        if x0.max() > 2 and x0.min() >= 0 and np.all(domain.upper <= 1)
        else "Scale the input, or pass the model's own domain."
    )
    raise InputError(
        f"The input has values from {x0.min():.6g} to {x0.max():.6g}; entry {entry} is {x0[entry]:.6g}, outside the "
        f"model's domain [{domain.lower[entry]:.6g}, {domain.upper[entry]:.6g}]. {hint}"
    )


def _check_bounded(box: Bounds) -> None:
    endless = ~np.isfinite(box.magnitude)
    if np.any(endless):
        raise InputError(
            f"There are no finite bounds for entry {int(np.argmax(endless))} of the input; "
            "give a domain or a perturbation set that has some."
        )
