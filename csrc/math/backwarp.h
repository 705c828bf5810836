// backwarp, one pixel: several tensors along one flow. The contract is in vfi_kernels/ops/backwarp.py.
#pragma once
#include "pair.h"

namespace vfi {

constexpr int kMaxImages = 8;  // images a launch; longer lists take several

// One of the tensors. Its dtype is known at run time, so that tensors of different dtypes share a launch.
template <class A>
struct BackwarpImage {
  View<const void> image;     // [n / repeat, channels, h, w]
  View<void> out;             // [n, channels, h, w]
  View<const void> grad_out;  // [n, channels, h, w]; backward only
  View<A> grad_image;         // like image; null where not wanted
  int channels;
  int dtype;  // Dtype
};

template <class F, class A>
struct BackwarpParams {
  BackwarpImage<A> images[kMaxImages];
  View<const F> flow;  // [n, 2, h, w] dx, dy in pixels
  View<F> grad_flow;   // like flow; null where not wanted
  int count;           // of images
  int n, h, w;
  int repeat;   // image i serves entries i * repeat .. (i + 1) * repeat - 1
  int padding;  // Padding
  int* reach;   // room for reach_size(1, ...) numbers: sums in a fixed order; null: in any order
};

template <class T, class V>
VFI_FN View<T> typed(const View<V>& v) {
  return {static_cast<T*>(v.data), v.n, v.c, v.y, v.x};
}

// Calls f(T{}) with the image type that dtype names. Sums in float64 belong to float64 images only.
template <class A, class Fn>
VFI_FN void with_image_type(int dtype, const Fn& f) {
  if constexpr (sizeof(A) == sizeof(double)) {
    f(f64{});
  } else {
    if (dtype == kF32) f(f32{});
    if (dtype == kF16) f(f16{});
    if (dtype == kBF16) f(bf16{});
  }
}

template <class F, class A>
struct Backwarp {
  using Sum = A;
  using Params = BackwarpParams<F, A>;

  // P: Params, or anything with a flow.
  template <class V = A, class P>
  static VFI_FN V x_at(const P& p, i64 n, i64 y, i64 x) {
    return Lanes<V>::position(x) + read<V>(p.flow, n, 0, y, x);
  }
  template <class V = A, class P>
  static VFI_FN V y_at(const P& p, i64 n, i64 y, i64 x) {
    return A(y) + read<V>(p.flow, n, 1, y, x);
  }
};

// X(flow type, sum type)
#define VFI_FOR_EACH_BACKWARP(X) X(f32, f32) X(f16, f32) X(bf16, f32) X(f32, f64) X(f64, f64)

}  // namespace vfi
