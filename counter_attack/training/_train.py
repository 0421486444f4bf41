"""From data, architecture and recipe to a trained model in an ONNX file."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counter_attack.training._architectures import ARCHITECTURES, build_architecture, build_module
from counter_attack.training._data import TrainingData
from counter_attack.training._files import read_checkpoint, write_checkpoint, write_whole
from counter_attack.training._recipe import Recipe
from counter_attack.training._report import EpochReport, ModelCard
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from counter_attack.training._loop import Loop
    from counter_attack.training._pruning import Pruned

CHECK_IMAGES = 20
"""Training images on which the exported network is compared with the module."""


class TrainingInterruptedError(Exception):
    """`stop` asked for an end; what was learned so far is in the checkpoint, if there is one."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to train on what, how and where. The same job gives the same weights on the same CPU and thread count.

    Attributes:
        data: the images.
        model: "A", "B" or "C", see `ARCHITECTURES`, or "package.module:factory", a function without arguments that
            returns a torch module from images to logits.
        recipe: how.
        device: "cpu", "cuda", "cuda:1", ...
        threads: of torch on the CPU, >= 1.
    """

    data: TrainingData
    model: str
    recipe: Recipe
    device: str = "cpu"
    threads: int = 1

    @property
    def description(self) -> str:
        """The architecture in words."""
        words = ARCHITECTURES[self.data.name].get(self.model)
        return self.model if words is None else f"{self.model}: {words}"

    def build(self) -> nn.Module:
        """The module before training; raises InputError as `build_architecture` and `build_module` do."""
        if ":" in self.model:
            return build_module(self.model, self.data.shape, seed=self.recipe.seed)
        return build_architecture(self.data.name, self.model, seed=self.recipe.seed)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A trained model.

    Attributes:
        module: in evaluation mode, on the CPU; with masked ReLUs where these were pruned.
        network: the exported model, lowered.
        onnx: the exported model, an ONNX file's contents.
        card: everything about it but the file's name.
    """

    module: nn.Module
    network: ReluNetwork
    onnx: bytes
    card: ModelCard

    def save(self, path: Path) -> ModelCard:
        """Writes the ONNX file and, with the ending .json, its card; returns the card.

        Raises:
            InputError: a file cannot be written.
        """
        card = replace(self.card, model=path.name)
        write_whole(path, self.onnx)
        write_whole(path.with_suffix(".json"), card.to_json().encode())
        return card


def train(
    job: Job,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    on_batch: Callable[[int, float], None] | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedModel:
    """Trains, prunes if the recipe says so, and exports in memory.

    Args:
        job: what and how.
        checkpoint: file that keeps the state, written before the first epoch, after each one, and when `stop` ends the
            training; None keeps none. It stays when the training is done. What it held is lost unless `resume`.
        resume: go on from `checkpoint` if that file exists. On a CPU with the same versions and threads the result is
            the same, bit for bit, as without interruption.
        stop: asked after every batch, in training and in pruning, whether to end.
        on_batch: told after every batch the number of the epoch, from 1, and the share of it that is done.
        on_epoch: told about every epoch.

    Raises:
        TrainingInterruptedError: `stop` said so.
        InputError: the job cannot be done, the loss stopped being finite, or the checkpoint belongs to another job or
            cannot be written.
        UnsupportedModelError: the trained module cannot be exported.
    """
    asked = stop or (lambda: False)
    with _torch_threads(job.threads):
        loop, identity = _loop(job)
        if checkpoint is not None and resume and checkpoint.exists():
            loop.restore(_matching(read_checkpoint(checkpoint), identity, checkpoint))
        else:
            _put_away(loop, identity, checkpoint)
        for report in _epochs(loop, asked, on_batch):
            _put_away(loop, identity, checkpoint)
            if on_epoch is not None:
                on_epoch(report)
        if not loop.finished:
            _put_away(loop, identity, checkpoint)
            raise TrainingInterruptedError
        return _finished(job, loop, asked)


def _epochs(
    loop: Loop, stop: Callable[[], bool], on_batch: Callable[[int, float], None] | None
) -> Iterator[EpochReport]:
    """Epochs until all are done or `stop` says so."""
    from counter_attack.training._loop import DivergedError

    def tell(share: float) -> None:
        if on_batch is not None:
            on_batch(loop.progress.epoch + 1, share)

    while not loop.finished and not stop():
        try:
            report = loop.run_epoch(stop, tell)
        except DivergedError as error:
            raise InputError(
                f"The loss is not finite in epoch {error.epoch}; give a smaller learning rate or smaller weights of "
                "the regularisers."
            ) from error
        if report is None:
            return
        yield report


def _loop(job: Job) -> tuple[Loop, dict[str, Any]]:
    """The loop before its first step, and what identifies the job in a checkpoint."""
    from counter_attack.training._loop import Loop
    from counter_attack.training._stability import check_layers

    if job.recipe.patience is not None and job.data.validation is None:
        raise InputError("Early stopping needs validation rows; leave some, or leave out patience.")
    module = job.build()
    if job.recipe.stability or job.recipe.constant_share is not None:
        check_layers(module)
    loop = Loop(module, job.data, job.recipe, _device(job.device))
    identity = {
        "data": f"{job.data.name} {job.data.digest()}",
        "architecture": job.description,
        "initial weights": _digest(module),
        **{f"recipe.{name}": value for name, value in asdict(job.recipe).items()},
    }
    return loop, identity


def _digest(module: nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.cpu().numpy().tobytes())
    return found.hexdigest()


def _put_away(loop: Loop, identity: dict[str, Any], checkpoint: Path | None) -> None:
    if checkpoint is not None:
        write_checkpoint(checkpoint, {"job": identity, "loop": loop.state()})


def _matching(content: dict[str, Any], identity: dict[str, Any], path: Path) -> dict[str, Any]:
    """The loop's state in a checkpoint; raises InputError if that belongs to another job."""
    found, state = content.get("job"), content.get("loop")
    if not isinstance(found, dict) or not isinstance(state, dict):
        raise InputError(f"{path}: is no checkpoint of a training; remove it to start anew.")
    wrong = [name for name in identity if name not in found or found[name] != identity[name]]
    if wrong:
        short = [
            f"{name} ({found.get(name)!r} there, {identity[name]!r} asked for)" if name.startswith("recipe.") else name
            for name in wrong
        ]
        raise InputError(
            f"{path}: belongs to another training, which differs in {', '.join(short)}; give the same options, or "
            "remove it to start anew."
        )
    return state


def _finished(job: Job, loop: Loop, stop: Callable[[], bool]) -> TrainedModel:
    """Pruned, measured and exported."""
    import torch

    from counter_attack.training._export import export

    kept = loop.progress.best_epoch or loop.progress.epoch
    pruned, module = _prune(job, loop, stop)
    accuracy = _accuracies(job, module)
    module = module.cpu().eval()
    images = _some_images(job.data)
    description = f"{job.description}; {job.data.name}, seed {job.recipe.seed}"
    data, network = export(module, images, "classifier", description)
    card = ModelCard(
        model="",
        sha256=hashlib.sha256(data).hexdigest(),
        architecture=job.description,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        relus=network.relu_count,
        data=job.data.name,
        data_sha256=job.data.digest(),
        rows=job.data.rows,
        recipe=asdict(job.recipe),
        epochs_done=loop.progress.epoch,
        kept_epoch=kept,
        pruned=None if pruned is None else asdict(pruned),
        accuracy=accuracy,
        device=job.device,
        threads=job.threads,
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{package: version(package) for package in ("numpy", "onnx", "mipverify-py")},
        },
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(loop.progress.seconds, 3),
    )
    return TrainedModel(module, network, data, card)


def _prune(job: Job, loop: Loop, stop: Callable[[], bool]) -> tuple[Pruned | None, nn.Module]:
    from counter_attack.training._pruning import Pruned, count_relus, prune_relus, prune_weights

    recipe, module = job.recipe, loop.finish()
    if not recipe.weight_threshold and recipe.constant_share is None:
        return None, module
    weights, weights_of = prune_weights(module, recipe.weight_threshold)
    if recipe.constant_share is None:
        return Pruned(weights, weights_of), module
    module = prune_relus(module, _until(stop, loop.training_batches()), recipe.constant_share)
    counts = count_relus(module, job.data.shape, _device(job.device))
    return Pruned(weights, weights_of, counts.off, counts.linear, counts.relus_of), module


def _until(stop: Callable[[], bool], batches: Iterator[Tensor]) -> Iterator[Tensor]:
    for batch in batches:
        if stop():
            raise TrainingInterruptedError
        yield batch


def _accuracies(job: Job, module: nn.Module) -> dict[str, float]:
    from counter_attack.training._images import Images
    from counter_attack.training._loop import share_correct

    device = _device(job.device)
    return {name: share_correct(module, Images(part, device)) for name, part in job.data.parts.items()}


def _some_images(data: TrainingData) -> Tensor:
    import torch

    from counter_attack.training._images import Images

    images, _ = Images(data.train, torch.device("cpu")).batch(slice(0, CHECK_IMAGES))
    return images


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"Device {name!r} cannot be used here: {reason}") from error
    return device


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """torch limited to so many threads of its own; its setting is restored, as it belongs to the caller's process."""
    import torch

    if count < 1:
        raise InputError(f"{count} threads cannot compute; give at least 1.")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
