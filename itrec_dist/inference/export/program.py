"""A scorer as a `torch.export` program for any number of rows and events."""

import inspect
from collections.abc import Sequence

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from itrec_dist.errors import ConfigError
from itrec_dist.inference.export.scorer import Scorer
from itrec_dist.inference.export.signature import Port, Signature

_LONGEST = 1 << 20  # sizes have an upper end, which only has to be out of reach
_TYPES = {"int64": torch.int64, "float32": torch.float32, "float64": torch.float64}


def unused(scorer: Scorer, signature: Signature) -> set[str]:
    """The inputs that the outputs of a model do not depend on.

    Raises:
        ConfigError: the model cannot be traced.
    """
    example = _example(signature)
    names = list(example)

    def outputs(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = scorer(**dict(zip(names, tensors, strict=True)))
        return found

    try:
        with torch.no_grad():
            graph = make_fx(outputs)(*example.values()).graph
    except Exception as error:
        raise _refusal(error) from error
    graph.eliminate_dead_code()
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    return {name for name, node in zip(names, placeholders, strict=True) if not node.users}


def program(scorer: Scorer, signature: Signature) -> ExportedProgram:
    """The program; its inputs are given by name.

    Raises:
        ConfigError: the model cannot be traced.
    """
    example = _example(signature)
    sizes = {
        size: Dim(size, min=1, max=_LONGEST)
        for port in signature.inputs
        for size in port.shape
        if isinstance(size, str)
    }
    shapes = {
        port.name: {
            place: sizes[size] for place, size in enumerate(port.shape) if isinstance(size, str)
        }
        for port in signature.inputs
    }
    try:
        with torch.no_grad():
            named = _Named(scorer, list(example))
            return torch.export.export(
                named, (), kwargs=example, dynamic_shapes=shapes, strict=False
            )
    except Exception as error:
        raise _refusal(error) from error


class _Named(nn.Module):
    """A scorer whose `forward` has the inputs of one model by name, which torch.export asks of it.

    Columns of events are called differently in all data, so that a scorer takes them as `**given`.
    """

    def __init__(self, scorer: Scorer, names: Sequence[str]) -> None:
        super().__init__()
        self.scorer = scorer
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD

        def forward(**given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs: tuple[torch.Tensor, ...] = scorer(**given)
            return outputs

        signature = inspect.Signature([inspect.Parameter(name, kind) for name in names])
        vars(forward)["__signature__"] = signature
        self.forward = forward


def _example(signature: Signature) -> dict[str, torch.Tensor]:
    """Two rows of three events, distinct sizes for distinct names."""
    sizes = {"batch": 2, "history": 3, "left_out": 5}

    def tensor(port: Port) -> torch.Tensor:
        shape = [sizes[size] if isinstance(size, str) else size for size in port.shape]
        return torch.ones(shape, dtype=_TYPES[port.dtype])

    return {port.name: tensor(port) for port in signature.inputs}


def _refusal(error: Exception) -> ConfigError:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ConfigError(
        "the model cannot be exported, since torch.export does not know how to trace it "
        f"({said}): recommend from its checkpoint with `itrec recommend`"
    )
