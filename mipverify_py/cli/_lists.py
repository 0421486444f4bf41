"""The tables behind --backends and --list-zoo."""

from __future__ import annotations

from dataclasses import asdict

from mipverify_py.backends import backend_status
from mipverify_py.cli._check import ZOO_PREFIX
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from onnx_models.zoo import zoo_card, zoo_models


def list_backends(*, as_json: bool) -> ExitCode:
    """Writes every solver this package knows, whether it is installed, and how to install it if not."""
    rows = backend_status()
    if as_json:
        for row in rows:
            write_line({"schema": SCHEMA, "kind": "backend", **asdict(row)})
        return ExitCode.ANSWERED
    output = Output()
    output.line(f"{'backend':<10}{'version':<12}licence", "bold")
    for row in rows:
        if row.installed:
            output.line(f"{row.name:<10}{row.version or '-':<12}{row.licence}")
        else:
            output.line(f"{row.name:<10}{'missing':<12}{row.install}", "yellow")
    return ExitCode.ANSWERED


def list_zoo(*, as_json: bool) -> ExitCode:
    """Writes the bundled models: what each is made of and how well it classifies the digits' test rows."""
    cards = [zoo_card(name) for name in zoo_models()]
    if as_json:
        for card in cards:
            write_line({"schema": SCHEMA, "kind": "zoo", **asdict(card)})
        return ExitCode.ANSWERED
    output = Output()
    width = max(len(card.name) for card in cards) + len(ZOO_PREFIX) + 2
    output.line(f"{'model':<{width}}{'ReLUs':>6}{'accuracy':>10}{'attacked':>10}  layers", "bold")
    for card in cards:
        shares = f"{card.accuracy:>10.2%}{card.attacked_accuracy:>10.2%}"
        output.line(f"{ZOO_PREFIX + card.name:<{width}}{card.relus:>6}{shares}  {card.architecture}")
    eps = ", ".join(f"{value:g}" for value in sorted({card.attack_eps for card in cards}))
    output.line(f"attacked: accuracy under a gradient attack of L-infinity radius {eps}", "dim")
    return ExitCode.ANSWERED
