// Shared memory. Every variable is a heap block of its own, exactly as large as declared, made anew for every
// thread block and filled with 0xFF: AddressSanitizer sees the first byte out of bounds, and a float read
// before it was written is NaN.
#pragma once

#include <cstring>
#include <new>

#include "machine.h"

namespace cuemu {

inline constexpr std::size_t kMaxStaticShared = 48 << 10;  // CUDA's limit on what a kernel declares
inline constexpr std::size_t kMaxShared = 227 << 10;  // declared and dynamic together, compute capability 9.0

// What this thread block has allocated; the blocks form a list so that no container code runs inside a fiber.
struct SharedBlock {
  void* memory = nullptr;
  SharedBlock* next = nullptr;
};

struct SharedMemory {
  SharedBlock* blocks = nullptr;
  SharedBlock dynamic;
  std::size_t static_bytes = 0, dynamic_bytes = 0;
  uint64_t serial = 0;  // of the thread block: tells a variable that its memory is of an earlier one
};
inline SharedMemory shared;

CUEMU_UNCHECKED inline void allocate_shared(SharedBlock& block, std::size_t bytes) {
  sanitizer::Untraced untraced;
  block.memory = ::operator new(bytes);
  std::memset(block.memory, 0xFF, bytes);
  block.next = shared.blocks;
  shared.blocks = &block;
}

inline void free_shared() {
  sanitizer::Untraced untraced;
  for (; shared.blocks; shared.blocks = shared.blocks->next) ::operator delete(shared.blocks->memory);
  shared.static_bytes = 0;
}

inline void begin_shared(std::size_t dynamic_bytes) {
  ++shared.serial;
  shared.dynamic_bytes = dynamic_bytes;
  allocate_shared(shared.dynamic, dynamic_bytes);
}

// One VFI_SHARED variable. `Array` is its type, e.g. float[18][34]. A static of the enclosing kernel, it is
// set up without a guard because its constructor is constant.
template <class Array>
class SharedVariable {
 public:
  CUEMU_UNCHECKED Array& get(const Site& site) {
    if (serial_ != shared.serial) {
      shared.static_bytes += sizeof(Array);
      if (shared.static_bytes > kMaxStaticShared) fail("more than 48 KB of static shared memory", site);
      if (shared.static_bytes + shared.dynamic_bytes > kMaxShared)
        fail("more than 227 KB of shared memory", site);
      allocate_shared(block_, sizeof(Array));
      serial_ = shared.serial;
    }
    return *static_cast<Array*>(block_.memory);
  }

 private:
  SharedBlock block_;
  uint64_t serial_ = 0;
};

}  // namespace cuemu

// float tile[18][34] in shared memory:  VFI_SHARED(float, tile, [18][34]);
#define VFI_SHARED(type, name, dims)                          \
  static ::cuemu::SharedVariable<type dims> name##_in_shared; \
  auto& name = name##_in_shared.get(#name)

// The dynamic shared memory of the launch as an array of `type`:  VFI_DYN_SMEM(float, partial);
#define VFI_DYN_SMEM(type, name) type* name = static_cast<type*>(::cuemu::shared.dynamic.memory)
