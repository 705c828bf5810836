// Kernels of sepconv: one thread an output (or gradient) pixel, plain loops over the taps. Nothing is
// scattered: the image gradient is gathered, so all gradients are deterministic.
#pragma once
#include "../math/sepconv.h"
#include "portable.cuh"

namespace vfi {

// A pixel of the result.
template <class T, class F>
__device__ __forceinline__ sum_t<T> sepconv_sum(const SepconvParams<T, F>& p, i64 n, int c, int y, int x) {
  using A = sum_t<T>;
  A sum = 0;
  for (int t = 0; t < p.terms; ++t) {
    const SepconvTerm<T, F>& term = p.term[t];
    for (int i = 0; i < term.kv; ++i) {
      const T* row = term.image.at(n, c, clamped(y + i - term.top, term.image_h), 0);
      A line = 0;
      for (int j = 0; j < term.kh; ++j)
        line += number<A>(row[clamped(x + j - term.left, term.image_w) * term.image.x]) *
                read<A>(term.horizontal, n, j, y, x);
      sum += line * read<A>(term.vertical, n, i, y, x);
    }
  }
  return sum;
}

// Without a number of blocks some types spill on sm_80.
template <class T, class F>
__global__ void __launch_bounds__(kThreads, kMinBlocks) sepconv_forward(const SepconvParams<T, F> p) {
  for_each_pixel(p.n, p.h, p.w, [&](i64 n, int y, int x) {
    for (int c = 0; c < p.c; ++c) store(p.out.at(n, c, y, x), sepconv_sum(p, n, c, y, x));
  });
}

// The gradient of vertical tap i of a pixel.
template <class T, class F>
__device__ __forceinline__ sum_t<T> sepconv_vertical(const SepconvParams<T, F>& p, i64 n, int i, int y,
                                                     int x) {
  using A = sum_t<T>;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  A sum = 0;
  for (int c = 0; c < p.c; ++c) {
    const T* row = term.image.at(n, c, clamped(y + i - term.top, term.image_h), 0);
    A line = 0;
    for (int j = 0; j < term.kh; ++j)
      line += number<A>(row[clamped(x + j - term.left, term.image_w) * term.image.x]) *
              read<A>(term.horizontal, n, j, y, x);
    sum += line * number<A>(*p.grad_out.at(n, c, y, x));
  }
  return sum;
}

// One thread a pixel and tap: blockIdx.y strides over the taps of a tensor and the rows together.
template <class T, class F>
__global__ void __launch_bounds__(kThreads, kLightBlocks)
    sepconv_backward_vertical(const SepconvParams<T, F> p) {
  const SepconvTerm<T, F>& term = p.term[p.selected];
  for_each_pixel(p.n, i64(p.h) * term.kv, p.w, [&](i64 n, i64 row_and_tap, int x) {
    const int y = int(row_and_tap / term.kv), i = int(row_and_tap % term.kv);
    store(term.grad_vertical.at(n, i, y, x), sepconv_vertical(p, n, i, y, x));
  });
}

// The gradient of horizontal tap j of a pixel.
template <class T, class F>
__device__ __forceinline__ sum_t<T> sepconv_horizontal(const SepconvParams<T, F>& p, i64 n, int j, int y,
                                                       int x) {
  using A = sum_t<T>;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const int column = clamped(x + j - term.left, term.image_w);
  A sum = 0;
  for (int c = 0; c < p.c; ++c) {
    A line = 0;
    for (int i = 0; i < term.kv; ++i)
      line += number<A>(*term.image.at(n, c, clamped(y + i - term.top, term.image_h), column)) *
              read<A>(term.vertical, n, i, y, x);
    sum += line * number<A>(*p.grad_out.at(n, c, y, x));
  }
  return sum;
}

template <class T, class F>
__global__ void __launch_bounds__(kThreads, kLightBlocks)
    sepconv_backward_horizontal(const SepconvParams<T, F> p) {
  const SepconvTerm<T, F>& term = p.term[p.selected];
  for_each_pixel(p.n, i64(p.h) * term.kh, p.w, [&](i64 n, i64 row_and_tap, int x) {
    const int y = int(row_and_tap / term.kh), j = int(row_and_tap % term.kh);
    store(term.grad_horizontal.at(n, j, y, x), sepconv_horizontal(p, n, j, y, x));
  });
}

// The gradient of a pixel of the image: every output that read it, directly or as replicated border.
template <class T, class F>
__device__ __forceinline__ sum_t<T> sepconv_image(const SepconvParams<T, F>& p, i64 n, int c, int y, int x) {
  using A = sum_t<T>;
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const Span rows = positions_of(y, term.image_h, term.top, p.h, term.kv);
  const Span columns = positions_of(x, term.image_w, term.left, p.w, term.kh);
  A sum = 0;
  for (int r = rows.first; r <= rows.last; ++r)
    for (int i = 0; i < term.kv; ++i) {
      const int oy = r - i;
      if (oy < 0 || oy >= p.h) continue;
      for (int s = columns.first; s <= columns.last; ++s)
        for (int j = 0; j < term.kh; ++j) {
          const int ox = s - j;
          if (ox < 0 || ox >= p.w) continue;
          sum += number<A>(*p.grad_out.at(n, c, oy, ox)) * read<A>(term.vertical, n, i, oy, ox) *
                 read<A>(term.horizontal, n, j, oy, ox);
        }
    }
  return sum;
}

// One thread an image pixel.
template <class T, class F>
__global__ void __launch_bounds__(kThreads) sepconv_backward_image(const SepconvParams<T, F> p) {
  const SepconvTerm<T, F>& term = p.term[p.selected];
  for_each_pixel(p.n, term.image_h, term.image_w, [&](i64 n, int y, int x) {
    for (int c = 0; c < p.c; ++c) *term.grad_image.at(n, c, y, x) = sepconv_image(p, n, c, y, x);
  });
}

}  // namespace vfi
