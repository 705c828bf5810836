// Thread blocks: launch(), the scheduler and __syncthreads.
//
// One block runs at a time, one fiber a thread, all on the caller's own OS thread, so a run is deterministic.
// A thread keeps its turn until it waits or returns. The order of turns, and of blocks, is the caller's
// choice: a kernel whose result depends on it shows itself under another order.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "machine.h"
#include "shared.h"

namespace cuemu {

inline constexpr unsigned kMaxGridX = 2147483647u, kMaxGridYZ = 65535, kMaxBlockZ = 64;

// Every thread of the block arrives here. Returns for how many of them `predicate` holds.
CUEMU_UNCHECKED inline int barrier(const Site& site, bool predicate = false) {
  Machine& m = machine;
  if (m.at_barrier && !same_site(site, m.barrier_site)) {
    fail("divergent barrier: threads of one block wait at different places", site, m.barrier_site);
  }
  Thread& me = m.threads[m.current];
  const unsigned generation = m.generation;
  me.state = State::kAtBarrier;
  me.site = m.barrier_site = site;
  ++m.at_barrier;
  m.votes[generation & 1] += predicate;
  char* const sync = m.barrier.at(shared.serial, generation);
  sanitizer::release(sync);
  yield();
  sanitizer::acquire(sync);
  return m.votes[generation & 1];
}

// The life of a fiber: one CUDA thread of one block.
CUEMU_UNCHECKED inline void fiber_main() {
  Machine& m = machine;
  first_switch_done(m.host);
  sanitizer::acquire(&m.start);
  m.body(m.argument);
  sanitizer::release(&m.end);
  m.threads[m.current].state = State::kDone;
  yield();
  std::abort();  // not reached: a finished fiber is not resumed
}

inline uint3 thread_index(int i) {
  const unsigned u = unsigned(i);
  return {u % blockDim.x, u / blockDim.x % blockDim.y, u / (blockDim.x * blockDim.y)};
}

inline std::string to_text(const uint3& v) {
  return std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z);
}

inline std::string to_text(const Site& site) {
  return std::string(site.what) + " (" + site.file + ":" + std::to_string(site.line) + ")";
}

// The order in which blocks, and the threads of a block, get their turns.
class Order {
 public:
  // "fwd", "rev" or a number, the seed of a random order.
  explicit Order(const std::string& text) : reverse_(text == "rev"), random_(false) {
    if (text == "fwd" || text == "rev") return;
    char* end = nullptr;
    const unsigned long seed = std::strtoul(text.c_str(), &end, 10);
    random_ = true;
    if (text.empty() || *end)
      throw std::invalid_argument("order must be fwd, rev or a seed; got '" + text + "'");
    random_generator_.seed(unsigned(seed));
  }

  template <class Int>
  void arrange(std::vector<Int>& items) {
    std::iota(items.begin(), items.end(), Int(0));
    if (reverse_) std::reverse(items.begin(), items.end());
    if (random_) std::shuffle(items.begin(), items.end(), random_generator_);
  }

 private:
  bool reverse_, random_;
  std::mt19937 random_generator_;
};

// Where the threads of a block live: a stack each, and the thread that ThreadSanitizer takes its user for.
// Two blocks that run one after the other have different homes. Otherwise the order in which the emulator
// runs them would be program order to ThreadSanitizer, and a race between blocks could not be seen.
class Homes {
 public:
  void reserve(int threads) {
    while (int(homes_.size()) < 2 * threads) homes_.push_back({new_stack(), sanitizer::create_identity()});
  }

  void settle(Thread& thread, int index, uint64_t block) const {
    const Home& home = homes_[2 * std::size_t(index) + (block & 1)];
    prepare(thread.context, home.stack, &fiber_main);
    thread.context.tsan_identity = home.identity;
  }

  // Makes the homes of abandoned fibers fit for new ones.
  void clean() {
    for (Home& home : homes_) {
      sanitizer::forget_stack(home.stack, kStackBytes);
      sanitizer::release_for(home.identity, &machine.end);
      sanitizer::destroy_identity(home.identity);
      home.identity = sanitizer::create_identity();
    }
  }

 private:
  struct Home {
    char* stack;
    void* identity;
  };
  std::vector<Home> homes_;
};
inline Homes homes;

CUEMU_UNCHECKED inline void set_block(uint64_t b) {
  const uint64_t row = b / gridDim.x;
  blockIdx = {unsigned(b % gridDim.x), unsigned(row % gridDim.y), unsigned(row / gridDim.y)};
}

CUEMU_UNCHECKED inline void take_turn(int i) {
  machine.current = i;
  threadIdx = thread_index(i);
  switch_context(machine.host, machine.threads[i].context, false);
}

// Runs one launch; the threads must have been set up.
class Scheduler {
 public:
  Scheduler(const char* kernel, Order order)
      : kernel_(kernel), order_(std::move(order)), turns_(machine.count) {}

  void run_grid(std::size_t dynamic_bytes) {
    std::vector<uint64_t> blocks(uint64_t(gridDim.x) * gridDim.y * gridDim.z);
    order_.arrange(blocks);
    for (uint64_t b : blocks) {
      set_block(b);
      begin_shared(dynamic_bytes);
      run_block();
      free_shared();
    }
  }

 private:
  void run_block() {
    Machine& m = machine;
    for (int i = 0; i < m.count; ++i) {
      m.threads[i].state = State::kReady;
      homes.settle(m.threads[i], i, shared.serial);
    }
    m.at_barrier = m.votes[0] = m.votes[1] = 0;
    order_.arrange(turns_);
    for (int live = m.count; live;) {
      bool progress = false;
      for (int i : turns_) {
        if (m.threads[i].state != State::kReady) continue;
        progress = true;
        take_turn(i);
        if (machine.failure.message) stop_failure(i);
        live -= m.threads[i].state == State::kDone;
      }
      if (live && m.at_barrier == live) {
        if (live < m.count) stop_early_return();
        open_barrier();
      } else if (live && !progress) {
        stop_deadlock();
      }
    }
  }

  [[noreturn]] void stop_failure(int i) const {
    const Failure& failure = machine.failure;
    std::string text = failure.message + std::string(", at ") + to_text(failure.here);
    if (failure.there.what) text += " and " + to_text(failure.there);
    stop(text, i);
  }

  static void open_barrier() {
    Machine& m = machine;
    for (int i = 0; i < m.count; ++i) m.threads[i].state = State::kReady;
    m.at_barrier = 0;
    ++m.generation;
    m.votes[m.generation & 1] = 0;  // all have read the votes of two barriers ago
  }

  // Hardware may let such a block pass; CUDA promises nothing, and older devices hang.
  [[noreturn]] void stop_early_return() {
    const int gone = first([](const Thread& t) { return t.state == State::kDone; });
    stop("a thread has returned before the barrier that the others wait at, " + to_text(machine.barrier_site),
         gone);
  }

  [[noreturn]] void stop_deadlock() {
    // There is one: no thread is ready, and were all at the barrier, it would have opened.
    const int lane = first([](const Thread& t) { return t.state == State::kAtWarp; });
    const Thread& waiting = machine.threads[lane];
    std::string text = "deadlock: waits at " + to_text(waiting.site) + " for lanes of its mask:";
    for (int l = 0; l < kWarpLanes; ++l) {
      const int other = lane / kWarpLanes * kWarpLanes + l;
      if (!(waiting.mask >> l & 1) || other == lane) continue;
      const std::string excuse =
          other < machine.count ? why_missing(machine.threads[other], waiting.mask) : "does not exist";
      if (!excuse.empty()) text += " lane " + std::to_string(l) + " " + excuse + ";";
    }
    stop(text, lane);
  }

  static std::string why_missing(const Thread& thread, uint32_t mask) {
    if (thread.state == State::kDone) return "has returned";
    if (thread.state == State::kAtWarp && thread.mask == mask) return "";
    return "waits at " + to_text(thread.site) + (thread.state == State::kAtWarp ? " with another mask" : "");
  }

  template <class Predicate>
  static int first(Predicate predicate) {
    return int(std::find_if(machine.threads, machine.threads + machine.count, predicate) - machine.threads);
  }

  [[noreturn]] void stop(const std::string& text, int thread) const {
    throw LaunchError(std::string(kernel_) + ": " + text + " [block " + to_text(blockIdx) + " thread " +
                      to_text(thread_index(thread)) + "]");
  }

  const char* kernel_;
  Order order_;
  std::vector<int> turns_;
};

// Drops the fibers of a failed launch. None is resumed; the next launch starts new ones on the same stacks.
inline void abandon_fibers() {
  homes.clean();
  sanitizer::acquire(&machine.end);
  free_shared();
  machine.failure = {};
}

inline std::string order_from_environment() {
  const char* order = std::getenv("CUEMU_ORDER");
  return order ? order : "fwd";
}

// Runs kernel(params) on every thread of the grid, one block after the other. An empty order means the
// environment's. Throws LaunchError.
template <class Params>
void launch(const char* name, dim3 grid, dim3 block, std::size_t dynamic_bytes, void (*kernel)(Params),
            const Params& params, const std::string& order = "") {
  const uint64_t count = uint64_t(block.x) * block.y * block.z;
  if (count < 1 || count > kMaxThreads || block.z > kMaxBlockZ || grid.x < 1 || grid.y < 1 || grid.z < 1 ||
      grid.x > kMaxGridX || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ || dynamic_bytes > kMaxShared) {
    throw LaunchError(std::string(name) + ": launch configuration outside of CUDA's limits: grid " +
                      to_text(uint3{grid.x, grid.y, grid.z}) + " block " +
                      to_text(uint3{block.x, block.y, block.z}) + " shared memory " +
                      std::to_string(dynamic_bytes));
  }
  struct Call {
    void (*kernel)(Params);
    const Params& params;
  } call{kernel, params};
  Machine& m = machine;
  m.body = [](const void* c) { static_cast<const Call*>(c)->kernel(static_cast<const Call*>(c)->params); };
  m.argument = &call;
  m.count = int(count);
  homes.reserve(m.count);
  m.host.tsan_identity = sanitizer::current_identity();
  gridDim = grid;
  blockDim = block;
  Scheduler scheduler(name, Order(order.empty() ? order_from_environment() : order));
  sanitizer::release(&m.start);
  try {
    scheduler.run_grid(dynamic_bytes);
  } catch (...) {
    abandon_fibers();
    throw;
  }
  sanitizer::acquire(&m.end);  // a kernel's writes are visible to whatever follows it on the stream
}

}  // namespace cuemu

inline void __syncthreads(cuemu::Site site = "__syncthreads") { cuemu::barrier(site); }

inline int __syncthreads_count(int predicate, cuemu::Site site = "__syncthreads_count") {
  return cuemu::barrier(site, predicate != 0);
}

inline int __syncthreads_or(int predicate, cuemu::Site site = "__syncthreads_or") {
  return cuemu::barrier(site, predicate != 0) != 0;
}

inline int __syncthreads_and(int predicate, cuemu::Site site = "__syncthreads_and") {
  return cuemu::barrier(site, predicate != 0) == cuemu::machine.count;
}
