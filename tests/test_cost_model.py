"""The cost sheet: units, occupancy and bytes, and what is printed."""

import pytest

from tests import nvrtc, scripts

pytestmark = pytest.mark.host_only


def test_bytes_are_those_of_the_benchmarks(compiler):
    """The tensors that a kernel touches are the ones that the benchmarks count."""
    cases, tracing = compiler.cases, compiler.tracing
    served, simple = tracing.costs("warp_blend", "forward", "float16", compiler.hardware.AMPERE)
    assert (served.kernel, served.naive) == ("pair_forward_tuned<WarpBlend<f16, f32>, 1, 0>", False)
    assert (simple.kernel, simple.naive) == ("pair_forward<WarpBlend<f16, f32>>", True)
    assert served.bytes == simple.bytes == 2 * 6 + 2 * 8 + 4 + 6
    served, simple = tracing.costs("backwarp", "backward", "float32", compiler.hardware.AMPERE)
    assert (served.kernel, simple.kernel) == (
        "backwarp_backward_tuned<f32, 0>",
        "backwarp_backward<f32, f32>",
    )
    # Image, flow, gradient, flow's gradient; the image's is read and written.
    assert served.bytes == simple.bytes == 12 + 8 + 12 + 8 + 2 * 12
    assert cases.CHANNELS == 3


# --- the model and the sheet -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "expected"),
    [
        (128, 32, 0, (64, "warps")),
        (128, 128, 0, (16, "registers")),
        (128, 103, 0, (16, "registers")),  # as 104
        (128, 40, 100 << 10, (8, "shared")),
        (32, 16, 0, (32, "blocks")),
    ],
)
def test_occupancy(bench, threads, registers, shared, expected):
    assert bench.hardware.occupancy(bench.hardware.HOPPER, threads, registers, shared) == expected


def test_cycles(bench):
    hardware = bench.hardware
    work = {"issue": 40, "fma": 8, "imad": 4, "wide": 2, "alu": 6, "f2i": 1, "load": 5, "multiply_adds": 2048}
    ampere, blackwell = (hardware.cycles(a, work) for a in (hardware.AMPERE, hardware.BLACKWELL))
    assert ampere["issue"] == 10
    assert ampere["fma"] == (8 + 4 + 2 * 2) * 32 / 64
    assert blackwell["fma"] == (8 + 4 + 2 * 2) * 32 / 128
    assert ampere["alu"] == 3
    assert (ampere["xu"], blackwell["xu"]) == (2, 16)
    assert ampere["tensor"] == 2
    assert ampere["load"] == 5


def test_units(bench):
    unit_of, multiply_adds = bench.hardware.unit_of, bench.hardware.multiply_adds
    names = ("FFMA", "IMAD", "UIMAD", "LOP3", "F2I", "LDSM", "HMMA", "IADD3", "BRA")
    units = ["fma", "imad", "uniform", "alu", "f2i", "shared", "tensor", "add", "control"]
    assert [unit_of(name) for name in names] == units
    assert multiply_adds(("16816", "F32")) == 16 * 8 * 16
    assert multiply_adds(("1688", "F32", "TF32")) == 2 * 16 * 8 * 8


def a_cost(bench, naive: bool):
    work = {"issue": 4.0, "fma": 2.0, "load": 0.5}
    facts = {"bytes": 32.0, "l2": 40.0, "undecided": 1, "unmodelled": {"HMMA"}}
    return bench.tracing.Cost("k<f32>", naive, 32, 0, 64, "warps", work, **facts)


def test_sheet(bench, tmp_path, monkeypatch, capsys):
    """32 bytes at 4300 GB/s take longer than 128 instructions of a thread; a measured time is found."""
    model = bench.cost_model
    labels = ("backwarp", "forward", "float32")
    both = [(*labels, a_cost(bench, naive)) for naive in (False, True)]
    rows = {g.architecture.arch: both for g in bench.hardware.GPUS}
    record = {"op": "backwarp", "pass": "forward", "dtype": "float32", "variant": "", "size": "1080p"}
    record |= {"layout": "contiguous", "gradients": "", "ours_ms": 0.0321, "naive_ms": 0.0456}
    content = {"machine": {"gpu": "NVIDIA H200"}, "records": [record]}
    monkeypatch.setattr(model, "all_rows", lambda instances: rows)
    monkeypatch.setattr(model, "load", lambda folder: [content])
    monkeypatch.setattr(model, "SHEET", tmp_path / "COST.md")
    monkeypatch.setattr(model, "disassembler", lambda: "nvdisasm")
    monkeypatch.setattr(nvrtc, "unavailable", str)
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    assert model.main(["--check"]) == 1
    assert not model.SHEET.exists()
    assert model.main([]) == 0
    assert model.main(["--check"]) == 0
    text = model.SHEET.read_text()
    memory = 32 * 1920 * 1080 / 4300e9 * 1e6
    assert f"**{memory:.1f}** (memory) | 32.1 |" in text
    assert f"**{memory:.1f}** (memory) | 45.6 |" in text
    assert "undecided branches" in text
    assert "results of HMMA are not modelled" in text
    capsys.readouterr()
    assert model.main(["--ops", "backwarp"]) == 0
    assert "backwarp" in capsys.readouterr().out


def test_every_kernel_is_in_the_sheet():
    text = (scripts.BENCHMARKS / "COST.md").read_text()
    kernels = {kernel.split("<")[0] for kernels in nvrtc.KERNELS.values() for kernel in kernels}
    # What frame_gather does depends on what frame_reach wrote, and only one launch is traced. The benchmarks'
    # frames have three channels.
    missing = {"frame_reach", "frame_gather", "pair_backward_channels", "pair_forward_wide"}
    assert {kernel for kernel in kernels if f"`{kernel}<" not in text} == missing
