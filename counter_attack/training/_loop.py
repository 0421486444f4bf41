"""The training loop: steps, epochs, early stopping, and a state that can be put away at any step.

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from counter_attack.training._data import TrainingData
from counter_attack.training._images import Images, attacked, augmented
from counter_attack.training._recipe import Recipe
from counter_attack.training._report import EpochReport
from counter_attack.training._stability import l1_norm, stability_loss

EVALUATION_ROWS = 500
"""Images that are evaluated at once where no gradient of the weights is needed."""


@dataclass(slots=True)
class Progress:
    """How far training is; what a checkpoint holds besides weights, optimiser and random numbers.

    Attributes:
        epoch: epochs done.
        order: order of the training rows in the epoch begun, empty between epochs.
        position: training rows of that epoch that are done.
        loss: sum over these rows of their batch's loss.
        best_epoch, best_loss, best: the epoch with the smallest validation loss, that loss, and its weights; 0,
            infinity and empty before there is one.
        seconds: time spent training.
    """

    epoch: int = 0
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    position: int = 0
    loss: float = 0.0
    best_epoch: int = 0
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


class Loop:
    """Trains a module in place.

    Attributes:
        module: on the device, with the weights of the moment.
        progress: how far it is.
    """

    def __init__(self, module: nn.Module, data: TrainingData, recipe: Recipe, device: torch.device) -> None:
        self.module = module.to(device)
        self.progress = Progress()
        self._recipe, self._device = recipe, device
        self._train = Images(data.train, device)
        self._validation = None if data.validation is None else Images(data.validation, device)
        self._optimiser = torch.optim.Adam(self.module.parameters(), lr=recipe.learning_rate)
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._global = torch.Generator().manual_seed(recipe.seed).get_state()

    @property
    def finished(self) -> bool:
        """Whether no epoch is left to do."""
        done, patience = self.progress, self._recipe.patience
        waited = patience is not None and done.best_epoch > 0 and done.epoch - done.best_epoch >= patience
        return done.order.numel() == 0 and (done.epoch >= self._recipe.epochs or waited)

    def run_epoch(self, stop: Callable[[], bool], report: Callable[[float], None]) -> EpochReport | None:
        """Finishes the epoch begun, or does the next one; None if `stop` said so between two batches.

        Args:
            stop: asked after every batch.
            report: told, after every batch, the share of the epoch that is done.
        """
        began, state = time.monotonic(), self.progress
        if state.order.numel() == 0:
            state.order = torch.randperm(len(self._train), generator=self._generator)
            state.position, state.loss = 0, 0.0
        self.module.train()
        with torch.random.fork_rng(devices=[]):  # for layers that draw, such as dropout
            torch.set_rng_state(self._global)
            while state.position < len(state.order):
                rows = state.order[state.position : state.position + self._recipe.batch_size]
                state.loss += self._step(rows) * len(rows)
                state.position += len(rows)
                report(state.position / len(state.order))
                if stop() and state.position < len(state.order):
                    break
            self._global = torch.get_rng_state()
        if state.position < len(state.order):
            state.seconds += time.monotonic() - began
            return None
        found = self._end_epoch()
        state.seconds += time.monotonic() - began
        return found

    def state(self) -> dict[str, Any]:
        """Everything that decides how training goes on, as tensors, numbers and texts."""
        done = {name: getattr(self.progress, name) for name in Progress.__slots__}
        return {
            "progress": done,
            "module": self.module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
            "global": self._global,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` gave, in a loop made with the same arguments."""
        self.progress = Progress(**state["progress"])
        self.module.load_state_dict(state["module"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._generator.set_state(state["generator"])
        self._global = state["global"]

    def finish(self) -> nn.Module:
        """The module in evaluation mode, with the best weights if early stopping looked for them."""
        if self.progress.best:
            self.module.load_state_dict(self.progress.best)
        return self.module.eval()

    def training_batches(self) -> Iterator[Tensor]:
        """The training images as the attack leaves them, on which pruning counts; always the same for a module."""
        generator = torch.Generator().manual_seed(self._recipe.seed)
        for start in range(0, len(self._train), EVALUATION_ROWS):
            images, labels = self._train.batch(slice(start, start + EVALUATION_ROWS))
            yield attacked(self.module, images, labels, self._recipe, generator)

    def _step(self, rows: Tensor) -> float:
        """One step of Adam; returns the loss before it."""
        images, labels = self._train.batch(rows)
        if self._recipe.augments:
            images = augmented(images, self._recipe, self._generator)
        inputs = attacked(self.module, images, labels, self._recipe, self._generator)
        self._optimiser.zero_grad()
        loss = self._objective(images, inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.item()

    def _objective(self, images: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """What is minimised, the mean over a batch; `inputs` are the images after the attack."""
        loss = functional.cross_entropy(self.module(inputs), labels)
        if self._recipe.l1:
            loss = loss + self._recipe.l1 * l1_norm(self.module)
        if self._recipe.stability:
            assert self._recipe.eps is not None
            loss = loss + self._recipe.stability * stability_loss(self.module, images, self._recipe.eps)
        return loss

    def _end_epoch(self) -> EpochReport:
        state = self.progress
        loss = state.loss / len(state.order)
        state.epoch += 1
        state.order, state.position, state.loss = state.order[:0].clone(), 0, 0.0
        if not math.isfinite(loss):
            raise DivergedError(state.epoch)
        accuracy = validation_loss = None
        if self._validation is not None:
            accuracy = share_correct(self.module, self._validation)
            if self._recipe.patience is not None:
                validation_loss = self._validate()
                if validation_loss < state.best_loss:
                    state.best_epoch, state.best_loss = state.epoch, validation_loss
                    state.best = copy.deepcopy(self.module.state_dict())
        return EpochReport(state.epoch, self._recipe.epochs, loss, validation_loss, accuracy, state.best_epoch)

    def _validate(self) -> float:
        """The objective on the validation rows, not augmented; the attack starts at the same points in every epoch."""
        assert self._validation is not None
        generator = torch.Generator().manual_seed(self._recipe.seed)
        self.module.eval()
        total = 0.0
        for start in range(0, len(self._validation), EVALUATION_ROWS):
            images, labels = self._validation.batch(slice(start, start + EVALUATION_ROWS))
            inputs = attacked(self.module, images, labels, self._recipe, generator)
            with torch.no_grad():
                total += float(self._objective(images, inputs, labels)) * len(labels)
        return total / len(self._validation)


class DivergedError(Exception):
    """The loss is not a finite number any more; caught by `train`."""

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


@torch.no_grad()
def share_correct(module: nn.Module, images: Images) -> float:
    """Share of the images that the module, in evaluation mode, gives their label."""
    module.eval()
    right = 0
    for start in range(0, len(images), EVALUATION_ROWS):
        inputs, labels = images.batch(slice(start, start + EVALUATION_ROWS))
        right += int((module(inputs).argmax(1) == labels).sum())
    return right / len(images)
