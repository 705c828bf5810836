// The state of the one emulated multiprocessor: the threads and warps of the block that runs now, and how a
// thread gives up its turn or reports an error. The scheduler that fills it is in block.h.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "fiber.h"
#include "types.h"

inline uint3 threadIdx, blockIdx;  // of the thread that has its turn
inline dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace cuemu {

inline constexpr int kMaxThreads = 1024;
inline constexpr int kWarpLanes = 32;

// A kernel broke a rule of CUDA that the emulator checks. Thrown by launch(); in Python a RuntimeError.
class LaunchError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where in a kernel a barrier or warp intrinsic stands. As the default argument `Site site = "name"` it names
// the place of the call. (A constructor, since g++ takes __builtin_LINE() in a braced initialiser for the
// place of the default.)
struct Site {
  const char* what = nullptr;
  const char* file = nullptr;
  int line = 0;

  constexpr Site() = default;
  constexpr Site(const char* what_, const char* file_ = __builtin_FILE(), int line_ = __builtin_LINE())
      : what(what_), file(file_), line(line_) {}
};

enum class State : uint8_t { kReady, kAtBarrier, kAtWarp, kDone };

struct Thread {
  Context context;
  State state = State::kDone;
  Site site;                   // the barrier or warp intrinsic that it waits at
  uint32_t mask = 0;           // the lanes that it waits for, itself included
  const void* mine = nullptr;  // what it gives to those lanes
  void* all = nullptr;         // where it wants theirs
};

// What ThreadSanitizer hangs its happens-before edges on, for one barrier. Of two generations, since an early
// arrival at the next barrier must not be taken as ordered before a late departure from this one; and of two
// blocks, since nothing orders a block before the next.
struct SyncObjects {
  char objects[2][2];
  char* at(uint64_t block, unsigned generation) { return &objects[block & 1][generation & 1]; }
};

struct Warp {
  unsigned fences = 0;  // __syncwarps completed
  SyncObjects fence;    // __syncwarp's
};

// What a thread found wrong. Plain pointers: nothing unwinds the stack of a fiber that fails, so it must not
// own anything.
struct Failure {
  const char* message = nullptr;
  Site here, there;  // there: the place of the thread that disagrees, if any
};

struct Machine {
  Thread threads[kMaxThreads];
  Warp warps[kMaxThreads / kWarpLanes];
  Context host;     // the caller of launch()
  int count = 0;    // threads of a block
  int current = 0;  // the thread that has its turn
  void (*body)(const void*) = nullptr;
  const void* argument = nullptr;
  Failure failure;

  int at_barrier = 0;  // threads that wait at barrier_site
  Site barrier_site;
  unsigned generation = 0;  // barriers completed
  int votes[2] = {};        // threads with a true predicate, by the parity of the generation
  SyncObjects barrier;      // __syncthreads's
  char start, end;          // as SyncObjects, for the beginning and the end of a launch
};

inline Machine machine;

CUEMU_UNCHECKED inline void yield() {
  Thread& me = machine.threads[machine.current];
  switch_context(me.context, machine.host, me.state == State::kDone);
}

// Ends the launch with an error. The fiber is abandoned where it stands: device code owns nothing that would
// have to be destroyed, and the stack itself is reused. The exception is thrown by the scheduler, on the
// caller's own stack.
[[noreturn]] CUEMU_UNCHECKED inline void fail(const char* message, const Site& here, const Site& there = {}) {
  machine.failure = {message, here, there};
  machine.threads[machine.current].state = State::kDone;
  yield();
  std::abort();  // not reached: a finished fiber is not resumed
}

CUEMU_UNCHECKED inline bool same_text(const char* a, const char* b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

// By text, not by pointer: the same header may be compiled into several objects of one module.
CUEMU_UNCHECKED inline bool same_site(const Site& a, const Site& b) {
  return a.line == b.line && same_text(a.what, b.what) && same_text(a.file, b.file);
}

}  // namespace cuemu
