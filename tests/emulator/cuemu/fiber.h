// A fiber: a stack of its own and the saved point of execution on it. Switching is by a few lines of assembly
// on x86-64 and by ucontext elsewhere (or where CUEMU_UCONTEXT is defined), with the sanitizers told of every
// switch.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

#include "sanitizer.h"

#if !defined(__x86_64__) || !defined(__ELF__)
#define CUEMU_UCONTEXT 1
#endif

#if defined(CUEMU_UCONTEXT)
#include <ucontext.h>
#else
// void cuemu_swap_stack(void** save, void* load): saves the callee-saved registers on the running stack and
// its stack pointer in *save, then continues on the stack `load`. Written outside of C++ so that the compiler
// cannot look into it and keep values in registers across the call; a comdat so that every source file may
// carry it.
extern "C" void cuemu_swap_stack(void** save, void* load) noexcept;
asm(R"(
  .pushsection .text.cuemu_swap_stack, "axG", @progbits, cuemu_swap_stack, comdat
  .weak cuemu_swap_stack
  .hidden cuemu_swap_stack
  .type cuemu_swap_stack, @function
cuemu_swap_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size cuemu_swap_stack, .-cuemu_swap_stack
  .popsection
)");
#endif

namespace cuemu {

#if defined(CUEMU_ASAN) || defined(CUEMU_TSAN)
inline constexpr std::size_t kStackBytes = 256 << 10;  // instrumented frames are several times larger
#else
inline constexpr std::size_t kStackBytes = 64 << 10;
#endif

// One side of a switch: a fiber, or the caller of launch() (which keeps its own stack).
struct Context {
#if defined(CUEMU_UCONTEXT)
  ucontext_t registers;
#else
  void* stack_pointer = nullptr;
#endif
  const void* stack_bottom = nullptr;
  std::size_t stack_bytes = 0;
  void* asan_fake_stack = nullptr;
  void* tsan_identity = nullptr;
};

// A stack with an inaccessible page below it, so that a runaway kernel faults instead of overwriting a
// neighbour. It is never freed: the emulator keeps its stacks from launch to launch.
inline char* new_stack() {
  constexpr std::size_t kPage = 64 << 10;  // a multiple of every page size in use
  void* memory = mmap(nullptr, kPage + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) throw std::bad_alloc();
  return static_cast<char*>(memory) + kPage;
}

// Makes `fiber` start at `entry` on its stack at the next switch to it. `entry` must never return.
CUEMU_UNCHECKED inline void prepare(Context& fiber, char* stack, void (*entry)()) {
  fiber.stack_bottom = stack;
  fiber.stack_bytes = kStackBytes;
  fiber.asan_fake_stack = nullptr;
#if defined(CUEMU_UCONTEXT)
  getcontext(&fiber.registers);
  fiber.registers.uc_stack.ss_sp = stack;
  fiber.registers.uc_stack.ss_size = kStackBytes;
  fiber.registers.uc_link = nullptr;
  makecontext(&fiber.registers, entry, 0);
#else
  void** top = reinterpret_cast<void**>(stack + kStackBytes);
  *--top = nullptr;  // entry's return address: ends every backtrace, and aligns the stack as the ABI wants it
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // the registers that cuemu_swap_stack pops
  fiber.stack_pointer = top;
#endif
}

// Leaves `from` for `to`; returns when something switches back to `from`. A finished `from` is never resumed.
CUEMU_UNCHECKED inline void switch_context(Context& from, Context& to, [[maybe_unused]] bool finished) {
#if defined(CUEMU_ASAN)
  __sanitizer_start_switch_fiber(finished ? nullptr : &from.asan_fake_stack, to.stack_bottom, to.stack_bytes);
#endif
#if defined(CUEMU_TSAN)
  // "No sync": a switch orders nothing, or ThreadSanitizer could never see a missing barrier.
  __tsan_switch_to_fiber(to.tsan_identity, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(CUEMU_UCONTEXT)
  swapcontext(&from.registers, &to.registers);
#else
  cuemu_swap_stack(&from.stack_pointer, to.stack_pointer);
#endif
#if defined(CUEMU_ASAN)
  __sanitizer_finish_switch_fiber(from.asan_fake_stack, nullptr, nullptr);
#endif
}

// The first thing a fiber calls. It learns the bounds of the stack of `caller`, needed for the way back.
CUEMU_UNCHECKED inline void first_switch_done([[maybe_unused]] Context& caller) {
#if defined(CUEMU_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, &caller.stack_bottom, &caller.stack_bytes);
#endif
}

}  // namespace cuemu
