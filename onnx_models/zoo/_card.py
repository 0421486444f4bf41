"""What is in the zoo: names, files, and the card of each model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from onnx_models._network import ReluNetwork
from onnx_models.errors import InputError
from onnx_models.importer import load_onnx
from onnx_models.zoo._recipes import RECIPES

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ZooCard:
    """What a model of the zoo is and how well it does.

    Attributes:
        name: its name in the zoo.
        architecture: its layers in words.
        training: 'standard' or 'adversarial'.
        eps: L-infinity radius of the attack it was trained against, None for standard training.
        seed, epochs: of its training.
        parameters: number of trained weights.
        relus: number of ReLU units after lowering; max-pooling needs ReLUs too.
        accuracy: share of the 400 test rows that it classifies correctly.
        attack_eps: L-infinity radius of the attack behind `attacked_accuracy`.
        attacked_accuracy: share of the test rows that stay correct under that attack; the robust accuracy is at most
            this.
        sha256: of the ONNX file, hexadecimal.
        made_with: the version of torch that trained it.
    """

    name: str
    architecture: str
    training: str
    eps: float | None
    seed: int
    epochs: int
    parameters: int
    relus: int
    accuracy: float
    attack_eps: float
    attacked_accuracy: float
    sha256: str
    made_with: str

    def write(self, path: Path) -> None:
        """Writes the card as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


def zoo_models() -> tuple[str, ...]:
    """Names of all models, such as 'digits_dense_standard'; by architecture, the standard training first."""
    return tuple(recipe.name for recipe in RECIPES)


def zoo_path(name: str) -> Path:
    """The ONNX file of a model; raises InputError for a name that is not in the zoo."""
    if name not in zoo_models():
        raise InputError(f"The zoo has no model {name!r}; it has {', '.join(zoo_models())}.")
    return FOLDER / f"{name}.onnx"


def zoo_card(name: str) -> ZooCard:
    """The card of a model; raises InputError for a name that is not in the zoo."""
    return ZooCard(**json.loads(zoo_path(name).with_suffix(".json").read_text("utf-8")))


def load_zoo(name: str) -> ReluNetwork:
    """A model of the zoo, lowered; raises InputError for a name that is not in the zoo."""
    return load_onnx(zoo_path(name))
