"""The program `counter-attack`: its help, its exit codes, and what it imports for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from counter_attack.cli import run
from counter_attack.cli._app import COMMANDS, PROGRAM
from counter_attack.cli._inputs import InputArguments, named_attacks
from mipverify_py.cli._parse import Domain, Indices, Names
from onnx_models.errors import InputError

ATTACK = [sys.executable, "-m", "counter_attack.cli"]
HEAVY = ("numpy", "scipy", "torch", "onnx", "onnxruntime", "sklearn", "pandas", "matplotlib", "PIL", "highspy")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 0),
        (["--help"], 0),
        (["-h"], 0),
        (["--version"], 0),
        (["--nonsense"], 3),
        (["nonsense"], 3),
        *(([name, "--help"], 0) for name in COMMANDS),
        *(([name, "--nonsense"], 3) for name in COMMANDS),
        (["ug100", "tables", "--help"], 0),
        (["ug100"], 3),
        (["ug100", "tables"], 3),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)
def test_help_and_usage_errors_load_nothing_heavy(tmp_path: Path, words: list[str], code: int) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "counter_attack.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    traced = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == code, said
    assert len(said) == (code != 0), said
    loaded = {line.rpartition("|")[2].strip() for line in traced}
    assert "counter_attack.cli._app" in loaded  # the trace is there
    assert not [name for name in loaded if name.partition(".")[0] in HEAVY]


def test_the_help_lists_every_command_and_loads_none(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "counter_attack.cli", "--help"]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    for name in COMMANDS:
        assert name in done.stdout
        assert COMMANDS[name] in done.stdout
        assert f"counter_attack.cli._{name.replace('-', '_')}\n" not in done.stderr


def test_the_reference_lists_every_command() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "counter-attack-cli.md"
    commands = page.read_text("utf-8").partition("| command | does |")[2].partition("\n\n")[0]
    assert [line.split("`")[1] for line in commands.splitlines() if line.startswith("| `")] == list(COMMANDS)


def test_mistakes_are_one_line_with_the_program_s_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["atack"]) == 3
    out, errors = capsys.readouterr()
    assert (out, errors) == ("", "counter-attack: No such command 'atack'.\n")


def test_a_mistake_in_the_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ug100", "check", "absent"]) == 3
    out, errors = capsys.readouterr()
    assert (out, errors) == ("", "counter-attack: absent: there is no such file or folder.\n")


def test_the_installed_script_is_this_program() -> None:
    script = Path(sys.executable).with_name(PROGRAM)
    if not script.exists():
        pytest.skip("the distribution is not installed with its scripts in this environment")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=False)
    again = subprocess.run([*ATTACK, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, again.stdout)
    assert done.stdout.startswith("counter-attack ")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [*ATTACK, "--help"], cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_inputs_are_opened_in_the_order_asked_for() -> None:
    arguments = InputArguments(model="zoo:digits_small_standard", dataset="digits", index=Indices(((3, 5), (1, 2))))
    arguments.check_inputs()
    opened = arguments.open()
    assert (opened.indices, opened.data_set, opened.x.shape) == ([3, 4, 1], "digits", (3, 64))
    assert opened.labels is not None
    assert (opened.domain[0].min(), opened.domain[1].max()) == (0.0, 1.0)

    from onnx_models.zoo import digits_test

    images, labels = digits_test()
    assert opened.labels.tolist() == labels[[3, 4, 1]].tolist()
    assert (opened.x == images[[3, 4, 1]].reshape(3, 64)).all()


def test_a_label_and_a_domain_of_one_s_own_are_used() -> None:
    arguments = InputArguments(
        model="zoo:digits_small_standard", dataset="digits", index=Indices(((0, 2),)), label=4, domain=Domain(-1.0, 2.0)
    )
    opened = arguments.open()
    assert opened.labels is not None
    assert opened.labels.tolist() == [4, 4]
    assert opened.domain[0].tolist() == [-1.0] * 64
    assert opened.domain[1].tolist() == [2.0] * 64


def test_a_device_that_is_not_there_is_a_mistake() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    opened = InputArguments(model="zoo:digits_small_standard", dataset="digits", index=Indices(((0, 1),))).open()
    with pytest.raises(InputError, match="--device cuda cannot be used"):
        opened.classifier("cuda")


def test_attacks_are_named_alone_or_from_a_set() -> None:
    assert list(named_attacks(None, None, "digits")) == ["pgd"]
    assert list(named_attacks(Names(("bim", "fgsm")), None, None)) == ["bim", "fgsm"]
    assert named_attacks(Names(("pgd",)), None, None, norm="l2")["pgd"].norm.value == "l2"
    chosen = named_attacks(Names(("pgd", "bim")), "balanced", "mnist")
    assert list(chosen) == ["pgd", "bim"]
    assert chosen["bim"] == named_attacks(None, "balanced-mnist", None)["bim"]
    assert chosen["bim"] != named_attacks(None, "balanced", "cifar10")["bim"]
    assert named_attacks(Names(("balanced-mnist",)), None, None) == named_attacks(None, "balanced", "mnist")


@pytest.mark.parametrize(
    ("attacks", "parameters", "data_set", "message"),
    [
        (("nonsense",), None, "mnist", "no attack 'nonsense'"),
        (None, "balanced", "digits", "say which you mean: balanced-mnist, balanced-cifar10"),
        (None, "balanced", None, "say which you mean"),
        (("fab",), "balanced", "mnist", "--attacks fab: --parameters balanced has bim, "),
        (None, "nonsense", "mnist", "nonsense"),
    ],
)
def test_attacks_and_sets_that_are_not_there_are_named(
    attacks: tuple[str, ...] | None, parameters: str | None, data_set: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        named_attacks(None if attacks is None else Names(attacks), parameters, data_set)
