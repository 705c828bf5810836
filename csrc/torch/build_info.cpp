#include <torch/csrc/stable/library.h>

#include <string>

#include "../cpu/kernels.h"

namespace vfi {

namespace {

// What this binary was built for, as JSON; VFI_CUDA_ARCHS comes from setup.py.
std::string build_info() {
#if defined(__x86_64__)
  const std::string level = name_of(cpu_level());
  const std::string cpu = level == "base" ? "x86-64" : "x86-64-" + level;
#elif defined(__aarch64__)
  const std::string cpu = "aarch64";
#else
  const std::string cpu = "generic";
#endif
#ifdef VFI_WITH_CUDA
  const std::string archs = VFI_CUDA_ARCHS;
#else
  const std::string archs;
#endif
  return "{\"cpu\": \"" + cpu + "\", \"cuda_archs\": \"" + archs + "\"}";
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CompositeExplicitAutograd, m) {
  m.impl("build_info", TORCH_BOX(&build_info));
}

}  // namespace vfi
