"""A small campaign for data sets: two networks on a few digits, answered one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from counter_attack.campaigns import AttackQuestion
from counter_attack.campaigns._answer import answer
from counter_attack.training import read_training_data
from counter_attack.ug100._build_models import Grid, train_grid
from mipverify_py.campaigns import Answer, Completion, Limits, Store, StoredQuery, Task
from mipverify_py.campaigns._spec import CampaignSpec, Group
from mipverify_py.campaigns._spec_data import DataSource
from mipverify_py.campaigns._spec_questions import DistanceQuestion
from onnx_models import ReluNetwork, load_onnx
from tests.helpers.campaigns import HOST, VERSIONS

IMAGES = 4
LIMITS = Limits(60.0)

Answered = tuple[StoredQuery, Answer]


@dataclass(frozen=True, slots=True)
class Small:
    """Trained models by configuration, a store, and the answers in it."""

    models: dict[str, Path]
    store: Path
    answers: tuple[Answered, ...]


def tiny_grid(**changes: object) -> Grid:
    """Network A of the digits, trained for a moment in two ways."""
    whole = {"architectures": ("A",), "trainings": ("standard", "adversarial"), "epochs": 2, **changes}
    return Grid(read_training_data("digits"), **whole)


def tiny_spec(models: dict[str, Path], *, label: str = "predicted") -> CampaignSpec:
    """Distances and two weak attacks for a few images."""
    attacks = {"fgsm": {}, "bim": {"steps": 5}}
    questions = (DistanceQuestion(label=label), AttackQuestion(attacks=attacks, name="quick", label=label))
    places = {name: str(path) for name, path in models.items()}
    return CampaignSpec((Group(places, DataSource("digits", indices=f"0:{IMAGES}"), questions),), LIMITS)


def small_campaign(folder: Path) -> Small:
    """Trains, asks and answers."""
    models = train_grid(tiny_grid(), folder / "models")
    networks = {network.digest: network for network in map(load_onnx, models.values())}
    answers: list[Answered] = []

    def ask(query: StoredQuery) -> Answer:
        answers.append((query, compute(query, networks)))
        return answers[-1][1]

    with Store.create(folder / "campaign.sqlite") as store:
        fill(store, tiny_spec(models), ask)
    return Small(models, folder / "campaign.sqlite", tuple(answers))


def compute(query: StoredQuery, networks: dict[str, ReluNetwork]) -> Answer:
    """What a worker answers."""
    task = Task(query.row, 1, query.record, LIMITS)
    return answer(task, networks[query.record.model], lambda *_: None)


def fill_store(
    path: Path, spec: CampaignSpec, change: Callable[[StoredQuery, Answer], Answer | None], *, reuse: Sequence[Answered]
) -> Path:
    """A store with the answers of another one, changed; None leaves a query unanswered."""
    known = {query.key: found for query, found in reuse}
    with Store.create(path) as store:
        fill(store, spec, lambda query: change(query, known[query.key]))
    return path


def fill(store: Store, spec: CampaignSpec, ask: Callable[[StoredQuery], Answer | None]) -> None:
    """Puts a spec and the answers to its queries into a store."""
    for model in spec.models():
        store.add_model(model)
    store.add_queries(list(spec.queries()), spec.record())
    for query in store.queries():
        outcome = ask(query)
        if outcome is not None:
            store.record(Completion(Task(query.row, 1, query.record, LIMITS), outcome, "worker", HOST, VERSIONS, 0.5))


def shortened(found: Answer) -> Answer:
    """As if time had been up before much was proved."""
    return replace(found, decided=False, lower=0.0, stop_reason="time_limit")
