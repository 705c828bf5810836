"""The report of the benchmarks, and the steps of `make gpu`."""

import copy
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def a_result(bench) -> dict:
    record = {key: kinds() if isinstance(kinds, type) else 1 for key, kinds in bench.records.RECORD.items()}
    record |= {
        "op": "backwarp",
        "pass": "forward",
        "dtype": "float32",
        "layout": "contiguous",
        "size": "1080p",
    }
    record |= {"device": "cpu", "ours_ms": 4.0, "eager_ms": 50.0, "compile_ms": None, "naive_ms": None}
    record |= {"fraction_of_limit": 0.345, "limit_kind": "bytes", "spread_ms": {"ours": [3.9, 4.2]}}
    record |= {"peak_bytes": None, "others_share": 0.01, "width": 1920, "height": 1080, "bytes": 20_000_000}
    smaller = {**record, "size": "540p", "width": 960, "height": 540, "ours_ms": 1.0}
    machine = {"cpu": "A CPU", "gpu": None, "threads": 2}
    return {
        "machine": machine, "versions": {"torch": "2.13.0"}, "commit": "abc", "created": "2026-01-02T03",
        "copy_gb_s": 35.02, "fma_gflop_s": 181.3, "records": [smaller, record], "left_out": [],
        "failed": ["sepconv forward float32 1080p: RuntimeError"],
    }  # fmt: skip


def test_report(bench, tmp_path, capsys):
    content = a_result(bench)
    results, readme = tmp_path / "results", tmp_path / "README.md"
    results.mkdir()
    (results / "a-cpu.json").write_text(json.dumps(content))
    readme.write_text(f"Before\n{bench.report.BEGIN}\nold\n{bench.report.END}\nAfter\n")
    arguments = ["--readme", str(readme), "--results", str(results)]
    assert bench.report.main([*arguments, "--check"]) == 1
    assert "old" in readme.read_text()
    assert bench.report.main(arguments) == 0
    assert bench.report.main([*arguments, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")
    assert "old" not in text
    # The larger size only; what was not measured is a dash.
    assert "| backwarp | forward | float32 | 1080p | 4.00 | 12x | - | 34 % (bytes) |" in text
    assert "540p" not in text
    assert bench.report.NO_GPU in text
    assert "Other processes" not in text
    assert "540p" in (results / "README.md").read_text()

    whole = {
        "model": "rife", "frames": 7, "size": [720, 1280], "dtype": "float32", "device": "cpu",
        "ms": {"ours": {"median": 50.0}, "eager": {"median": 60.0}, "ours compiled": {"median": 40.0}},
        "max_abs_difference": 2e-6,
        "peak_bytes": {"ours": None, "eager": None}, "others_share": 0.2,
    }  # fmt: skip
    (results / "models").mkdir()
    (results / "models" / "a-cpu.json").write_text(
        json.dumps({"machine": content["machine"], "records": [whole]})
    )
    assert bench.report.main(arguments) == 0
    row = "| rife | 7 | 1280x720 | float32 | 50.0 \\* | 20.0 | 1.2x | 0.80x | - | - | - | 2e-06 |"
    assert row in (results / "README.md").read_text()
    assert readme.read_text() == text

    readme.write_text(text.replace("4.00", "3.00"))  # a typed figure
    assert bench.report.main([*arguments, "--check"]) == 1
    assert bench.report.main(arguments) == 0

    changed = copy.deepcopy(content)
    changed["records"][1] |= {"device": "cuda", "eager_ms": 60.0}
    changed["machine"]["gpu"] = "A GPU"
    (results / "a-gpu.json").write_text(json.dumps(changed))
    assert bench.report.main([*arguments, "--check"]) == 1
    assert bench.report.main(arguments) == 0
    assert bench.report.NO_GPU not in readme.read_text()
    assert "15x" in readme.read_text()


def test_report_marks_disturbed_rows(bench):
    content = a_result(bench)
    content["records"][1]["others_share"] = 0.4
    text = bench.report.short([content])
    assert r"| 4.00 \* | 12x |" in text
    assert r"\* Other processes took more than 5.0 % of the processors meanwhile." in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.012345, "0.0123"), (4.0, "4.00"), (12.345, "12.3"), (99.99, "100.0"), (1234.5, "1234")],
)
def test_three_digits(bench, value, text):
    assert bench.report.significant(value) == text


# --- make gpu ----------------------------------------------------------------------------------------------


def python(code: str):
    return lambda seconds: [sys.executable, "-c", code]


def test_steps_go_on_after_a_failure(bench, capfd):
    step = bench.gpu.Step
    todo = [
        step("first", python("print('hello'); raise SystemExit(3)"), 30),
        step("slow", python("import time; time.sleep(60)"), 0.5),
        step("reserved", python("pass"), 30, reserve=1e6),
        step("missing", python("pass"), 30, missing="a tool was not found"),
        step(
            "refused",
            python("print('Device not supported'); raise SystemExit(1)"),
            30,
            unsupported="Device not",
        ),
        step("last", python("import os; print(os.environ['A'])"), 30, environment={"A": "it ran"}),
    ]
    outcomes = bench.gpu.run_all(todo, 1)
    assert [o.result for o in outcomes] == [
        "failed (exit code 3)",
        "failed (not done after 0 s)",
        "failed (no time left)",
        "skipped: a tool was not found",
        "skipped: refused can't run on this machine: Device not",
        "passed",
    ]
    assert [o.failed for o in outcomes] == [True, True, True, False, False, False]
    output = capfd.readouterr().out
    assert "hello" in output
    assert "it ran" in output


def test_gpu_table_and_copies(bench, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(a_result(bench)))
    lines = bench.gpu.table([path])
    assert lines[0] == "a.json: copy 35 GB/s, float32 FMA 181 GFLOP/s"
    assert "4.0000   12.5x       -       -      5   34%" in lines[-2]
    assert lines[-1] == "failed: sepconv forward float32 1080p: RuntimeError"
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    whole = tmp_path / "models" / "a.json"  # of systems, and of the same GPU
    whole.parent.mkdir()
    whole.write_text("{}")
    bench.gpu.save_for_caller([path, whole])
    assert (tmp_path / "out" / "a.json").read_text() == path.read_text()
    assert (tmp_path / "out" / "models-a.json").read_text() == "{}"


def test_gpu_dry_run(bench, capsys):
    assert bench.gpu.main(["--dry-run"]) == 0
    output, case = capsys.readouterr().out, bench.gpu.BAND_CASE
    for part in (
        "build_ext --inplace",
        "not host_only",
        "--tool memcheck --error-exitcode 9",
        f"--tool racecheck --error-exitcode 9 {sys.executable} -m pytest -p no:cacheprovider -k {case}",
        "run.py --device cuda",
        "models.py --device cuda --sizes 1080p 720p 4k --dtypes float16 float32 --json auto",
        "benchmarks/profiles.py",
    ):
        assert part in output
    for file in bench.gpu.MEMCHECK_TESTS:
        assert (ROOT / file).exists()
    assert f"def {case}(" in (ROOT / bench.gpu.BAND_TESTS).read_text()


def test_gpu_steps_by_name(bench, capsys):
    assert bench.gpu.main(["--dry-run", "--steps", "tests", "build"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line[0] != " "] == ["build", "tests"]


def test_profiles_of_the_slowest(bench, tmp_path, capsys):
    record = a_result(bench)["records"][0]
    record |= {"size": "1080p", "layout": "contiguous", "variant": "", "gradients": ""}
    calls = [("backwarp", 3, {}), ("sepconv", 9, {"gradients": "no frames"}), ("sepconv", 8, {}),
             ("sepconv", 7, {}), ("warp_blend", 99, {"size": "4k"}), ("voxel_flow", 2, {})]  # fmt: skip
    content = {"records": [{**record, "op": op, "ours_ms": ms, **more} for op, ms, more in calls]}
    path = tmp_path / "a-gpu.json"
    path.write_text(json.dumps(content))
    assert bench.profiles.main(["--results", str(path), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "a-gpu-sepconv-forward-float32.txt" in first
    assert first.endswith("--call sepconv forward float32")
    assert second.endswith("--call backwarp forward float32")


def test_profiles_that_fail_say_so(bench, tmp_path, monkeypatch, capsys):
    """ncu leaves a log all the same."""
    path = tmp_path / "a-gpu.json"
    record = a_result(bench)["records"][0]
    path.write_text(json.dumps({"records": [{**record, "size": "1080p", "layout": "contiguous"}]}))
    monkeypatch.setattr(bench.profiles, "ROOT", tmp_path)
    monkeypatch.setattr(bench.profiles, "PROFILES", tmp_path / "profiles")
    monkeypatch.setattr(bench.profiles.shutil, "which", lambda name: name)
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('no permission'); sys.exit(7)"
    monkeypatch.setattr(bench.profiles, "command", lambda call, log: [sys.executable, "-c", code, str(log)])
    assert bench.profiles.main(["--results", str(path)]) == 1
    assert ".txt: failed (exit code 7)" in capsys.readouterr().out


def test_gpu_needs_a_gpu(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.gpu, "gpu", lambda: None)
    assert bench.gpu.main([]) == 2
    assert "no torch that sees a CUDA device" in capsys.readouterr().err
