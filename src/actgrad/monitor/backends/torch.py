"""Recording and gradients on PyTorch."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import torch

from actgrad.monitor.backends import Run, Visit, imperative

hook = imperative.hook
FUNCTION_MODULES = (torch, torch.nn.functional)


class Store:
    """Rows (variables, 3) that stay on the device until they are read."""

    def __init__(self, variables: int, _capacity: int):
        self._rows: list[torch.Tensor] = []
        self._variables = variables

    def write(self, row: torch.Tensor) -> None:
        self._rows.append(row)

    def apart(self, gradient: torch.Tensor, _iterations: torch.Tensor) -> torch.Tensor:
        return gradient

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


@torch.no_grad()
def traced(function: Callable[[], Any]) -> None:
    function()


def place() -> None:
    return None


def random_state() -> Any:
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def set_random_state(state: Any) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


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


def gradients(run: Run) -> tuple[Any, list[Visit], list[Any]]:
    def leaf(_: int, z: torch.Tensor) -> torch.Tensor:
        return z if z.requires_grad else z.detach().requires_grad_()

    with torch.enable_grad():
        loss, visits = run(leaf)
        zs = [visit.z for visit in visits]
        found = torch.autograd.grad(loss, zs, allow_unused=True)
    return loss.detach(), visits, [torch.zeros_like(z) if one is None else one.detach() for one, z in zip(found, zs, strict=True)]
