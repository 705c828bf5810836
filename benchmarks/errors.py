"""The error of our results against the eager chains in float64."""

import chains
import torch
from cases import TAPS, Operation
from torch import Tensor

# The rows of a convolution that are checked. TAPS of them add to the gradient of one image row.
STRIP = TAPS + 5
BEFORE, AFTER = (TAPS - 1) // 2, TAPS // 2


def _leaves(inputs: dict[str, Tensor], wanted: list[str]) -> dict[str, Tensor]:
    return {name: t.double().requires_grad_(name in wanted) for name, t in inputs.items()}


def _grid(operation: Operation, inputs: dict[str, Tensor]) -> Tensor | None:
    if operation.is_convolution:
        return None
    flow = inputs.get("flow", inputs.get("flow0"))
    return chains.base_grid(flow.shape[2], flow.shape[3], torch.float64, flow.device)


class Expected:
    """What to compare: rows of the outputs, and for each gradient rows of it with what they should be."""

    def __init__(
        self,
        operation: Operation,
        inputs: dict[str, Tensor],
        wanted: list[str],
        incoming: list[Tensor],
    ):
        self.rows = slice(None)
        self.gradient_rows = {name: slice(None) for name in wanted}
        self.inner_rows = {name: slice(None) for name in wanted}
        chain = operation.eager
        if operation.is_convolution:
            inputs, chain = self._strip(operation, inputs, wanted)
        leaves = _leaves(inputs, wanted)
        with torch.set_grad_enabled(bool(wanted)):
            self.outputs = chain(_grid(operation, leaves), **leaves)
        if next(iter(inputs.values())).dtype == torch.uint8:
            self.outputs = [o.clamp(0, 255) for o in self.outputs]  # it saturates
        if wanted:
            incoming = [g[:, :, self.rows].double() for g in incoming]
            found = torch.autograd.grad(self.outputs, [leaves[name] for name in wanted], incoming)
            self.gradients = dict(zip(wanted, found, strict=True))

    def _strip(self, operation: Operation, inputs: dict[str, Tensor], wanted: list[str]):
        """A strip of rows in the middle, as a smaller convolution: the whole costs more than measuring."""
        height = inputs["vertical" if operation.name == "sepconv" else "vertical0"].shape[2]
        if height < STRIP + TAPS:
            return inputs, operation.eager
        first = (height - STRIP) // 2
        last = first + STRIP
        self.rows = slice(first, last)
        pair = operation.name == "sepconv_pair"
        image_rows = slice(first - BEFORE, last + AFTER) if pair else slice(first, last + TAPS - 1)
        strip = {}
        for name, tensor in inputs.items():
            is_frame = name in operation.frames
            strip[name] = tensor[:, :, image_rows if is_frame else self.rows]
            if name in wanted:
                self.gradient_rows[name] = self.rows
                if is_frame:
                    # Of the strip's image rows, those that no output row outside the strip reads.
                    inner = slice(TAPS - 1, STRIP)
                    self.inner_rows[name] = inner
                    offset = image_rows.start
                    self.gradient_rows[name] = slice(offset + inner.start, offset + inner.stop)
        return strip, (_pair_of_strips if pair else operation.eager)

    def output_error(self, outputs: list[Tensor]) -> float:
        return max(_error(o[:, :, self.rows], e) for o, e in zip(outputs, self.outputs, strict=True))

    def gradient_error(self, gradients: dict[str, Tensor]) -> float:
        return max(
            _error(g[:, :, self.gradient_rows[name]], self.gradients[name][:, :, self.inner_rows[name]])
            for name, g in gradients.items()
        )


def _pair_of_strips(_grid: None, **inputs: Tensor) -> list[Tensor]:
    """The strips have their rows above and below already; only the columns are padded."""
    terms = chains.pair_terms(**inputs)
    return [sum(chains.separable(chains.pad_border(f, 1, h.shape[1]), v, h) for f, v, h in terms)]


def _error(result: Tensor, expected: Tensor) -> float:
    return (result.double() - expected).abs().max().item()
