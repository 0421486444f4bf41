"""Doing what a sound command line asks for; everything behind this module may import numpy, scipy and the rest."""

from __future__ import annotations

import typer

from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._exit import ExitCode
from onnx_models.errors import MipverifyError


def run(arguments: Arguments) -> ExitCode:
    """Runs the command.

    Raises:
        typer.TyperException: the input or the model cannot be used; the message is addressed to the user.
    """
    try:
        return _run(arguments)
    except MipverifyError as error:
        raise typer.TyperException(str(error)) from error


def _run(arguments: Arguments) -> ExitCode:
    """Each task imports what it needs and no more."""
    if arguments.backends:
        from mipverify_py.cli._lists import list_backends

        return list_backends(as_json=arguments.json)
    if arguments.list_zoo:
        from mipverify_py.cli._lists import list_zoo

        return list_zoo(as_json=arguments.json)
    if arguments.check is not None:
        from mipverify_py.cli._certificates import check_certificate

        return check_certificate(arguments.check, arguments.model, fast=arguments.fast)
    if arguments.instances is not None:
        from mipverify_py.cli._instances import run_instances

        return run_instances(arguments)
    if arguments.vnnlib is not None:
        from mipverify_py.cli._vnnlib import verify_vnnlib

        return verify_vnnlib(arguments)
    if arguments.inspect:
        from mipverify_py.cli._inspect import inspect_model

        return inspect_model(arguments)
    if arguments.compare_backends is not None:
        from mipverify_py.cli._compare import compare

        return compare(arguments)
    if arguments.witnesses is not None:
        from mipverify_py.cli._several import find_several

        return find_several(arguments)
    from mipverify_py.cli._verify_images import verify_images

    return verify_images(arguments)
