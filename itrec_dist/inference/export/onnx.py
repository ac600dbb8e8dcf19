"""`model.onnx`, for ONNX Runtime and others; written by torch's exporter."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from itrec_dist.errors import ConfigError, EnvironmentProblem
from itrec_dist.inference.export.signature import Port, Signature

FILE = "model.onnx"

_MOST_BYTES = 1 << 30  # above it the weights go to a file beside it: protobuf ends at 2 GiB


def check_installed() -> None:
    """Check that its packages are installed.

    Raises:
        EnvironmentProblem: one is not.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"--format onnx needs the package{'s' if len(missing) > 1 else ''} "
            f"{' and '.join(missing)}, not installed here: pip install 'itrec-dist[export]', or "
            "give --format torch"
        )


def write(program: ExportedProgram, signature: Signature, folder: Path) -> None:
    """Write the model into a folder.

    Raises:
        ConfigError: an operation of the model has no counterpart in ONNX.
    """
    try:
        with _quiet():
            made: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[port.name for port in signature.inputs],
                output_names=[port.name for port in signature.outputs],
                custom_translation_table={torch.ops.aten.sort.stable: _sort_stable},
            )
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # the first one names the operation
            cause = cause.__cause__
        said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise ConfigError(
            f"the model cannot be written as ONNX ({said}): give --format torch"
        ) from error
    graph = made.model.graph
    _name_sizes(list(graph.inputs), signature.inputs)
    _name_sizes(list(graph.outputs), signature.outputs)
    num_bytes = sum(value.numel() * value.element_size() for value in program.state_dict.values())
    made.save(folder / FILE, external_data=num_bytes > _MOST_BYTES)


def _sort_stable(self: Any, stable: bool, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001
    """The operation for torch's exporter: ONNX's TopK has the lower index first among equals."""
    from onnxscript import opset18

    op: Any = opset18  # whose types know no values that are still to be computed
    size = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
    return op.TopK(self, size, axis=dim, largest=descending, sorted=True)


def _name_sizes(values: list[Any], ports: tuple[Port, ...]) -> None:
    """Call the sizes that may change by their names, in place of torch's symbols."""
    import onnx_ir

    for value, port in zip(values, ports, strict=True):
        value.shape = onnx_ir.Shape(port.shape)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without remarks of the exporter about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
