"""What commands share: opening a model with its inputs, and the attacks that a command line names.

A command that is about inputs of a model derives its options from `InputArguments`:

    @dataclass(frozen=True, slots=True)
    class AttackArguments(InputArguments):
        '''...'''
        attacks: options.Attacks = None
        parameters: options.Parameters = None
        device: options.Device = "cpu"

        def run(self) -> int:
            self.check_inputs()                     # light: paths and combinations, in one sentence each
            opened = self.open()                    # heavy: the files themselves
            named = named_attacks(self.attacks, self.parameters, opened.data_set)
            result = Pool(named)(opened.classifier(self.device), opened.x, opened.labels, domain=opened.domain)

Importing this module loads neither numpy nor torch.
"""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from dataclasses import dataclass
from typing import TYPE_CHECKING

from counter_attack.cli import _options as options
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._check import check
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from counter_attack._classifier import Classifier
    from counter_attack.attacks import Attack
    from onnx_models import Array, ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A model and the inputs asked for.

    Attributes:
        model: the model as named on the command line.
        network: what it was read as.
        source: name of the data set or file.
        data_set: "digits", "mnist" or "cifar10"; None for a file.
        indices: positions of the inputs in the data set or file, as many as there are inputs, N.
        x: the inputs, shape (N, n), in the domain.
        labels: their classes, shape (N,): those given, else the data set's; None for a file without --label, where
            the classes that the model predicts take their place.
        domain: the least and the largest valid input, each of shape (n,).
    """

    model: str
    network: "ReluNetwork"
    source: str
    data_set: str | None
    indices: list[int]
    x: "Array"
    labels: "NDArray[np.int64] | None"
    domain: "tuple[Array, Array]"

    def classifier(self, device: str = "cpu") -> "Classifier":
        """The model for attacks, on a device; raises InputError where torch cannot use that."""
        from counter_attack._classifier import Classifier
        from onnx_models.errors import InputError

        try:
            return Classifier.of(self.network, device=device)
        except (RuntimeError, AssertionError) as error:  # what torch raises where CUDA is missing
            raise InputError(f"--device {device} cannot be used: {str(error).partition(chr(10))[0]}") from error


@dataclass(frozen=True, slots=True)
class InputArguments:
    """The options that choose a model and inputs; the same as those of `verify`."""

    model: options.Model = None
    input: options.Input = None
    dataset: options.DataSetName = None
    data_dir: options.DataDir = None
    index: options.Index = None
    label: options.Label = None
    domain: options.DomainOfInputs = None

    def check_inputs(self) -> None:
        """Returns if these options make sense and the files they name are there.

        Raises:
            typer.TyperException: the first thing that is wrong, in one sentence.
        """
        check(self._as_verify())

    def open(self) -> Opened:
        """Reads the inputs and the model; for options that passed `check_inputs`.

        Raises:
            MipverifyError: something cannot be read, or inputs do not fit the model.
            typer.TyperException: an index that the data set does not have.
        """
        import numpy as np

        from mipverify_py.cli._inputs import Inputs, load_model, open_source, read_domain

        a = self._as_verify()
        source = open_source(a)
        assert self.model is not None
        network = load_model(self.model)
        inputs = Inputs(source, network.input_shape, self.label)
        indices = inputs.chosen(a)
        labels = [inputs.label_of(index) for index in indices]
        box = read_domain(self.domain, network)
        low, high = (0.0, 1.0) if box is None else (box.lower, box.upper)
        ends = [np.broadcast_to(np.asarray(end, dtype=np.float64), (network.input_size,)) for end in (low, high)]
        return Opened(
            model=self.model,
            network=network,
            source=inputs.name,
            data_set=self.dataset,
            indices=indices,
            x=np.stack([inputs[index].ravel() for index in indices]),
            labels=None if None in labels else np.array(labels, dtype=np.int64),
            domain=(ends[0], ends[1]),
        )

    def _as_verify(self) -> Arguments:
        return Arguments(
            model=self.model,
            input=self.input,
            dataset=self.dataset,
            data_dir=self.data_dir,
            index=self.index,
            label=self.label,
            domain=self.domain,
        )


def named_attacks(
    attacks: Names | None, parameters: str | None, data_set: str | None, *, norm: str | None = None
) -> "dict[str, Attack]":
    """The attacks that --attacks and --parameters name, by their names; those of --attacks in that order.

    Args:
        attacks: which; None: all of the set, or pgd without one. The full name of a published set or a .toml file,
            standing alone, means all attacks of that set.
        parameters: "strong", "balanced" or "mip-start", for the data set at hand; these with the data set in their
            name, such as "strong-mnist"; or a .toml file. None: each attack's own defaults.
        data_set: "mnist", "cifar10" or another; see `Opened`.
        norm: "linf", "l1" or "l2", of all attacks; None: as the set says, or each attack's default.

    Raises:
        InputError: an attack or a set that there is not, or that does not work in the norm.
    """
    from counter_attack._parameters import SETS, parameter_set
    from counter_attack.attacks import make_attack
    from mipverify_py import Norm
    from onnx_models.errors import InputError

    wanted = None if attacks is None else attacks.values
    if wanted is not None and parameters is None and _is_set(wanted):
        parameters, wanted = wanted[0], None
    if parameters is None:
        every = {} if norm is None else {"norm": norm}
        return {name: make_attack(name, **every) for name in wanted or ("pgd",)}
    families = {name.removesuffix("-mnist") for name in SETS if name.endswith("-mnist")}
    if parameters in families and f"{parameters}-{data_set}" not in SETS:
        known = ", ".join(name for name in SETS if name.startswith(f"{parameters}-"))
        raise InputError(f"--parameters {parameters} is not made for these inputs; say which you mean: {known}.")
    name = f"{parameters}-{data_set}" if parameters in families else parameters
    found = parameter_set(name, norm=None if norm is None else Norm(norm))
    if wanted is None:
        return found
    for one in wanted:
        if one not in found:
            raise InputError(f"--attacks {one}: --parameters {parameters} has {', '.join(found)}.")
    return {one: found[one] for one in wanted}


def _is_set(names: tuple[str, ...]) -> bool:
    from counter_attack._parameters import SETS

    return len(names) == 1 and (names[0] in SETS or names[0].endswith(".toml"))
