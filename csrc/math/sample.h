// Bilinear sampling of one position: which four pixels, and with which weights. Pixel centres lie on integers.
#pragma once
#include "number.h"

namespace vfi {

enum Padding : int { kBorder = 0, kZeros = 1 };

// The two pixels that a coordinate lies between, along one axis.
template <class A> struct Axis {
  int lo, hi;            // indices inside the image, also where the pixel is outside
  A weight_lo, weight_hi;  // 0 for a pixel outside
  A slope_lo, slope_hi;    // derivatives of the weights by the coordinate; 0 where the coordinate was clamped
};

template <class A> VFI_FN Axis<A> axis_at(A coordinate, int size, int padding) {
  A c = coordinate;
  A moves = 1;
  if (padding == kBorder) {
    // Negated comparisons, so that NaN is read at 0; the ends themselves count as clamped, as in grid_sample.
    if (!(c < A(size - 1))) moves = 0;
    if (!(c > 0)) moves = 0;
    c = c < A(size - 1) ? c : A(size - 1);
    c = coordinate > 0 ? c : A(0);
  } else {
    if (c != c) moves = 0;
    c = c != c ? A(0) : c;
    c = c > A(-2) ? c : A(-2);  // two beyond the edge no pixel counts any more: only keeps the integers small
    c = c < A(size) ? c : A(size);
  }
  int lo = int(c);
  lo -= A(lo) > c;  // floor, without a call
  const int hi = lo + 1;
  const A part = c - A(lo);
  const bool lo_inside = lo >= 0 && lo < size, hi_inside = hi >= 0 && hi < size;
  Axis<A> axis;
  axis.lo = lo_inside ? lo : 0;
  axis.hi = hi_inside ? hi : axis.lo;
  axis.weight_lo = lo_inside ? 1 - part : A(0);
  axis.weight_hi = hi_inside ? part : A(0);
  axis.slope_lo = lo_inside ? -moves : A(0);
  axis.slope_hi = hi_inside ? moves : A(0);
  return axis;
}

// The four pixels of a position: top left, top right, bottom left, bottom right.
template <class A> struct Taps {
  i64 offset[4];  // elements from the start of the plane
  A weight[4];
  A dx[4], dy[4];  // derivatives of the weights by x and y
};

// x, y: position in pixels. h, w: size of the plane. stride_y, stride_x: of the plane, in elements.
template <class A> VFI_FN Taps<A> taps_at(A x, A y, int h, int w, int padding, i64 stride_y, i64 stride_x) {
  const Axis<A> ax = axis_at(x, w, padding), ay = axis_at(y, h, padding);
  const i64 left = ax.lo * stride_x, right = ax.hi * stride_x, top = ay.lo * stride_y, bottom = ay.hi * stride_y;
  return {{top + left, top + right, bottom + left, bottom + right},
          {ay.weight_lo * ax.weight_lo, ay.weight_lo * ax.weight_hi, ay.weight_hi * ax.weight_lo,
           ay.weight_hi * ax.weight_hi},
          {ay.weight_lo * ax.slope_lo, ay.weight_lo * ax.slope_hi, ay.weight_hi * ax.slope_lo,
           ay.weight_hi * ax.slope_hi},
          {ay.slope_lo * ax.weight_lo, ay.slope_lo * ax.weight_hi, ay.slope_hi * ax.weight_lo,
           ay.slope_hi * ax.weight_hi}};
}

// weight * value, where a pixel of weight 0 adds nothing: an Inf beside the position must not turn it into NaN. Adding -0
// leaves every number as it is, -0 included, so zero flow returns the image bit for bit.
template <class A> VFI_FN A weighted(A weight, A value) { return weight == 0 ? A(-0.0) : weight * value; }

// The value of a pixel as gradients see it: by the same rule, what is not finite counts as 0 where the weight is 0.
template <class A> VFI_FN A counted(A weight, A value) { return weight == 0 && !is_finite(value) ? A(0) : value; }

template <class A, class T> VFI_FN A sample(const T* plane, const Taps<A>& taps) {
  A sum = A(-0.0);
  for (int k = 0; k < 4; ++k) sum += weighted(taps.weight[k], number<A>(plane[taps.offset[k]]));
  return sum;
}

// A sample and its derivatives by the position.
template <class A> struct Slope { A value, dx, dy; };

template <class A, class T> VFI_FN Slope<A> sample_slope(const T* plane, const Taps<A>& taps) {
  Slope<A> s = {0, 0, 0};
  for (int k = 0; k < 4; ++k) {
    const A v = counted(taps.weight[k], number<A>(plane[taps.offset[k]]));
    s.value += taps.weight[k] * v;
    s.dx += taps.dx[k] * v;
    s.dy += taps.dy[k] * v;
  }
  return s;
}

}  // namespace vfi
