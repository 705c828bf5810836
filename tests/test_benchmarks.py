"""The benchmarks at tiny sizes: their records, and what they call work."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
SIZE = ["--sizes", "40x24"]


@pytest.fixture
def quick(bench, monkeypatch: pytest.MonkeyPatch):
    """Small measurements of the machine, and no warm-up."""
    monkeypatch.setattr(bench.limits, "COPY_BYTES", {"cpu": [1 << 20]})
    monkeypatch.setattr(bench.limits, "fma_gflop_s", lambda device: 100.0)
    monkeypatch.setattr(bench.timing, "WARM_UP_SECONDS", 1e-6)
    monkeypatch.setattr(bench.timing, "ROUNDS", (1, 1))
    donated = torch._functorch.config.donated_buffer
    yield bench
    torch._functorch.config.donated_buffer = donated


def measure(bench, path: Path, *arguments: str) -> dict:
    """Without patience: the figures do not matter here, and beside a busy process it would repeat rounds."""
    quick = ["--budget", "0", "--patience", "0"]
    assert bench.run.main([*arguments, *quick, "--json", str(path)]) == 0
    return json.loads(path.read_text())


# --- what is recorded --------------------------------------------------------------------------------------


def test_every_operation(quick, tmp_path):
    content = measure(quick, tmp_path / "a.json", *SIZE, "--no-compile", "--dtypes", "float32", "float16")
    assert content["copy_gb_s"] > 0
    assert content["fma_gflop_s"] == 100
    assert content["machine"]["threads"] == torch.get_num_threads()
    assert content["versions"]["torch"] == torch.__version__
    assert content["left_out"] == []
    records = content["records"]
    assert {r["op"] for r in records} == set(quick.cases.NAMES)
    assert len(records) == 2 * 3 * len(quick.cases.OPERATIONS)
    for record in records:
        quick.records.check_record(record)
        assert record["max_abs_err"] < (1e-4 if record["dtype"] == "float32" else 8e-3)
        assert record["ours_ms"] > 0
        assert record["limit_ms"] == max(record["bytes_limit_ms"], record["flops_limit_ms"])
        assert record["fraction_of_limit"] == record["limit_ms"] / record["ours_ms"]
        assert record["notes"]["compile_ms"] == quick.run.NOT_ASKED
        low, high = record["spread_ms"]["ours"]
        assert low <= record["ours_ms"] <= high


def test_one_failure_costs_one_measurement(quick, tmp_path, monkeypatch, capsys):
    def fail(self):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(quick.run.Measured, "forward", fail)
    options = [*SIZE, "--no-compile", "--ops", "backwarp", "--budget", "0", "--patience", "0"]
    assert quick.run.main([*options, "--json", str(tmp_path / "a.json")]) == 1
    content = json.loads((tmp_path / "a.json").read_text())
    assert {r["pass"] for r in content["records"]} == {"backward"}
    assert content["failed"][0] == "backwarp forward float32 contiguous 40x24: RuntimeError"
    assert "no such kernel" in capsys.readouterr().err


def test_compiled_chain(quick, tmp_path, monkeypatch):
    # The compiler itself is slow here and not what is tested.
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    arguments = [*SIZE, "--ops", "backwarp", "sepconv", "--layouts", "channels_last"]
    records = measure(quick, tmp_path / "a.json", *arguments)["records"]
    by_pass = {(r["op"], r["pass"], r["gradients"]): r for r in records if not r["variant"]}
    assert by_pass["backwarp", "forward", ""]["compile_ms"] > 0
    assert by_pass["backwarp", "backward", "all"]["compile_ms"] > 0
    assert by_pass["sepconv", "forward", ""]["compile_ms"] > 0
    assert by_pass["sepconv", "backward", "all"]["notes"]["compile_ms"] == quick.run.NO_COMPILE_CONVOLUTION

    def fails(*args, **inputs):
        raise RuntimeError("no compiler\nmore")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: fails)
    arguments = [*SIZE, "--ops", "voxel_flow", "--passes", "forward"]
    [record] = measure(quick, tmp_path / "b.json", *arguments)["records"]
    assert record["compile_ms"] is None
    assert record["notes"]["compile_ms"] == "torch.compile failed: RuntimeError: no compiler"


def test_naive(quick, tmp_path, monkeypatch):
    """As on CUDA: in the same rounds as the others, with the simple kernels asked for in its calls alone."""
    asked: dict[str, list[str | None]] = {"forward": [], "backward": []}

    def spy(direction: str, function):
        def call(*args, **inputs):
            asked[direction].append(os.environ.get("VFI_CUDA_KERNELS"))
            return function(*args, **inputs)

        return call

    monkeypatch.delenv("VFI_CUDA_KERNELS", raising=False)
    monkeypatch.setattr(quick.run, "why_no_naive", lambda device: "")
    monkeypatch.setattr(quick.run, "run_ours", spy("forward", quick.run.run_ours))
    monkeypatch.setattr(torch.autograd, "grad", spy("backward", torch.autograd.grad))
    monkeypatch.setattr(quick.timing, "ROUNDS", (2, 2))
    records = measure(quick, tmp_path / "a.json", *SIZE, "--ops", "voxel_flow", "--no-compile")["records"]
    assert [r["pass"] for r in records] == ["forward", "backward", "backward"]
    for record in records:
        assert record["naive_ms"] > 0
        assert record["spread_ms"].keys() == {"ours", "eager", "naive"}
        assert "naive_ms" not in record["notes"]
    # The error, then a warm-up and two rounds of ours and naive in turn. Backward, eager is a gradient too.
    assert asked["forward"][:7] == [None, *3 * [None, "simple"]]
    assert asked["backward"].count("simple") == 2 * 3
    assert not any(a == b == "simple" for a, b in itertools.pairwise(asked["backward"]))
    assert "VFI_CUDA_KERNELS" not in os.environ


def test_why_there_is_no_naive(bench, monkeypatch):
    assert bench.run.why_no_naive("cpu") == bench.run.NO_NAIVE
    for backend, reason in [("compiled", ""), ("runtime", ""), ("reference", bench.run.NO_NAIVE_CUDA)]:
        monkeypatch.setattr(bench.run.vfi_kernels, "backends", lambda b=backend: {"cuda": {"backend": b}})
        assert bench.run.why_no_naive("cuda") == reason


def test_bytes_images(quick, tmp_path):
    records = measure(quick, tmp_path / "a.json", *SIZE, "--dtypes", "uint8", "--no-compile")["records"]
    assert {r["op"] for r in records} == {"warp_blend", "voxel_flow", "sepconv", "sepconv_pair"}
    assert {r["pass"] for r in records} == {"forward"}
    assert all(0.4 < r["max_abs_err"] < 0.51 for r in records)  # half a step is rounding


def test_strip_of_a_convolution_finds_errors(bench):
    """High enough to be checked by a strip: right results pass, a wrong row in the strip does not."""
    for operation in bench.cases.OPERATIONS[-2:]:
        inputs = operation.build(bench.cases.Maker("24x130", "float32", "contiguous", "cpu", 0))
        wanted = list(inputs)
        leaves = {n: t.clone().requires_grad_() for n, t in inputs.items()}
        outputs = bench.cases.run_ours(operation, leaves)
        incoming = [torch.randn_like(o) for o in outputs]
        gradients = dict(
            zip(wanted, torch.autograd.grad(outputs, list(leaves.values()), incoming), strict=True)
        )
        expected = bench.errors.Expected(operation, inputs, wanted, incoming)
        assert expected.outputs[0].shape[2] == bench.errors.STRIP < 130
        assert expected.output_error([o.detach() for o in outputs]) < 1e-5
        assert expected.gradient_error(gradients) < 1e-4
        for name in wanted:
            wrong = dict(gradients)
            wrong[name] = gradients[name].clone()
            rows = wrong[name].shape[2]
            wrong[name][:, :, rows // 2] += 1
            assert expected.gradient_error(wrong) > 0.9


def test_deadline_leaves_out_the_rest(quick, tmp_path, capsys):
    path = tmp_path / "a.json"
    assert quick.run.main([*SIZE, "--ops", "voxel_flow", "--deadline", "0", "--json", str(path)]) == 1
    content = json.loads(path.read_text())
    assert content["records"] == []
    assert len(content["left_out"]) == 3
    assert "left out for want of time: 3 measurements" in capsys.readouterr().out


def test_script_says_what_is_wrong():
    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(BENCHMARKS / "run.py"), *arguments]
        environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    result = run("--sizes", "big")
    assert result.returncode == 2
    assert "size must be WxH" in result.stderr


def test_records_are_checked(bench):
    record = {key: kinds() if isinstance(kinds, type) else 1 for key, kinds in bench.records.RECORD.items()}
    bench.records.check_record(record)
    for change in (
        {"ours_ms": float("nan")},
        {"ours_ms": None},
        {"compile_ms": None},
        {"extra": 1},
        {"op": 3},
    ):
        with pytest.raises(ValueError, match="record:"):
            bench.records.check_record({**record, **change})


def test_disturbed_rounds_are_repeated(bench, monkeypatch):
    """Rounds 2 and 3 have a busy neighbour: they count only without patience."""
    timing = bench.timing
    monkeypatch.setattr(timing, "WARM_UP_SECONDS", 0)
    monkeypatch.setattr(timing, "WAIT_SECONDS", 0)
    for seconds, expected_share, calls in ((100, 0.0, 5), (0, 0.5 * 2 / 3, 3)):
        clock = {"round": 0, "busy": 0.0}

        def call(index: int, clock=clock) -> None:
            clock["round"] += 1
            clock["busy"] += 1 if clock["round"] in (2, 3) else 0

        def now(clock=clock):
            return timing.Use(2.0 * clock["round"], clock["busy"], 0.0)

        monkeypatch.setattr(timing.Use, "now", staticmethod(now))
        times, rounds, share = timing.in_turn({"ours": call}, 1, "cpu", 0, timing.Patience(seconds))
        assert rounds == 3
        assert clock["round"] == calls
        assert share == pytest.approx(expected_share)
        assert times["ours"].p10 <= times["ours"].median <= times["ours"].p90


# --- work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "variant", "dtype", "expected"),
    [  # the table of the specification, bytes a pixel forward
        ("backwarp", "", "float32", 32),
        ("backwarp", "", "float16", 20),
        ("warp_blend", "", "float32", 56),
        ("warp_blend", "visibility", "float16", 38),
        ("voxel_flow", "", "float32", 48),
        ("voxel_flow", "", "float16", 30),
        ("sepconv_pair", "", "float32", 852),
        ("sepconv_pair", "", "float16", 426),
    ],
)
def test_least_bytes(bench, op, variant, dtype, expected):
    [operation] = [o for o in bench.cases.OPERATIONS if (o.name, o.variant) == (op, variant)]
    inputs = operation.build(bench.cases.Maker("16x8", dtype, "contiguous", "cpu", 0))
    outputs = bench.cases.run_ours(operation, inputs)
    assert bench.cases.least_bytes(list(inputs.values()), outputs) == expected * 16 * 8


def test_least_operations(bench):
    flops = {o.label: o.flops for o in bench.cases.OPERATIONS}
    assert flops["backwarp"]("forward", False) == 31  # 10 for the position, 7 a channel
    assert flops["warp_blend"]("forward", False) == 2 * 31 + 1 + 9
    assert flops["sepconv"]("forward", False) == 51 * 3 * (2 * 51 + 2)
    assert flops["sepconv"]("backward", False) == 51 * 51 * 9
    assert flops["sepconv_pair"]("backward", True) == 2 * (51 * 51 * 9 + 3 * 51 * 103)
    for of in flops.values():
        assert of("forward", False) < of("backward", False) < of("backward", True)


def test_rates_of_the_processor(bench, monkeypatch):
    monkeypatch.setattr(bench.limits, "MATRIX_SIZE", {"cpu": 64})
    loop = bench.limits.fma_gflop_s("cpu")
    monkeypatch.setattr(bench.limits.shutil, "which", lambda name: None)  # as where no compiler is
    product = bench.limits.fma_gflop_s("cpu")
    assert loop > 1
    assert product > 0


def test_flows_are_like_those_of_a_network(bench):
    flow = bench.cases.Maker("256x128", "float32", "contiguous", "cpu", 0).flow()
    assert 3 < flow.abs().max() < 6
    assert ((flow - flow.round()).abs() > 0.9 * bench.cases.INTEGER_GAP).all()
    steps = (flow[..., 1:] - flow[..., :-1]).std().item()
    assert 0.05 < steps < 0.2
