"""`counter-attack train`: a classifier from images to an ONNX file with a card."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
import math
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import PROGRAM, new_app
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._complain import complain
from mipverify_py.cli._parse import Indices

if TYPE_CHECKING:
    from counter_attack.training import Job, ModelCard

DATASETS = ("digits", "mnist", "fashion-mnist", "cifar10")
METHODS = ("standard", "adversarial", "relu")
# Both repeat names of counter_attack.training, which takes too long to import for `--help`. A test compares them.

_DATA, _NETWORK, _TRAINING = "The images", "The network", "The training (default: the preset of data set and method)"
_REGULAR, _RUN = "Attack, regularisation and pruning (default: the preset)", "The run"

_ONLY_ATTACK = ("eps", "attack_iterations", "attack_step")
_ONLY_RELU = ("l1", "stability", "weight_threshold", "constant_share")
_ALWAYS = ("epochs", "learning_rate", "batch_size", "seed", "flip", "translation", "rotation", "patience")


def _number(panel: str, help_text: str) -> Any:
    """An option that is a number; which numbers are allowed is known to `Recipe`."""
    parser = _parse.number("a finite number", math.isfinite)
    return typer.Option(metavar="X", parser=parser, rich_help_panel=panel, help=help_text)


def _count(panel: str, help_text: str) -> Any:
    """An option that is a whole number from 0."""
    parser = _parse.whole("at least 0", lambda v: v >= 0)
    return typer.Option(metavar="N", parser=parser, rich_help_panel=panel, help=help_text)


@dataclass(frozen=True, slots=True)
class TrainArguments:
    """Train a classifier and write FILE.onnx with a card FILE.json.

    counter-attack train digits-b.onnx --dataset digits --architecture B --method adversarial
    """

    out: Annotated[str, typer.Argument(metavar="FILE.onnx", help="The model to write.")]
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(DATASETS),
            rich_help_panel=_DATA,
            help="digits (bundled), mnist, fashion-mnist or cifar10.",
        ),
    ] = None
    data_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_DATA,
            help="Where the files of mnist, fashion-mnist (IDX) or cifar10 (batches) lie, training and test.",
        ),
    ] = None
    split: Annotated[
        Indices | None,
        typer.Option(
            metavar="A:B",
            parser=_parse.indices,
            rich_help_panel=_DATA,
            help="Read the test files only: train on rows A to B - 1, validate on the others.",
        ),
    ] = None
    validation_rows: Annotated[
        int | None,
        _count(_DATA, "Rows at the end of the training files kept for validation. Default: 5000."),
    ] = None

    architecture: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=_NETWORK, help="A, B or C, different for each data set."),
    ] = None
    module: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:FACTORY",
            rich_help_panel=_NETWORK,
            help="A function without arguments that returns a torch module; imported from here or the Python path.",
        ),
    ] = None

    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(METHODS),
            rich_help_panel=_TRAINING,
            help="standard; adversarial (PGD); or relu (that, L1 and ReLU-stability losses, then pruning).",
        ),
    ] = "standard"
    epochs: Annotated[int | None, _count(_TRAINING, "Passes over the training rows.")] = None
    learning_rate: Annotated[float | None, _number(_TRAINING, "Of Adam.")] = None
    batch_size: Annotated[int | None, _count(_TRAINING, "Images per step.")] = None
    seed: Annotated[int | None, _count(_TRAINING, "Seed of all randomness. Default: 0.")] = None
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", rich_help_panel=_TRAINING, help="Mirror half of the images."),
    ] = None
    translation: Annotated[float | None, _number(_TRAINING, "Shift by up to this share of the size.")] = None
    rotation: Annotated[float | None, _number(_TRAINING, "Turn by up to so many degrees.")] = None
    patience: Annotated[
        int | None,
        _count(_TRAINING, "End after so many epochs without a smaller validation loss, and keep the best weights."),
    ] = None

    eps: Annotated[float | None, _number(_REGULAR, "Radius of the attack and of the stability loss.")] = None
    attack_iterations: Annotated[int | None, _count(_REGULAR, "Steps of the attack; 0 is none (method relu).")] = None
    attack_step: Annotated[float | None, _number(_REGULAR, "Length of a step, as a share of --eps.")] = None
    l1: Annotated[float | None, _number(_REGULAR, "Weight of the L1 norm of the parameters.")] = None
    stability: Annotated[float | None, _number(_REGULAR, "Weight of the ReLU-stability loss.")] = None
    weight_threshold: Annotated[float | None, _number(_REGULAR, "Smaller weights become 0 afterwards.")] = None
    constant_share: Annotated[
        float | None, _number(_REGULAR, "ReLUs that do the same on this share of the images always do so afterwards.")
    ] = None

    device: Annotated[
        str, typer.Option(metavar="NAME", parser=_parse.device, rich_help_panel=_RUN, help="cpu or cuda (cuda:1, ...).")
    ] = "cpu"
    threads: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_RUN,
            help="Threads of torch on the CPU.",
        ),
    ] = 1
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel=_RUN, help="Go on from FILE.checkpoint, if it is there.")
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", rich_help_panel=_RUN, help="Replace FILE.onnx; forget FILE.checkpoint unless --resume."
        ),
    ] = False
    json: Annotated[
        bool, typer.Option("--json", rich_help_panel=options.OUTPUT, help="The card on stdout, nothing else.")
    ] = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Trains and writes; returns the exit code."""
        self._check()
        from counter_attack.cli._train_progress import TrainingProgress, noted_interrupts
        from onnx_models._interruptions import interruptions_held

        with interruptions_held():
            from counter_attack.training import TrainingInterruptedError, train

            job = self._job()
        checkpoint = self._checkpoint
        if self.resume and not checkpoint.exists() and not self.quiet:
            complain(f"there is no {checkpoint}; starting anew.", PROGRAM)
        try:
            with noted_interrupts() as stop, TrainingProgress(job.recipe.epochs, quiet=self.quiet) as progress:
                model = train(
                    job,
                    checkpoint=checkpoint,
                    resume=self.resume,
                    stop=stop,
                    on_batch=progress.batch,
                    on_epoch=progress.epoch,
                )
        except TrainingInterruptedError:
            complain(
                f"interrupted; what was learned is in {checkpoint}. The same command with --resume goes on.", PROGRAM
            )
            return ExitCode.INTERRUPTED
        card = model.save(Path(self.out))
        with suppress(OSError):  # it only takes space now
            checkpoint.unlink()
        if self.json:
            from mipverify_py.cli._json import write_line

            write_line(_record(card))
        else:
            _show(card, self.out, self.method)
        return ExitCode.ANSWERED

    @property
    def _checkpoint(self) -> Path:
        return Path(self.out).with_suffix(".checkpoint")

    def _check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading anything."""
        out, checkpoint = Path(self.out), self._checkpoint
        if out.suffix != ".onnx":
            raise typer.TyperException(f"{self.out} is no name for a model; it must end in .onnx.")
        if not out.parent.is_dir():
            raise typer.TyperException(f"{out.parent}: there is no such folder to write {out.name} into.")
        if out.exists() and not self.overwrite:
            raise typer.TyperException(f"{self.out} is there already; --overwrite replaces it.")
        if checkpoint.exists() and not (self.resume or self.overwrite):
            raise typer.TyperException(
                f"{checkpoint} is there from a training that did not end; --resume goes on with it, --overwrite "
                "forgets it."
            )
        if self.dataset is None:
            raise typer.TyperException(f"Name the images with --dataset: {', '.join(DATASETS)}.")
        if (self.architecture is None) == (self.module is None):
            raise typer.TyperException("Name the network with --architecture A, B or C, or with --module; one of them.")
        if self.module is not None and ":" not in self.module:
            raise typer.TyperException(f"--module {self.module} names no factory; write it as package.module:factory.")
        if self.split is not None and (len(self.split.ranges) != 1 or None in self.split.ranges[0]):
            raise typer.TyperException("--split is one range of rows with both ends, such as 2000:10000.")
        for names, methods in ((_ONLY_ATTACK, METHODS[1:]), (_ONLY_RELU, METHODS[2:])):
            given = [name for name in names if getattr(self, name) is not None]
            if given and self.method not in methods:
                option = f"--{given[0].replace('_', '-')}"
                raise typer.TyperException(
                    f"{option} has no effect with --method {self.method}; it is for {' and '.join(methods)}."
                )

    def _job(self) -> "Job":
        from counter_attack.training import Job, preset, read_training_data

        assert self.dataset is not None
        names = (*_ALWAYS, *_ONLY_ATTACK, *_ONLY_RELU)
        changes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        recipe = preset(self.dataset, self.method, **changes)
        if self.module is not None and (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - a text for sys.path
            sys.path.insert(0, here)  # a script of Python's own would find modules here; an installed one does not
        first, stop = self.split.ranges[0] if self.split is not None else (None, None)
        data = read_training_data(
            self.dataset,
            None if self.data_dir is None else Path(self.data_dir),
            split=None if first is None or stop is None else (first, stop),
            validation_rows=self.validation_rows,
        )
        model = self.architecture or self.module
        assert model is not None
        return Job(data, model, recipe, device=self.device, threads=self.threads)


def _record(card: "ModelCard") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(card)


def _show(card: "ModelCard", path: str, method: str) -> None:
    """The card in a few lines."""
    from mipverify_py.cli._numbers import seconds
    from mipverify_py.cli._output import Output

    out = Output()
    out.line(f"{path}: {card.architecture}; {card.data}, {method}, seed {card.recipe['seed']}")
    shares = ", ".join(f"{part} {share:.2%}" for part, share in card.accuracy.items())
    out.fact("accuracy", shares)
    kept = "" if card.kept_epoch == card.epochs_done else f", weights of epoch {card.kept_epoch} kept"
    out.fact("training", f"{card.epochs_done} epochs in {seconds(card.seconds)}{kept}")
    if card.pruned is None:
        out.fact("ReLUs", str(card.relus))
        return
    pruned = card.pruned
    out.fact("ReLUs", f"{card.relus} of {pruned['relus_of']}; {pruned['off']} always off, {pruned['linear']} linear")
    out.fact("weights", f"{pruned['weights']} of {pruned['weights_of']} set to 0")


app = new_app()
app.command()(TrainArguments)
