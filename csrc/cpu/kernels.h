// The CPU kernels: plain functions over a range of independent units, which the caller may spread over threads.
#pragma once
#include "versions.h"

namespace vfi {

// Units are the rows of the output (n * h), for backward_frames the planes of both frames (2 * n / repeat * c).
template <class Op> void pair_forward(const typename Op::Params& p, i64 begin, i64 end);
template <class Op> void pair_backward_inputs(const typename Op::Params& p, i64 begin, i64 end);
template <class Op> void pair_backward_frames(const typename Op::Params& p, i64 begin, i64 end);

// Units are rows of the output (n * h); for backward_image the planes of image i (n / repeat * channels).
template <class F, class A> void backwarp_forward(const BackwarpParams<F, A>& p, i64 begin, i64 end);
template <class F, class A> void backwarp_backward_flow(const BackwarpParams<F, A>& p, i64 begin, i64 end);
template <class F, class A> void backwarp_backward_image(const BackwarpParams<F, A>& p, int i, i64 begin, i64 end);

// The instruction sets that hot loops exist for (versions.h), and the one that runs: the best of this processor, or what the
// environment variable VFI_CPU=base|v3|v4 asks for.
enum class Level { kBase, kV3, kV4 };
Level cpu_level();
const char* name_of(Level level);

// Units are rows of the output (n * h); for backward_image the planes of the selected term's image (n * c).
#define VFI_DECLARE(version)                                                                                  \
  namespace version {                                                                                         \
  template <class T, class F> void sepconv_forward(const SepconvParams<T, F>& p, i64 begin, i64 end);         \
  template <class T, class F> void sepconv_backward_taps(const SepconvParams<T, F>& p, i64 begin, i64 end);   \
  template <class T, class F> void sepconv_backward_image(const SepconvParams<T, F>& p, i64 begin, i64 end);  \
  }
VFI_DECLARE(base)
#ifdef VFI_HAS_VERSIONS
VFI_DECLARE(v3)
VFI_DECLARE(v4)
#define VFI_CALL(function, ...)                                  \
  switch (cpu_level()) {                                         \
    case Level::kV4: return v4::function(__VA_ARGS__);           \
    case Level::kV3: return v3::function(__VA_ARGS__);           \
    case Level::kBase: return base::function(__VA_ARGS__);       \
  }
#else
#define VFI_CALL(function, ...) base::function(__VA_ARGS__);
#endif

template <class T, class F> void sepconv_forward(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  VFI_CALL(sepconv_forward, p, begin, end)
}
template <class T, class F> void sepconv_backward_taps(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  VFI_CALL(sepconv_backward_taps, p, begin, end)
}
template <class T, class F> void sepconv_backward_image(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  VFI_CALL(sepconv_backward_image, p, begin, end)
}
#undef VFI_CALL
#undef VFI_DECLARE

}  // namespace vfi
