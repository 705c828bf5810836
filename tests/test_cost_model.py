"""The cost sheet: units, occupancy and bytes, and what is printed."""

import pickle

import pytest

from tests import nvrtc, scripts

pytestmark = pytest.mark.host_only


def instance(bench, group: str, *call: str):
    return next(i for i in bench.instances.GROUPS[group] if (i.label, i.direction, i.dtype) == call)


def test_bytes_are_those_of_the_benchmarks(compiler):
    """The tensors that a kernel touches are the ones that the benchmarks count."""
    cases, tracing = compiler.cases, compiler.tracing
    blend = instance(compiler, "Warps", "warp_blend", "forward", "float16")
    served, simple = tracing.costs(blend, compiler.hardware.AMPERE)
    assert (served.kernel, served.naive) == ("pair_forward_tuned<WarpBlend<f16, f32>, 1, 0>", False)
    assert (simple.kernel, simple.naive) == ("pair_forward<WarpBlend<f16, f32>>", True)
    assert served.bytes == simple.bytes == 2 * 6 + 2 * 8 + 4 + 6
    backwarp = instance(compiler, "Warps", "backwarp", "backward", "float32")
    served, simple = tracing.costs(backwarp, compiler.hardware.AMPERE)
    assert (served.kernel, simple.kernel) == (
        "backwarp_backward_tuned<f32, 0>",
        "backwarp_backward<f32, f32>",
    )
    # Image, flow, gradient, flow's gradient; the image's is read and written.
    assert served.bytes == simple.bytes == 12 + 8 + 12 + 8 + 2 * 12
    assert cases.CHANNELS == 3


def test_sums_in_a_fixed_order_take_three_kernels(compiler, monkeypatch):
    """And the gradient of the image is written once, not added to."""
    tracing = compiler.tracing
    monkeypatch.setattr(tracing, "TRACED_ORDERED", (64, 32))
    group = "Gradients of frames with sums in a fixed order"
    call = instance(compiler, group, "backwarp, deterministic", "backward", "float32")
    reach, gather, fields = tracing.costs(call, compiler.hardware.AMPERE)
    names = [cost.kernel.split("<")[0] for cost in (reach, gather, fields)]
    assert names == ["frame_reach", "frame_gather", "backwarp_backward_tuned"]
    tile = 16 / (32 * 16)  # bytes a pixel of what one kernel tells the other
    assert (reach.bytes, gather.bytes) == (8 + tile, 8 + 12 + 12 + tile)
    assert fields.bytes == 8 + 12 + 12 + 8
    assert not gather.undecided
    assert not gather.unmodelled


def test_a_trace_is_kept_for_the_same_code_and_call_only(compiler, monkeypatch, tmp_path):
    tracing, hardware = compiler.tracing, compiler.hardware
    monkeypatch.setattr(tracing, "TRACES", tmp_path)
    first, other = (instance(compiler, "Warps", "backwarp", "forward", t) for t in ("float32", "float16"))
    before = tracing.costs(first, hardware.AMPERE)
    assert len(list(tmp_path.iterdir())) == 2
    with monkeypatch.context() as without:
        without.setattr(tracing, "traced", None)
        assert tracing.costs(first, hardware.AMPERE) == before
    for call, architecture in ((other, hardware.AMPERE), (first, hardware.HOPPER)):
        count = len(list(tmp_path.iterdir()))
        tracing.costs(call, architecture)
        assert len(list(tmp_path.iterdir())) == count + 2


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
    call = instance(bench, "Warps", "backwarp", "forward", "float32")
    both = [(call, a_cost(bench, naive)) for naive in (False, True)]
    rows = {"Warps": {g.architecture.arch: both for g in bench.hardware.GPUS}}
    record = {"op": "backwarp", "pass": "forward", "dtype": "float32", "variant": "", "size": "1080p"}
    record |= {"layout": "contiguous", "gradients": "", "ours_ms": 0.0321, "naive_ms": 0.0456}
    content = {"machine": {"gpu": "NVIDIA H200"}, "records": [record]}
    monkeypatch.setattr(model, "all_rows", lambda groups: rows)
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
    a100 = 32 * 1920 * 1080 / 1835e9 * 1e6
    assert f"| backwarp | forward | float32 | {a100:.1f} (memory) |" in text  # of the kernel that serves
    assert "undecided branches" in text
    assert "results of HMMA are not modelled" in text
    capsys.readouterr()
    assert model.main(["--ops", "backwarp"]) == 0
    assert "backwarp" in capsys.readouterr().out


def test_every_kernel_is_in_the_sheet():
    text = (scripts.BENCHMARKS / "COST.md").read_text()
    kernels = {kernel.split("<")[0] for kernels in nvrtc.KERNELS.values() for kernel in kernels}
    assert [kernel for kernel in sorted(kernels) if f"`{kernel}<" not in text] == []


def test_calls_of_the_sheet_can_be_handed_to_processes(bench):
    groups = bench.instances.GROUPS
    assert pickle.loads(pickle.dumps(groups)).keys() == groups.keys()
