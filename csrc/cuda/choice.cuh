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

// What the images of a call have in common.
struct Layouts {
  bool compact, planar, rgb;

  Layouts(int n, int h, int w, int c)
      : compact(has_tiles(n, h, w)), planar(true), rgb(c == 3), h_(h), w_(w) {}

  template <class T>
  VFI_FN void operator()(const View<T>& v) {
    compact = compact && is_compact(v, h_, w_);
    planar = planar && (!v.data || v.x == 1);
  }
  template <class T>
  void image(const View<T>& v) {
    (*this)(v);
    rgb = rgb && (!v.data || (v.x == 3 && v.c == 1));
  }
  // kStep of the tuned kernel, 0 where the simple one has to do.
  int step() const { return !compact || wants_simple() ? 0 : planar ? 1 : rgb ? 3 : 0; }

 private:
  int h_, w_;
};

// Views that a pass does not have are absent.
template <class Op>
int step_of(typename Op::Params p) {
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

// Whether 16 bytes of channels side by side can be loaded at once.
template <class V>
bool is_wide(const View<V>& v, int channels, int size) {
  const int numbers = 16 / size;
  const bool aligned = reinterpret_cast<unsigned long long>(v.data) % 16 == 0;
  return !v.data || (aligned && v.c == 1 && channels % numbers == 0 && v.n % numbers == 0 &&
                     v.y % numbers == 0 && v.x % numbers == 0);
}

// Whether the gradients of a pair can be computed over any number of channels: its images all have planes, or
// all of them pixels of one kind.
template <class Op>
bool has_channels(typename Op::Params p) {
  const auto& q = p.pair;
  Layouts layouts(q.n, q.h, q.w, q.c), fields(q.n, q.h, q.w, q.c);
  bool wide = true;
  const auto look = [&](const auto& v, int size) {
    layouts.image(v);
    wide = wide && is_wide(v, q.c, size);
  };
  look(q.frame0, sizeof(typename Op::Image));
  look(q.frame1, sizeof(typename Op::Image));
  look(q.grad_out, sizeof(typename Op::Image));
  look(q.grad_frame0, sizeof(f32));
  look(q.grad_frame1, sizeof(f32));
  Op::for_each_field(p, fields);
  return layouts.compact && fields.compact && (layouts.planar || layouts.rgb || wide) && !wants_simple();
}

template <class F>
bool is_tuned(const BackwarpParams<F, f32>& p) {
  bool tuned = has_tiles(p.n, p.h, p.w) && is_compact(p.flow, p.h, p.w) &&
               is_compact(p.grad_flow, p.h, p.w) && !wants_simple();
  for (int k = 0; k < p.count; ++k) {
    const BackwarpImage<f32>& image = p.images[k];
    Layouts layouts(p.n, p.h, p.w, image.channels);
    bool wide = true;
    const auto look = [&](const auto& v, int size) {
      layouts.image(v);
      wide = wide && is_wide(v, image.channels, size);
    };
    const int size = image.dtype == kF32 ? 4 : 2;
    look(image.image, size);
    look(image.out, size);
    look(image.grad_out, size);
    look(image.grad_image, sizeof(f32));
    tuned = tuned && layouts.compact && (layouts.planar || layouts.rgb || wide);
  }
  return tuned;
}

}  // namespace vfi::cuda
