// sepconv, a sum of one or two adaptive separable convolutions. The contract is in
// vfi_kernels/ops/sepconv.py.
#pragma once
#include "pair.h"

namespace vfi {

constexpr int kMaxTerms = 2;

// One image with its kernels: adds sum_ij image[y + i - top, x + j - left] vertical[i] horizontal[j].
template <class T, class F>
struct SepconvTerm {
  View<const T> image;        // [n, c, image_h, image_w]
  View<const F> vertical;     // [n, kv, h, w]
  View<const F> horizontal;   // [n, kh, h, w]
  View<sum_t<T>> grad_image;  // like image; null where not wanted, like all below
  View<F> grad_vertical, grad_horizontal;
  int kv, kh;
  int image_h, image_w;
  int top, left;  // rows and columns of replicated border before the image: 0 for "valid"
};

template <class T, class F>
struct SepconvParams {
  SepconvTerm<T, F> term[kMaxTerms];
  View<T> out;             // [n, c, h, w]
  View<const T> grad_out;  // [n, c, h, w]; backward only
  int terms;
  int selected;  // the term whose gradients a backward kernel computes
  int n, c, h, w;
  int coarse;  // whether float32 may be multiplied with float16's precision
};

// The row or column of the image behind a padded position. "valid" needs no clamp and is not changed by it.
VFI_FN int clamped(int position, int size) {
  return position < 0 ? 0 : position < size ? position : size - 1;
}

// Padded positions that read pixel i of an axis are [first, last]: the edge pixels stand for the whole
// border. taps is the number of taps along the axis, extent the output's size, so the padded axis has extent
// + taps - 1 positions.
struct Span {
  int first, last;
};
VFI_FN Span positions_of(int i, int size, int before, int extent, int taps) {
  return {i == 0 ? 0 : i + before, i == size - 1 ? extent + taps - 2 : i + before};
}

}  // namespace vfi
