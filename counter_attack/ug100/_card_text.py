"""The card of a data set as a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def card_text(card: Mapping[str, Any]) -> str:
    """The card in Markdown; it says nothing that the card as JSON does not."""
    parts = [
        [f"# Exact distances: {card['name']}", "", _opening(card)],
        ["## What was asked", "", *_question(card)],
        ["## What the answers rest on", "", *_evidence(card)],
        ["## Models", "", *_models(card)],
        ["## Rows", "", *_rows(card)],
        ["## Attacks", "", *_attacks(card)],
        ["## Files", "", *_FILES],
        ["## Licences", "", *_licences(card)],
        ["## How it was computed", "", *_provenance(card)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _opening(card: Mapping[str, Any]) -> str:
    count = card["cases"]
    return (
        f"{count['total']:,} cases: {len(card['configurations'])} networks, each with the distance of test images to "
        "the nearest adversarial example, as a bracket with that example at its upper end, beside what attacks found."
    )


_REFERENCE = {
    "predicted": "the class that the network itself predicts, right or wrong",
    "label": "the true class; an image that the network gets wrong has distance 0",
}


def _question(card: Mapping[str, Any]) -> Iterator[str]:
    asked, limits = card["question"], card["limits"]
    low, high = asked["domain"]
    targets = "any other class" if asked["targets"] is None else f"one of the classes {_list(asked['targets'])}"
    yield f"- Distance: {asked['norm']}, between images with values in [{low:g}, {high:g}]."
    yield f"- Class to leave: {_REFERENCE[asked['reference']]}."
    yield f"- Adversarial: {targets} reaches its output to at least {asked['margin']:g}. Ties count."
    yield (
        f"- Gap asked for: at most {limits['gap_absolute']:g}, or {limits['gap_relative']:g} of the upper end. "
        f"Time limit per case: {'none' if limits['time_limit'] is None else format(limits['time_limit'], 'g') + ' s'}."
    )


_LEVELS = {
    "reproved": "proved by a certificate that was checked in exact arithmetic; no solver is trusted",
    "replayed": "proved by this project's own outward-rounded arithmetic; no solver is trusted",
    "solver_claim": "also on a solver's word, within its tolerances",
    "none": "neither end is known",
}


def _evidence(card: Mapping[str, Any]) -> Iterator[str]:
    count = card["cases"]
    yield from (f"- {level}: {number:,} cases, {_LEVELS[level]}." for level, number in count["evidence"].items())
    yield (
        f"- {count['decided']:,} cases are decided to the gap, {count['open']:,} are open, {count['failed']:,} failed, "
        f"{count['new']:,} were not tried; in {count['without_example']:,} no example is known."
    )
    if count["contradictions"]:
        yield f"- {count['contradictions']:,} cases contradict themselves; cases.parquet says how."
    if count["widest_gap"] is not None:
        yield f"- The widest bracket is {count['widest_gap']:.3g} wide."
    yield "- Every example was evaluated in exact arithmetic: it is adversarial, at the distance given."


def _models(card: Mapping[str, Any]) -> Iterator[str]:
    yield "| configuration | network | ReLUs | accuracy | cases | open | misclassified | mean distance | seconds |"
    yield "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    for one in card["configurations"]:
        model, count, far = one["model"], one["cases"], one["distance"]
        accuracy = ", ".join(f"{part} {share:.2%}" for part, share in (model["accuracy"] or {}).items()) or "-"
        relus = "-" if model["relus"] is None else str(model["relus"])
        mean = "-" if far is None else f"{far['mean']:.4g}"
        yield (
            f"| {one['name']} | {model['description'] or '-'} | {relus} | {accuracy} | {count['total']:,} | "
            f"{count['open']:,} | {count['misclassified']:,} | {mean} | {one['seconds']:.1f} |"
        )
    yield ""
    yield "How each was trained is in models/NAME.json: recipe, seed, SHA-256 of the images, versions."


def _rows(card: Mapping[str, Any]) -> Iterator[str]:
    for name, ranges in card["rows"].items():
        total = sum(stop - start for start, stop in ranges)
        shown = ", ".join(str(start) if stop == start + 1 else f"{start} to {stop - 1}" for start, stop in ranges)
        yield f"- Measured: {total:,} rows of the test images of {name}: {shown}."
    told = {tuple((one["model"]["rows"] or {}).items()) for one in card["configurations"]}
    for rows in sorted(told):
        yield from (
            f"- When the networks were trained, {part} rows: {words}." for part, words in sorted(rows, reverse=True)
        )
    apart = {one["model"]["measured_apart"] for one in card["configurations"]}
    yield f"- {_APART[False if False in apart else None if None in apart else True]}"


_APART = {
    True: "No measured row was used to fit weights.",
    False: "Some of the measured rows were used to fit weights.",
    None: "Whether measured rows were used to fit weights is not known.",
}


def _attacks(card: Mapping[str, Any]) -> Iterator[str]:
    for one in card["attack_sets"]:
        finished = "; exact finishing of the nearest" if one["finish"] else ""
        everywhere = len(one["configurations"]) == len(card["configurations"])
        on = "all networks" if everywhere else _list(one["configurations"])
        yield f"- {one['name']}: {_list(one['attacks'])}{finished}; on {on}."
    missing = card["cases"]["total"] - card["attacks"]["cases"]
    yield f"- Parameters are in card.json; {missing:,} cases have no row of any attack."


_FILES = (
    "| file | holds |",
    "| --- | --- |",
    "| cases.parquet | one row per case: configuration, image, bracket, evidence |",
    "| attacks.parquet | one row per case and attack: distance |",
    "| examples/NAME.npz | `case`, `example`: the nearest example of each case, float64, exact |",
    "| originals/DATASET.npz | `index`, `image`: the images, float64 |",
    "| models/NAME.onnx, models/NAME.json | the networks and their cards |",
    "| card.json | this page as data |",
    "| checksums.txt | SHA-256 of all of these; `sha256sum --check checksums.txt` |",
)


def _licences(card: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"- Images of {name}: {words}" for name, words in card["licences"]["images"].items())
    yield f"- The rest: {card['licences']['rest']}"


def _provenance(card: Mapping[str, Any]) -> Iterator[str]:
    spent = card["seconds"]
    yield f"- Exact search {spent['exact'] / 3600:.3g} hours, attacks {spent['attacks'] / 3600:.3g} hours, added up."
    if card["began"] is not None:
        yield f"- From {card['began']} to {card['ended']}."
    for host in card["hosts"]:
        yield f"- Machine: {_list(f'{key} {value}' for key, value in host.items() if value is not None)}."
    yield f"- Versions: {_list(f'{name} {_list(found)}' for name, found in card['versions'].items()) or 'not known'}."


def _list(values: Any) -> str:
    return ", ".join(str(value) for value in values)
