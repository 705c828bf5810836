// What warp_blend and voxel_flow share: two frames, each sampled at a position of its own, and a weighted
// sum.
#pragma once
#include "sample.h"

namespace vfi {

template <class T>
struct FramePair {
  View<const T> frame0, frame1;             // [n / repeat, c, h, w]
  View<T> out;                              // [n, c, h, w]
  View<const T> grad_out;                   // [n, c, h, w]; backward only, like all below
  View<sum_t<T>> grad_frame0, grad_frame1;  // like the frames; null where not wanted
  int n, c, h, w;
  int repeat;   // frame i serves entries i * repeat .. (i + 1) * repeat - 1
  int padding;  // Padding
};

// Where one output pixel (or a vector of neighbours) reads the two frames, and the factor of each sample:
// out = gain[0] s[0] + gain[1] s[1].
template <class V>
struct PairLane {
  V x[2], y[2], gain[2];
};

template <class V, class F>
VFI_FN V read(const View<const F>& view, i64 n, i64 c, i64 y, i64 x) {
  return Lanes<V>::read(view.at(n, c, y, x), view.x);
}

template <class V, class F>
VFI_FN void write(const View<F>& view, i64 n, i64 c, i64 y, i64 x, V v) {
  Lanes<V>::write(view.at(n, c, y, x), view.x, v);
}

}  // namespace vfi
