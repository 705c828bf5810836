"""Times of rival calls, taken in turn so that what disturbs the machine disturbs all of them."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROUNDS = (3, 60)  # at least, at most, whatever the budget
WARM_UP_SECONDS = 0.2
# A block of CUDA calls lasts about this long, or one call, or one for every buffer set.
BLOCK_SECONDS = 0.02
# The wait before a block, while the host queues it, is this much longer than queueing took in the warm-up,
# up to the maximum: a chain of thousands of launches is slower to queue than to run, for its users as well.
WAIT_FACTOR, WAIT_MAX_SECONDS = 1.3, 0.05
# A round in which others took more than this share of the processors is disturbed. A tick is 10 ms: in a
# short round less than this is not told apart.
DISTURBED = 0.1
WAIT_SECONDS = 0.5
CLOCK_HZ = 2e9  # of torch.cuda._sleep's cycles; roughly is enough


@dataclass(frozen=True)
class Times:
    """Milliseconds a call."""

    median: float
    p10: float
    p90: float

    @staticmethod
    def of(samples: Sequence[float]) -> "Times":
        ordered = sorted(samples)
        last = len(ordered) - 1
        return Times(
            statistics.median(ordered) * 1e3,
            ordered[round(0.1 * last)] * 1e3,
            ordered[round(0.9 * last)] * 1e3,
        )


class _OnCpu:
    def __init__(self, call: Callable[[int], Any], sets: int):
        self.call, self.sets, self.turn = call, sets, 0
        spent = 0.0
        while spent < WARM_UP_SECONDS:
            spent += self.sample()

    def sample(self) -> float:
        """Seconds of one call; the next buffer set every time."""
        self.turn = (self.turn + 1) % self.sets
        start = time.perf_counter()
        results = self.call(self.turn)
        seconds = time.perf_counter() - start
        del results  # freed outside the time taken
        return seconds


class _OnCuda:
    """Blocks of calls between two events, queued behind a wait: the device's time, without the host's."""

    def __init__(self, call: Callable[[int], Any], sets: int):
        self.call, self.sets, self.turn = call, sets, 0
        self.block, self.wait = 1, 0.0
        self.sample()  # loads modules, compiles, fills caches
        self.block = max(1, min(sets, int(BLOCK_SECONDS / max(self.sample(), 1e-7))))
        spent, queueing = 0.0, []
        while spent < WARM_UP_SECONDS:
            begin = time.perf_counter()
            self.sample()
            spent += time.perf_counter() - begin
            queueing.append(self.queueing)
        self.wait = min(WAIT_MAX_SECONDS, WAIT_FACTOR * statistics.median(queueing))

    def sample(self) -> float:
        """Seconds a call of one block; the next buffer sets every time."""
        order = [(self.turn + i) % self.sets for i in range(self.block)]
        self.turn = (self.turn + self.block) % self.sets
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        if self.wait:
            torch.cuda._sleep(int(self.wait * CLOCK_HZ))
        begin = time.perf_counter()
        start.record()
        # Kept to the end: a result freed at once would be written to the same, cached memory again and again.
        results = [self.call(i) for i in order]
        end.record()
        self.queueing = time.perf_counter() - begin
        end.synchronize()
        del results
        return start.elapsed_time(end) / 1e3 / self.block


@dataclass
class Use:
    """Processor seconds of the whole machine, summed over its processors."""

    passed: float = 0.0
    busy: float = 0.0
    own: float = 0.0  # of this process

    @staticmethod
    def now() -> "Use":
        """All 0 where that is not told (not Linux)."""
        try:
            ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        except OSError:
            return Use()
        passed, idle = (n / os.sysconf("SC_CLK_TCK") for n in (sum(ticks), ticks[3] + ticks[4]))
        return Use(passed, passed - idle, time.process_time())

    def since(self, start: "Use") -> "Use":
        return Use(self.passed - start.passed, self.busy - start.busy, self.own - start.own)

    def add(self, other: "Use") -> None:
        self.passed += other.passed
        self.busy += other.busy
        self.own += other.own

    @property
    def others(self) -> float | None:
        """The share of the machine that other processes took."""
        if self.passed <= 0:
            return None
        return min(1.0, max(0.0, (self.busy - self.own) / self.passed))


class Patience:
    """Seconds that a run may lose to other processes: disturbed rounds are repeated in quiet."""

    def __init__(self, seconds: float):
        self.left = seconds

    def refuses(self, use: Use, seconds: float) -> bool:
        """Whether a round is to be repeated; waits for a quiet moment first."""
        if self.left <= 0 or (use.others or 0) <= DISTURBED:
            return False
        self.left -= seconds
        while self.left > 0:
            before = Use.now()
            time.sleep(WAIT_SECONDS)
            self.left -= WAIT_SECONDS
            if (Use.now().since(before).others or 0) <= DISTURBED:
                break
        return True


def in_turn(
    calls: dict[str, Callable[[int], Any]],  # of the index of a buffer set
    sets: int,
    device: str,
    budget: float,  # seconds for all rounds that count
    patience: Patience,
) -> tuple[dict[str, Times], int, float | None]:
    """(times of every call, number of rounds, share of others); each round takes every call once."""
    timers = {name: (_OnCuda if device == "cuda" else _OnCpu)(call, sets) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    least, most = ROUNDS
    total = Use()
    spent, rounds = 0.0, 0
    while rounds < least or (rounds < most and spent < budget):
        before, start = Use.now(), time.perf_counter()
        taken = {name: timer.sample() for name, timer in timers.items()}
        use, seconds = Use.now().since(before), time.perf_counter() - start
        if patience.refuses(use, seconds):
            continue
        for name, sample in taken.items():
            samples[name].append(sample)
        total.add(use)
        spent += seconds
        rounds += 1
    return {name: Times.of(taken) for name, taken in samples.items()}, rounds, total.others
