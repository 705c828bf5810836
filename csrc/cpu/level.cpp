#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace vfi {

namespace {

Level supported() {
#ifdef VFI_HAS_VERSIONS
  // All that versions.h asks for, as far as the compiler can ask.
  bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
#if __GNUC__ >= 11
  v3 &= __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("movbe");
#endif
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v3) return v4 ? Level::kV4 : Level::kV3;
#endif
  return Level::kBase;
}

Level choose() {
  const Level best = supported();
  const char* wish = std::getenv("VFI_CPU");
  if (!wish || !*wish) return best;
  for (const Level level : {Level::kBase, Level::kV3, Level::kV4})
    if (std::string(wish) == name_of(level)) {
      if (level > best) throw std::runtime_error("VFI_CPU: this processor has no " + std::string(wish));
      return level;
    }
  throw std::runtime_error("VFI_CPU must be base, v3 or v4; got " + std::string(wish));
}

}  // namespace

Level cpu_level() {
  static const Level level = choose();
  return level;
}

const char* name_of(Level level) { return level == Level::kV4 ? "v4" : level == Level::kV3 ? "v3" : "base"; }

}  // namespace vfi
