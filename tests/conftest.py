"""The implementations that one test runs on, one after the other."""

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))  # `tests` and, before it is installed, `vfi_kernels`

from tests import scripts
from vfi_kernels import reference

# By name: `vfi_kernels.backends` is the function that the module is named after.
backends = importlib.import_module("vfi_kernels.backends")

OPERATIONS = ("backwarp", "warp_blend", "voxel_flow", "sepconv")


def leaves_of(inputs: list) -> list[Tensor]:
    """The tensors among the inputs of an operator, lists flattened."""
    flat = [leaf for value in inputs for leaf in (value if isinstance(value, list) else [value])]
    return [leaf for leaf in flat if isinstance(leaf, Tensor)]


def with_leaves(inputs: list, change: Callable[[Tensor], Tensor]) -> list:
    """The inputs with every tensor changed."""
    return [
        with_leaves(value, change)
        if isinstance(value, list)
        else (change(value) if isinstance(value, Tensor) else value)
        for value in inputs
    ]


@dataclasses.dataclass(frozen=True)
class Backend:
    """One implementation of the operators, with the signatures of torch.ops.vfi_kernels."""

    name: str
    device: str
    functions: Any

    def forward(self, operation: str, inputs: list) -> Any:
        return getattr(self.functions, operation)(*with_leaves(inputs, lambda t: t.to(self.device)))

    def gradients(self, operation: str, grad: Any, inputs: list) -> list[Tensor | None]:
        """The gradient of each floating tensor of the inputs, in its dtype; None for the others."""
        inputs = with_leaves(inputs, lambda t: t.detach().to(self.device))
        leaves = leaves_of(inputs)
        wanted = [leaf.is_floating_point() for leaf in leaves]
        if self.name == "reference":
            floating = [leaf.requires_grad_() for leaf, want in zip(leaves, wanted, strict=True) if want]
            results = getattr(reference, operation)(*inputs)
            found = iter(torch.autograd.grad(results, floating, grad))
            return [next(found) if want else None for want in wanted]
        gradient = importlib.import_module(f"vfi_kernels.ops.{operation}").GRADIENT
        kernel = getattr(self.functions, f"_{operation}_backward")
        gradient = dataclasses.replace(gradient, backward=kernel)
        grad = [g.to(self.device) for g in grad] if isinstance(grad, list) else grad.to(self.device)
        return gradient.compute(grad, inputs, wanted, deterministic=False)


def _no_cpu() -> str:
    state = backends.backends()["cpu"]
    return "" if state["backend"] == "compiled" else f"no compiled CPU kernels: {state['missing']}"


def _no_cuda() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "" if backends.has_kernel("cuda") else f"no CUDA kernels: {backends.backends()['cuda']['missing']}"


def _emulator() -> Any:
    try:
        from tests import emulated
    except ImportError as error:
        pytest.skip(f"no emulator: {error}")
    from tests.emulator import build

    if reason := build.unavailable("plain"):
        pytest.skip(f"no emulator: {reason}")
    return emulated.kernels()


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The modules of benchmarks/."""
    with scripts.modules() as modules:
        yield modules


@pytest.fixture
def compiler(bench: SimpleNamespace) -> SimpleNamespace:
    """The same, for tests of what NVRTC compiles and nvdisasm prints."""
    if reason := scripts.no_compiler(bench):
        pytest.skip(reason)
    return bench


@pytest.fixture(params=["reference", "cpu", "cuda", "emulator"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """An implementation; the public functions use it as well while the test runs."""
    name = request.param
    if name in ("cpu", "cuda"):
        reason = _no_cpu() if name == "cpu" else _no_cuda()
        if reason:
            pytest.skip(reason)
        return Backend(name, name, torch.ops.vfi_kernels)
    functions = reference if name == "reference" else _emulator()
    monkeypatch.setattr(backends, "_has_kernel", lambda device_type: False)
    for operation in OPERATIONS:
        monkeypatch.setattr(reference, operation, getattr(functions, operation))
    return Backend(name, "cpu", functions)


@pytest.fixture(params=["reference", "cpu", "cuda"])
def differentiable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device of an implementation whose public functions have gradients."""
    reason = {"reference": str, "cpu": _no_cpu, "cuda": _no_cuda}[request.param]()
    if reason:
        pytest.skip(reason)
    if request.param == "reference":
        monkeypatch.setattr(backends, "_has_kernel", lambda device_type: False)
        return "cpu"
    return request.param


@pytest.fixture
def compiled() -> None:
    """For tests of what only the operators have, registered as they are with torch."""
    if reason := _no_cpu():
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
