"""Trains the models of the zoo and writes their ONNX files, their cards and the page in the reference.

    python -m onnx_models.zoo.train [--only NAME ...] [--folder FOLDER] [--page docs/reference/zoo.md]

One thread and fixed seeds: the same versions on the same machine give the same files.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from onnx_models.importer import load_onnx
from onnx_models.zoo._card import FOLDER, ZooCard, zoo_card, zoo_models
from onnx_models.zoo._digits import DigitsSplit, digits_split
from onnx_models.zoo._page import reference_page
from onnx_models.zoo._recipes import ADVERSARIAL_EPS, ARCHITECTURES, RECIPES, Recipe

logger = logging.getLogger(__name__)


def make_model(recipe: Recipe, split: DigitsSplit, folder: Path) -> ZooCard:
    """Trains one model, writes NAME.onnx and NAME.json into `folder`, and returns the card."""
    import torch

    from onnx_models.zoo._training import accuracy, attacked_accuracy, train
    from onnx_models.zoo._write import to_onnx

    module = train(recipe, split.train)
    layers = ARCHITECTURES[recipe.architecture]
    path = folder / f"{recipe.name}.onnx"
    path.write_bytes(to_onnx(module, name=recipe.name, description=f"{layers}; {recipe.training} training"))
    card = ZooCard(
        name=recipe.name,
        architecture=layers,
        training=recipe.training,
        eps=recipe.eps,
        seed=recipe.seed,
        epochs=recipe.epochs,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        relus=load_onnx(path).relu_count,
        accuracy=accuracy(module, split.test),
        attack_eps=ADVERSARIAL_EPS,
        attacked_accuracy=attacked_accuracy(module, split.test, ADVERSARIAL_EPS),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        made_with=f"torch {torch.__version__}",
    )
    card.write(path.with_suffix(".json"))
    validation = accuracy(module, split.validation)
    logger.info("%s: validation %.4f, test %.4f", recipe.name, validation, card.accuracy)
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the script with these arguments, by default the command line's."""
    parser = argparse.ArgumentParser("python -m onnx_models.zoo.train", description="Trains the models of the zoo.")
    parser.add_argument("--only", nargs="+", choices=zoo_models(), metavar="NAME", help="train these models only")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the .onnx and .json files go")
    parser.add_argument("--page", type=Path, help="also write the reference page, from all packaged cards")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    split = digits_split()
    for recipe in RECIPES:
        if options.only is None or recipe.name in options.only:
            make_model(recipe, split, options.folder)
    if options.page is not None:
        options.page.write_text(reference_page(map(zoo_card, zoo_models())), "utf-8")


if __name__ == "__main__":
    main()
