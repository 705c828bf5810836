// What the emulator tells AddressSanitizer and ThreadSanitizer. Without them every function here is empty.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define CUEMU_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CUEMU_TSAN 1
#endif
#if defined(__has_feature)  // clang
#if __has_feature(address_sanitizer)
#define CUEMU_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CUEMU_TSAN 1
#endif
#endif

#if defined(CUEMU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// CUEMU_UNCHECKED marks the emulator's own bookkeeping. Fibers share it without synchronising, which is safe
// because only one of them runs at a time, but which ThreadSanitizer would report.
#if defined(CUEMU_TSAN)
#include <sanitizer/tsan_interface.h>
#define CUEMU_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
// Exported by the runtime, declared in no header of it.
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#else
#define CUEMU_UNCHECKED __attribute__((noinline))
#endif

namespace cuemu::sanitizer {

// ThreadSanitizer's happens-before edges: whatever came before release(x) is ordered before what follows
// acquire(x).
CUEMU_UNCHECKED inline void release([[maybe_unused]] void* object) {
#if defined(CUEMU_TSAN)
  __tsan_release(object);
#endif
}

CUEMU_UNCHECKED inline void acquire([[maybe_unused]] void* object) {
#if defined(CUEMU_TSAN)
  __tsan_acquire(object);
#endif
}

// Inside this scope malloc and free leave no trace in ThreadSanitizer's shadow memory: shared memory belongs
// to no thread, and whichever fiber happens to allocate it must not race with the others.
class Untraced {
 public:
  Untraced() {
#if defined(CUEMU_TSAN)
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
#endif
  }
  ~Untraced() {
#if defined(CUEMU_TSAN)
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
  }
  Untraced(const Untraced&) = delete;
  Untraced& operator=(const Untraced&) = delete;
};

// ThreadSanitizer's identity of one CUDA thread.
inline void* create_identity() {
#if defined(CUEMU_TSAN)
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}

inline void destroy_identity([[maybe_unused]] void* identity) {
#if defined(CUEMU_TSAN)
  __tsan_destroy_fiber(identity);
#endif
}

inline void* current_identity() {
#if defined(CUEMU_TSAN)
  return __tsan_get_current_fiber();
#else
  return nullptr;
#endif
}

// Orders all that `identity` has done before whatever acquires `object`, on behalf of a fiber that cannot do
// it itself.
CUEMU_UNCHECKED inline void release_for([[maybe_unused]] void* identity, [[maybe_unused]] void* object) {
#if defined(CUEMU_TSAN)
  void* self = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(identity, __tsan_switch_to_fiber_no_sync);
  __tsan_release(object);
  __tsan_switch_to_fiber(self, __tsan_switch_to_fiber_no_sync);
#endif
}

// A fiber given up in the middle of its work leaves the redzones of its stack frames poisoned; the next user
// of the stack would trip over them.
inline void forget_stack([[maybe_unused]] void* bottom, [[maybe_unused]] std::size_t size) {
#if defined(CUEMU_ASAN)
  __asan_unpoison_memory_region(bottom, size);
#endif
}

}  // namespace cuemu::sanitizer
