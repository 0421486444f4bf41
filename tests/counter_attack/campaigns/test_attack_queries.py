"""Sets of attacks in campaigns: what a spec asks, and what the answers are, against attacks run by themselves."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counter_attack import Pool, make_attack, parameter_set
from counter_attack.attacks._registry import ATTACKS, attack_parameters
from counter_attack.campaigns import AttackQuestion, read_spec
from counter_attack.campaigns._answer import answer
from mipverify_py import Norm, distance
from mipverify_py.campaigns._records import Limits, QueryKind, QueryRecord, Task, canonical_json
from mipverify_py.campaigns._spec import CampaignSpec, Group
from mipverify_py.campaigns._spec_data import DataSource
from mipverify_py.campaigns._spec_questions import DistanceQuestion
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo

MODEL = "digits_small_standard"
HEAD = f"models = 'zoo:{MODEL}'\n[data]\ndataset = 'digits'\nindices = '0:2'\n[[query]]\nkind = 'attack'\n"


def asked(**question: object) -> QueryRecord:
    """A query about the first digit."""
    kind = AttackQuestion(**{"attacks": {"fgsm": {}, "deepfool": {}}, **question})  # type: ignore[arg-type]
    spec = CampaignSpec((Group({"a": f"zoo:{MODEL}"}, DataSource("digits", indices=0), (kind,)),))
    return spec.queries()[0]


def read(folder: Path, text: str) -> CampaignSpec:
    (folder / "c.toml").write_text(HEAD + text)
    return read_spec(folder / "c.toml")


def untold(*_: float | None) -> None:
    """Nobody listens to the brackets."""


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_come_back_from_json_as_they_were(name: str) -> None:
    for norm in ATTACKS[name].norms:
        attack = make_attack(name, norm=norm)
        record = attack_parameters(name, attack)
        canonical_json(record)
        assert make_attack(name, norm=norm, **record) == attack


@pytest.mark.parametrize("source", ["strong-mnist", "balanced-cifar10", "mip-start-mnist"])
def test_published_sets_come_back_from_json_as_they_were(source: str) -> None:
    (variant,) = AttackQuestion(sets=(source,)).variants(None)
    made = {name: make_attack(name, **own) for name, own in variant.question["attacks"].items()}
    assert made == parameter_set(source)
    assert variant.question["set"] == source


def test_a_family_is_the_set_of_the_data_set() -> None:
    for dataset in ("mnist", "cifar10"):
        (short,) = AttackQuestion(sets=("balanced",)).variants(dataset)
        (full,) = AttackQuestion(sets=(f"balanced-{dataset}",)).variants(None)
        assert short.question["attacks"] == full.question["attacks"]
        assert short.question["set"] == "balanced"


def test_a_set_of_one_s_own_is_read_beside_the_spec(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[attacks.pgd]\nsteps = 3\n[attacks.fgsm]\n")
    queries = read(tmp_path, "sets = ['mine.toml', 'balanced-mnist']\nfinish = true\n").queries()
    assert [q.question["set"] for q in queries] == ["mine", "balanced-mnist"] * 2
    assert queries[0].question["attacks"]["pgd"]["steps"] == 3
    assert all(q.question["finish"] and q.kind is QueryKind.ATTACK for q in queries)


def test_attacks_are_named_or_given_parameters(tmp_path: Path) -> None:
    (named, *_) = read(tmp_path, "attacks = ['fgsm', 'fab']\nname = 'quick'\n").queries()
    assert (named.question["set"], list(named.question["attacks"])) == ("quick", ["fgsm", "fab"])
    (own, *_) = read(tmp_path, "attacks = { pgd = { steps = 7 } }\nnorms = ['l2']\n").queries()
    assert (own.question["set"], own.question["attacks"]["pgd"]["steps"], own.question["norm"]) == ("pgd", 7, "l2")


WRONG = {
    "neither": ("", "query number 1: An attack query needs sets or attacks"),
    "both": ("sets = 'strong-mnist'\nattacks = 'pgd'\n", "needs sets or attacks, one of the two"),
    "no set for the digits": ("sets = 'strong'\n", "say which you mean: strong-mnist, strong-cifar10"),
    "no such set": ("sets = 'weak'\n", "query number 1: There is no parameter set 'weak'"),
    "no such file": ("sets = 'absent.toml'\n", "absent.toml cannot be read"),
    "no such attack": ("attacks = 'nuke'\n", "query number 1: There is no attack 'nuke'"),
    "no such parameter": (
        "attacks = { pgd = { stepz = 1 } }\n",
        "query number 1: The attack pgd has no parameter 'stepz'",
    ),
    "another norm": ("attacks = 'cw'\nnorms = 'l1'\n", "query number 1: The attack cw does not work in l1"),
    "a set in another norm": (
        "sets = 'strong-mnist'\nnorms = 'l1'\n",
        "query number 1: In the set strong-mnist, table [attacks.cw]",
    ),
    "no such value": ("attacks = { pgd = { steps = -3 } }\n", "query number 1: The attack pgd needs at least 1 step"),
    "a norm of its own": ("attacks = { pgd = { norm = 'l2' } }\n", "say it with norms"),
    "a number": ("attacks = { pgd = 3 }\n", "attacks must be names, or tables"),
    "a margin": ("attacks = 'pgd'\nmargin = 1\n", "there is no key 'margin'"),
    "a name for two": ("sets = ['strong-mnist', 'balanced-mnist']\nname = 'x'\n", "is for one set"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text).queries()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_answer_is_what_the_pool_finds_and_never_nearer_than_the_truth() -> None:
    network, record = load_zoo(MODEL), asked(finish=True)
    told: list[float | None] = []
    found = answer(Task(1, 1, record, Limits(60.0)), network, lambda _, upper: told.append(upper))
    assert (found.decided, found.stop_reason, found.verdict, found.lower) == (True, "solved", None, None)
    images, labels = digits_test()
    pool = Pool({name: make_attack(name) for name in ("fgsm", "deepfool")}, finish=True)
    alone = pool(network, images[:1], labels[:1])
    assert {finding.name: finding.distance for finding in found.findings} == {
        name: result.distance[0] for name, result in alone.results.items()
    }
    truth = distance(network, images[0], label=int(labels[0]))
    assert truth.lower is not None
    assert found.upper == alone.distance[0] == min(d for d in told if d is not None) >= truth.lower
    for finding in found.findings:
        assert finding.point is not None
        assert finding.target is not None
        assert finding.distance == np.abs(finding.point - record.input.values).max()
        logits = network.forward(finding.point.ravel())
        assert finding.target != found.reference
        assert logits[finding.target] >= logits[found.reference] - 1e-9 * np.abs(logits).max()


def test_targets_count_for_attacks_as_for_the_exact_search() -> None:
    network, record = load_zoo(MODEL), asked(targets=(2,), finish=True)
    found = answer(Task(1, 1, record, Limits(60.0)), network, untold)
    exact = replace(record, kind=QueryKind.DISTANCE, question={**record.question, "margin": 0.0})
    exact = replace(exact, options=DistanceQuestion().options)
    truth = answer(Task(1, 1, exact, Limits(60.0)), network, untold)
    assert {finding.target for finding in found.findings} == {2}
    assert truth.lower is not None and found.upper is not None
    assert truth.lower <= found.upper


def test_attacks_that_are_cut_short_decide_nothing() -> None:
    record = asked(attacks={"pgd": {"steps": 100000}, "fgsm": {}})
    found = answer(Task(1, 1, record, Limits(0.05)), load_zoo(MODEL), untold)
    assert (found.decided, found.stop_reason, found.stop_detail) == (False, "time_limit", "1 of 2 attacks were run")
    assert [finding.name for finding in found.findings] == ["pgd"]


def test_an_interruption_keeps_what_was_found() -> None:
    def interrupt(_: float | None, upper: float | None) -> None:
        if upper is not None:
            signal.raise_signal(signal.SIGINT)

    found = answer(Task(1, 1, asked(), Limits(60.0)), load_zoo(MODEL), interrupt)
    assert (found.decided, found.stop_reason) == (False, "interrupted")
    assert [finding.name for finding in found.findings] == ["fgsm"]
    assert found.upper == found.findings[0].distance


def test_an_attack_that_fails_is_a_finding_without_a_distance() -> None:
    record = asked(attacks={"uniform": {"runs": 1, "search": {"decay_steps": 1, "bisections": 0}}, "fgsm": {}})
    found = answer(Task(1, 1, record, Limits(60.0)), load_zoo(MODEL), untold)
    by_name = {finding.name: finding for finding in found.findings}
    alone = make_attack("uniform", runs=1, search={"decay_steps": 1, "bisections": 0})
    images, labels = digits_test()
    success = bool(alone(load_zoo(MODEL), images[:1], labels[:1]).success[0])
    assert (by_name["uniform"].distance is not None) == success
    assert (by_name["uniform"].point is not None) == success
    assert found.decided


def test_exact_queries_are_answered_too() -> None:
    network = load_zoo(MODEL)
    question = DistanceQuestion()
    spec = CampaignSpec((Group({"a": f"zoo:{MODEL}"}, DataSource("digits", indices=0), (question,)),))
    found = answer(Task(1, 1, spec.queries()[0], Limits(60.0)), network, untold)
    assert found.decided
    assert found.engine == "auto"
    assert spec.queries()[0].question["norm"] == Norm.LINF.value
