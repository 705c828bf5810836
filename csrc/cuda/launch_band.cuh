// Launches of sepconv's tensor-core kernels. vfi_kernels/jit/band.py has the same rules.
#pragma once
#include "launch.cuh"
#include "sepconv_band_image.cuh"

namespace vfi::cuda {

// Fewer taps are not worth it, and the ring of image rows would be shorter than a tile.
constexpr int kMinTaps = 16;

// Whether the kernels can compute with a term at all.
template <class T, class F>
bool suits(const SepconvTerm<T, F>& term) {
  const int reach = kBefore + (-term.left & 3) + term.kh;
  return std::min(term.kv, term.kh) >= kMinTaps && std::max(kBefore + term.kv, reach) <= kReach &&
         term.vertical.x == 1 && term.horizontal.x == 1;
}

// Launches the kernel if it fits the device and the grid; otherwise nothing happens, and the tiled kernels
// have to do it.
template <class T, class F>
bool launch_band(void (*kernel)(SepconvParams<T, F>), const SepconvParams<T, F>& p, int strips, i64 segments,
                 int bytes, void* stream) {
  if (wants_simple() || segments > kMaxGridYZ || p.n > kMaxGridYZ ||
      !has_room(reinterpret_cast<const void*>(kernel), bytes))
    return false;
  const dim3 grid(strips, static_cast<unsigned>(segments), p.n);
  launch(kernel, grid, p, stream, bytes);
  return true;
}

// The kernels that march over the rows of the output.
template <bool kCoarse, class T, class F>
bool launch_band(void (*kernel)(SepconvParams<T, F>), const SepconvParams<T, F>& p, void* stream) {
  return launch_band(kernel, p, (p.w + kStrip - 1) / kStrip, (i64(p.h) + kMarch - 1) / kMarch,
                     BandMemory<T, F, kCoarse>::total(p), stream);
}

// The gradient of the image. A block computes some 50 rows more than it owns, so there are only as many as a
// big device holds at once.
constexpr int kImageBlocks = 264, kLeastRows = 16;
template <bool kCoarse, class T, class F>
bool launch_band_image(const SepconvParams<T, F>& p, void* stream) {
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const int strips = (term.image_w + kImageStrip - 1) / kImageStrip;
  const i64 wanted = kImageBlocks / (i64(strips) * p.n),
            most = (i64(term.image_h) + kLeastRows - 1) / kLeastRows;
  return launch_band(sepconv_band_image<T, F, kCoarse>, p, strips, std::clamp<i64>(wanted, 1, most),
                     ImageMemory<F, kCoarse>::total(term.kv), stream);
}

// Calls f(kCoarse) as an integral constant for the precision that was asked for; false for float64.
template <class T, class F, class Fn>
bool with_precision(const SepconvParams<T, F>& p, const Fn& f) {
  if constexpr (sizeof(T) == 8 || sizeof(F) == 8)
    return false;
  else if constexpr (sizeof(T) == 4 && sizeof(F) == 4)
    return p.coarse ? f(std::true_type()) : f(std::false_type());
  else
    return f(std::false_type());
}

}  // namespace vfi::cuda
