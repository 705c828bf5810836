// Which of the warps' kernels serves a call: a tuned one, or else the simple one, one thread a pixel, which
// serves everything. vfi_kernels/jit/choice.py says the same for kernels that are compiled at run time.
#pragma once
#include "../math/backwarp.h"
#include "launch.cuh"
#include "tuned_taps.cuh"

namespace vfi::cuda {

// The grid of the tuned kernels, and whether it covers n images of h x w with two neighbours for every
// position.
inline dim3 tiles_of(int n, int h, int w, int columns = kColumns, int rows = kRows) {
  const int width = 32 * columns, height = rows * kWarps;
  return dim3((w + width - 1) / width, (h + height - 1) / height, n);
}
inline bool has_tiles(int n, int h, int w) {
  return n <= kMaxGridYZ && h >= 2 && h <= kMaxGridYZ * kBackwarpRows * kWarps && w >= 2;
}

// Whether 32 bits hold every offset within a plane, in bytes too.
template <class T>
VFI_FN bool is_compact(const View<T>& v, int h, int w) {
  return !v.data || (v.y >= 0 && v.x >= 0 && (h - 1) * v.y + (w - 1) * v.x < (1 << 29));
}

// How the tuned kernels address images: by kStep where it is 1 or 3.
enum Step : int { kSimple = 0, kPlanar = 1, kRgb = 3, kWide = 16 };

// Whether 16 bytes of channels side by side can be loaded at once.
template <class V>
bool is_wide(const View<V>& v, int channels, int size) {
  const int numbers = 16 / size;
  const bool aligned = reinterpret_cast<unsigned long long>(v.data) % 16 == 0;
  return !v.data || (aligned && v.c == 1 && channels % numbers == 0 && v.n % numbers == 0 &&
                     v.y % numbers == 0 && v.x % numbers == 0);
}

// What the tensors of a call have in common: images share a layout, the inputs beside them have any. Views
// that a pass does not have are absent.
class Layouts {
 public:
  Layouts(int n, int h, int w, int c)
      : compact_(has_tiles(n, h, w) && !wants_simple()), rgb_(c == 3), h_(h), w_(w), c_(c) {}

  template <class T>
  VFI_FN void operator()(const View<T>& v) {
    compact_ = compact_ && is_compact(v, h_, w_);
  }
  // size: of a number, in bytes.
  template <class T>
  void image(const View<T>& v, int size = sizeof(T)) {
    (*this)(v);
    planar_ = planar_ && (!v.data || v.x == 1);
    rgb_ = rgb_ && (!v.data || (v.x == 3 && v.c == 1));
    wide_ = wide_ && is_wide(v, c_, size);
  }
  Step step() const {
    return !compact_ ? kSimple : planar_ ? kPlanar : rgb_ ? kRgb : wide_ ? kWide : kSimple;
  }

 private:
  bool compact_, planar_ = true, rgb_, wide_ = true;
  int h_, w_, c_;
};

template <class Op>
Step step_of(typename Op::Params p) {
  const auto& q = p.pair;
  Layouts layouts(q.n, q.h, q.w, q.c);
  layouts.image(q.frame0);
  layouts.image(q.frame1);
  layouts.image(q.out);
  layouts.image(q.grad_out);
  layouts.image(q.grad_frame0);
  layouts.image(q.grad_frame1);
  Op::for_each_field(p, layouts);
  return layouts.step();
}

template <class F>
bool is_tuned(const BackwarpParams<F, f32>& p) {
  bool tuned = true;
  for (int k = 0; k < p.count; ++k) {
    const BackwarpImage<f32>& image = p.images[k];
    const int size = image.dtype == kF32 ? 4 : 2;
    Layouts layouts(p.n, p.h, p.w, image.channels);
    layouts.image(image.image, size);
    layouts.image(image.out, size);
    layouts.image(image.grad_out, size);
    layouts.image(image.grad_image);
    layouts(p.flow);
    layouts(p.grad_flow);
    tuned = tuned && layouts.step();
  }
  return tuned;
}

}  // namespace vfi::cuda
