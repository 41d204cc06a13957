"""Recording and gradients on PyTorch."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch

from actgrad.monitor.backends import imperative

hook = imperative.hook


class Store:
    """Rows (variables, 3) that stay on the device until they are read."""

    def __init__(self, variables: int, _capacity: int):
        self._rows: list[torch.Tensor] = []
        self._variables = variables

    def write(self, row: torch.Tensor) -> None:
        self._rows.append(row)

    def read(self) -> np.ndarray:
        rows, self._rows = self._rows, []
        return torch.stack(rows).cpu().numpy() if rows else np.zeros((0, self._variables, 3))


def values(variables: Sequence[keras.Variable]) -> list[torch.Tensor]:
    return [variable.value.detach().clone() for variable in variables]


def dense(gradient: Any, like: keras.Variable) -> torch.Tensor:
    if gradient is None:
        return torch.zeros((), device=like.value.device)
    return gradient.detach()


@torch.no_grad()
def norms(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """L2 norm of each, summed in float64, where no square of a float32 is lost."""
    return torch.stack([torch.linalg.vector_norm(tensor, dtype=torch.float64) for tensor in tensors])


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def derivative(function: Callable[[Any], Any], z: torch.Tensor) -> torch.Tensor:
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        values = function(z)
        if not values.requires_grad:
            return torch.zeros_like(z)
        (slope,) = torch.autograd.grad(values.sum(), z, allow_unused=True)
    return torch.zeros_like(z) if slope is None else slope


def gradients(run: Callable[..., tuple[Any, list[Any]]]) -> tuple[Any, list[Any], list[Any]]:
    with torch.enable_grad():
        loss, visits = run(_leaf, lambda _, a: a)
        return loss.detach(), visits, _grad(loss, [visit.z for visit in visits], None)


def gains(run: Callable[..., tuple[Any, list[Any]]], signs: Sequence[Any]) -> Any:
    with torch.enable_grad():
        _, visits = run(_leaf, lambda _, a: a)
        found = []
        for here, there, sign in zip(visits, visits[1:], signs[1:], strict=False):
            (product,) = _grad(there.z, [here.a], sign.to(there.z.dtype))
            found.append(product.float().square().mean())
    return found


def _leaf(_: int, z: torch.Tensor) -> torch.Tensor:
    return z if z.requires_grad else z.detach().requires_grad_()


def _grad(of: torch.Tensor, at: list[torch.Tensor], outputs: torch.Tensor | None) -> list[torch.Tensor]:
    found = torch.autograd.grad(of, at, outputs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(like) if one is None else one.detach() for one, like in zip(found, at, strict=True)]
