// What warp_blend and voxel_flow share: two frames, each sampled at a position of its own, and a weighted
// sum.
#pragma once
#include "sample.h"

namespace vfi {

// Tiles of the output, for sums in a fixed order on CUDA (cuda/ordered.cuh).
constexpr int kOrderedWidth = 32, kOrderedHeight = 16;

// How many numbers say which rectangle of a frame each tile of n images reads, for so many frames.
VFI_FN i64 reach_size(int frames, i64 n, i64 h, i64 w) {
  const i64 columns = (w + kOrderedWidth - 1) / kOrderedWidth,
            rows = (h + kOrderedHeight - 1) / kOrderedHeight;
  return 4 * frames * n * rows * columns;
}

template <class T>
struct FramePair {
  View<const T> frame0, frame1;             // [n / repeat, c, h, w]
  View<T> out;                              // [n, c, h, w]
  View<const T> grad_out;                   // [n, c, h, w]; backward only, like all below
  View<sum_t<T>> grad_frame0, grad_frame1;  // like the frames; null where not wanted
  int n, c, h, w;
  int repeat;   // frame i serves entries i * repeat .. (i + 1) * repeat - 1
  int padding;  // Padding
  int* reach;   // room for reach_size(2, ...) numbers: sums in a fixed order; null: in any order
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
