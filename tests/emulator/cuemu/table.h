// The kernels of one extension module, by name: all that bind.cpp sees of the emulator, since it must not
// carry uninstrumented copies of the emulator's inline functions into the module. Entries come from entry.h.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "types.h"

namespace cuemu {

struct Entry {
  std::string name;
  std::size_t params_size;  // of the struct that the kernel takes by value
  std::function<void(dim3 grid, dim3 block, std::size_t dynamic_bytes, const void* params,
                     const std::string& order)>
      run;
};

inline std::map<std::string, Entry>& kernels() {
  static std::map<std::string, Entry> all;
  return all;
}

}  // namespace cuemu
