// How a source file adds its kernels to the module that it is linked into:
//
//   static const bool added = cuemu::add_kernels({
//       cuemu::entry("warp_blend_forward<float, float>", warp_blend_forward<float, float>),
//   });
#pragma once

#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "cuemu.h"
#include "table.h"

namespace cuemu {

inline bool add_kernels(const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) kernels().insert_or_assign(entry.name, entry);
  return true;
}

// A kernel that takes one struct by value. The struct arrives as bytes, its pointers included.
template <class Params>
Entry entry(const std::string& name, void (*kernel)(Params)) {
  static_assert(std::is_trivially_copyable_v<Params>, "a kernel's parameters are copied byte by byte");
  auto run = [name, kernel](dim3 grid, dim3 block, std::size_t dynamic_bytes, const void* bytes,
                            const std::string& order) {
    Params params;
    std::memcpy(static_cast<void*>(&params), bytes, sizeof params);
    launch(name.c_str(), grid, block, dynamic_bytes, kernel, params, order);
  };
  return {name, sizeof(Params), run};
}

}  // namespace cuemu
