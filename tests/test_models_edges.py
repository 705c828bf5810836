"""Where the interface of the models ends: empty batches, wrong kinds of frames and times, digits."""

from __future__ import annotations

import pytest
import torch
from test_models_interface import ANY_TIME, MIDDLE, frames
from torch import Tensor

from vfi_kernels import models

HEADS = [f"net{head}.7" for head in ("Vertical1", "Horizontal1", "Vertical2", "Horizontal2")]
HEADS += [f"net{head}.netMain.3" for head in ("Verone", "Horone", "Vertwo", "Hortwo")]


@pytest.mark.parametrize("name", [*MIDDLE, *ANY_TIME, "flow_refined", "flow", "blend", "repeat"])
def test_nothing_in_a_batch(name: str) -> None:
    """No frames from no frames; frames without pixels are refused."""
    if "flow" in name:
        pytest.importorskip("cv2", reason=f"the model {name!r} needs OpenCV")
    net, none = models.registry.blank(name), torch.empty(0, 3, 33, 47)  # no layer is asked
    assert net(none, none).shape == (0, 3, 33, 47)
    assert net(none, none, torch.empty(0)).shape == (0, 3, 33, 47)
    assert net.interpolate(none, none, [0.25, 0.5, 0.75]).shape == (0, 3, 3, 33, 47)
    assert net.interpolate(none.half(), none.half(), torch.empty(0, 2)).dtype == torch.float16

    def refused(flat: Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            net(flat, flat)
        with pytest.raises(ValueError, match=message):
            net.interpolate(flat, flat, [0.5])

    refused(torch.empty(1, 3, 0, 8), r"frames must have pixels; got \[1, 3, 0, 8\]")
    refused(torch.empty(1, 3, 8, 0), r"frames must have pixels; got \[1, 3, 8, 0\]")


def test_wrong_devices_and_kinds() -> None:
    net, (a, b) = models.create("blend"), frames(8, 8)
    with pytest.raises(ValueError, match="Blend: frames must be on one device; got cpu and meta"):
        net(a, b.to("meta"))
    with pytest.raises(
        TypeError, match=r"Blend: timestep must be a real number or a tensor \[1\]; got 0\.5j"
    ):
        net(a, b, 0.5j)
    complex_real = r"Blend: timesteps must be real; got torch\.complex64"
    with pytest.raises(TypeError, match=complex_real):
        net(a, b, torch.tensor([0.5j]))
    for timesteps in ([0.5j], torch.tensor([0.5j])):
        with pytest.raises(TypeError, match=complex_real):
            net.interpolate(a, b, timesteps)
    for name in (4.6, None, ["rife"]):
        with pytest.raises(TypeError, match=r"name must be a string, one of models\.names\(\); got"):
            models.create(name)


@pytest.mark.parametrize("name", ["sepconv", "sepconv++"])
@torch.inference_mode()
def test_bfloat16_kernels_keep_the_digits_of_frames(name: str) -> None:
    """Neighbouring codes of 10-bit video stay apart where layers compute in bfloat16: kernels of one tap."""
    net = models.create(name, precision="bfloat16")
    for head in HEADS:
        if head in dict(net.named_modules()):
            layer = net.get_submodule(head)
            layer.weight.zero_()
            layer.bias.zero_()[25] = "2" not in head and "two" not in head
    codes = torch.arange(1024).div(1023).view(1, 1, 32, 32).expand(1, 3, -1, -1).contiguous()
    torch.testing.assert_close(net(codes, codes), codes, atol=1e-6, rtol=0)
    assert net(codes.bfloat16(), codes.bfloat16()).dtype == torch.bfloat16
