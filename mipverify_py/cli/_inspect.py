"""What a model is made of, and how many of its units are unstable around an input."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from bounds import NetworkBounds, interval_bounds, linear_bounds
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._inputs import Inputs, load_model, open_source, read_domain
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from mipverify_py.cli._questions import Questions
from onnx_models import Affine, ConvolutionMap, DenseMap, Input, LinearMap, Node, Relu, ReluNetwork


@dataclass(frozen=True, slots=True)
class Unstable:
    """Units per ReLU node, in topological order, that can be on either side of 0 within the radius around an image."""

    index: int
    interval: tuple[int, ...]
    linear: tuple[int, ...]


def inspect_model(a: Arguments) -> ExitCode:
    """Writes the model's layers and sizes and, with an input, its unstable units."""
    source = None if a.input is None and a.dataset is None else open_source(a)
    assert a.model is not None
    network = load_model(a.model)
    unstable: list[Unstable] = []
    if source is not None:
        inputs = Inputs(source, network.input_shape, a.label)
        questions = Questions(network, inputs, a, read_domain(a.domain, network))
        unstable = [_unstable(questions, index) for index in inputs.chosen(a)]
    if a.json:
        write_line(_record(a, network, unstable))
    else:
        _show(a, network, unstable)
    return ExitCode.ANSWERED


def _unstable(questions: Questions, index: int) -> Unstable:
    network, box = questions.network, questions[index].box
    interval = interval_bounds(network, box)
    linear: NetworkBounds = linear_bounds(network, box, start=interval)
    return Unstable(index, interval.unstable_counts(network), linear.unstable_counts(network))


def shape_of(network: ReluNetwork, index: int) -> tuple[int, ...]:
    """The tensor shape of a node's value as far as the lowered network still knows it; (size,) otherwise."""
    node = network.nodes[index]
    if isinstance(node, Input):
        return node.shape
    if isinstance(node, Relu):
        return shape_of(network, node.input)
    shapes = {m.output_shape for m in node.maps if isinstance(m, ConvolutionMap)}
    return shapes.pop() if len(shapes) == 1 else (node.size,)


def describe_map(linear_map: LinearMap) -> str:
    """The kind and geometry of a map in a few words."""
    if isinstance(linear_map, ConvolutionMap):
        c = linear_map
        parts = [f"convolution {_times(c.kernel.shape[2:])}"]
        parts += [f"stride {_all_or_each(c.strides)}"] * (c.strides != (1, 1))
        parts += [f"padding {_all_or_each(c.pads)}"] * any(c.pads)
        parts += [f"dilation {_all_or_each(c.dilations)}"] * (c.dilations != (1, 1))
        parts += [f"groups {c.groups}"] * (c.groups != 1)
        return ", ".join(parts)
    return f"{_kind(linear_map)} {linear_map.output_size} x {linear_map.input_size}"


def _kind(linear_map: LinearMap) -> str:
    if isinstance(linear_map, ConvolutionMap):
        return "convolution"
    return "dense" if isinstance(linear_map, DenseMap) else "sparse"


def _times(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _all_or_each(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else ",".join(map(str, numbers))


def _reads(node: Node) -> tuple[int, ...]:
    if isinstance(node, Affine):
        return node.inputs
    return (node.input,) if isinstance(node, Relu) else ()


def _entries(node: Node) -> int:
    return sum(m.entries for m in node.maps) if isinstance(node, Affine) else 0


def _operators(network: ReluNetwork) -> dict[str, Any] | None:
    """Opset and operators of the ONNX graph, None for a network that did not come from one."""
    if network.source is None:
        return None
    import onnx

    model = onnx.load_model_from_string(network.source.data)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    return {
        "opset": opset,
        "ir_version": model.ir_version,
        "operators": dict(Counter(node.op_type for node in model.graph.node)),
        "inputs": [value.name for value in model.graph.input],
        "outputs": [value.name for value in model.graph.output],
    }


def _record(a: Arguments, network: ReluNetwork, unstable: list[Unstable]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "inspect",
        "version": version("mipverify-py"),
        "model": a.model,
        "digest": network.digest,
        "input_shape": list(network.input_shape),
        "classes": network.output_size,
        "relu_units": network.relu_count,
        "entries": sum(_entries(node) for node in network.nodes),
        "onnx": _operators(network),
        "notes": list(network.notes),
        "nodes": [
            {
                "kind": type(node).__name__.lower(),
                "name": node.name,
                "shape": list(shape_of(network, index)),
                "size": node.size,
                "reads": list(_reads(node)),
                "maps": [
                    {"kind": _kind(m), "description": describe_map(m), "entries": m.entries}
                    for m in (node.maps if isinstance(node, Affine) else ())
                ],
            }
            for index, node in enumerate(network.nodes)
        ],
        "eps": a.eps,
        "unstable": [{"index": u.index, "interval": list(u.interval), "linear": list(u.linear)} for u in unstable],
    }


def _show(a: Arguments, network: ReluNetwork, unstable: list[Unstable]) -> None:
    output = Output()
    output.line(printable(a.model or ""), "bold")
    for name, text in _facts(network):
        output.fact(name, text)
    output.line("")
    output.line(_LAYER.format("node", "kind", "shape", "units", "entries", "reads", "map"), "bold")
    for index, node in enumerate(network.nodes):
        maps = " + ".join(map(describe_map, node.maps)) if isinstance(node, Affine) else ""
        reads = ",".join(map(str, _reads(node)))
        entries = f"{_entries(node):,}" if isinstance(node, Affine) else ""
        shape = _times(shape_of(network, index))
        row = _LAYER.format(index, type(node).__name__.lower(), shape, f"{node.size:,}", entries, reads, maps)
        output.line(row.rstrip())
    if unstable:
        _show_unstable(a, network, unstable, output)


_LAYER = "{:>6}  {:<7} {:>12} {:>9} {:>12}  {:<8} {}"


def _facts(network: ReluNetwork) -> list[tuple[str, str]]:
    kinds = Counter(type(node).__name__.lower() for node in network.nodes)
    entries = sum(_entries(node) for node in network.nodes)
    facts = [
        ("input", f"{_times(network.input_shape)}, {network.input_size:,} values"),
        ("output", f"{network.output_size} classes"),
    ]
    graph = _operators(network)
    if graph is not None:
        operators = ", ".join(f"{printable(name)} {count}" for name, count in graph["operators"].items())
        facts.append(("onnx", f"opset {graph['opset']}, IR {graph['ir_version']}: {operators}"))
    facts.append(
        (
            "lowered",
            (
                f"{kinds['affine']} affine nodes with {entries:,} coefficients, "
                f"{kinds['relu']} ReLU nodes with {network.relu_count:,} units"
            ),
        )
    )
    facts += [("note", printable(note)) for note in network.notes]
    facts.append(("digest", network.digest))
    return facts


def _show_unstable(a: Arguments, network: ReluNetwork, unstable: list[Unstable], output: Output) -> None:
    assert a.eps is not None
    sizes = [network.nodes[index].size for index in network.relu_indices]
    heads = [f"node {index}" for index in network.relu_indices]
    row = "{:>7}  {:<9}" + "{:>10}" * (len(sizes) + 1)
    output.line("")
    output.line(f"unstable units within L-infinity radius {a.eps:g}", "bold")
    output.line(row.format("index", "bounds", *heads, "all"))
    output.line(row.format("", "of", *sizes, sum(sizes)))
    for u in unstable:
        output.line(row.format(u.index, "interval", *u.interval, sum(u.interval)))
        output.line(row.format("", "linear", *u.linear, sum(u.linear)))
