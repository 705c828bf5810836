// Bilinear sampling of one position: which four pixels, and with which weights. Pixel centres lie on
// integers.
#pragma once
#include "number.h"

namespace vfi {

enum Padding : int { kBorder = 0, kZeros = 1 };

// The two pixels that a coordinate lies between, along one axis. They are neighbours inside the image, also
// where the position is outside: then one weight or both are 0. In an image of one pixel both are that pixel,
// and lo has all the weight.
template <class V>
struct Axis {
  typename Lanes<V>::Int lo, hi;
  V weight_lo, weight_hi;
  V slope_lo, slope_hi;  // derivatives of the weights by the coordinate; 0 where the coordinate was clamped
};

// axis_at(coordinate, size, kBorder) in fewer steps: the tents of a position that is clamped are d and 1 - d.
template <class V>
VFI_FN Axis<V> border_axis_at(V coordinate, int size) {
  using Int = typename Lanes<V>::Int;
  const V zero = {}, one = zero + 1, end = Lanes<V>::real(Int{} + (size - 1));
  const V c = smaller(larger(coordinate, zero), end);  // NaN becomes 0
  const V moves = ((coordinate > zero) & (coordinate < end)) ? one : zero;
  Axis<V> axis;
  axis.lo = smaller(Lanes<V>::truncated(c), Int{} + (size > 1 ? size - 2 : 0));
  axis.hi = axis.lo + (size > 1 ? 1 : 0);
  axis.weight_hi = c - Lanes<V>::real(axis.lo);
  axis.weight_lo = one - axis.weight_hi;
  axis.slope_lo = -moves;
  axis.slope_hi = moves;
  return axis;
}

// V is a number, or a vector of them.
template <class V>
VFI_FN Axis<V> axis_at(V coordinate, int size, int padding) {
  // Not for numbers: a kernel whose padding is known at run time only would pay for both ways in registers.
  if (Lanes<V>::kMany && padding == kBorder) return border_axis_at(coordinate, size);
  using Int = typename Lanes<V>::Int;
  const V zero = {}, one = zero + 1;
  V c, moves;
  if (padding == kBorder) {
    // NaN fails every comparison and is read at 0; the ends themselves count as clamped, as in grid_sample.
    const V end = Lanes<V>::real(Int{} + (size - 1));
    moves = ((coordinate > zero) & (coordinate < end)) ? one : zero;
    c = coordinate > zero ? smaller(coordinate, end) : zero;
  } else {
    moves = coordinate == coordinate ? one : zero;
    c = coordinate == coordinate ? coordinate : zero;
    // From these ends on no pixel counts any more: only keeps the integers small.
    c = smaller(larger(c, zero - 2), Lanes<V>::real(Int{} + size));
  }
  Axis<V> axis;
  // Rounded towards 0, which is to floor: left of the image lo is 0 anyway.
  axis.lo = smaller(Lanes<V>::truncated(larger(c, zero)), Int{} + (size > 1 ? size - 2 : 0));
  axis.hi = axis.lo + (size > 1 ? 1 : 0);
  const V d = c - Lanes<V>::real(axis.lo);
  // Tents, in the form that is exact between the two pixels: there d and 1 - d.
  axis.weight_lo = larger(smaller(one + d, one - d), zero);
  axis.weight_hi = larger(smaller(d, one + one - d), zero);
  axis.slope_lo = ((d >= zero - 1) & (d < one)) ? (d < zero ? moves : -moves) : zero;
  axis.slope_hi = ((d >= zero) & (d < one + one)) ? (d < one ? moves : -moves) : zero;
  if (size == 1) axis.weight_hi = axis.slope_hi = zero;
  return axis;
}

// The four pixels of a position: top left, top right, bottom left, bottom right.
template <class A>
struct Taps {
  i64 offset[4];  // elements from the start of the plane
  A weight[4];
  A dx[4], dy[4];  // derivatives of the weights by x and y
};

// x, y: position in pixels. h, w: size of the plane. stride_y, stride_x: of the plane, in elements.
template <class A>
VFI_FN Taps<A> taps_at(A x, A y, int h, int w, int padding, i64 stride_y, i64 stride_x) {
  const Axis<A> ax = axis_at(x, w, padding), ay = axis_at(y, h, padding);
  const i64 left = ax.lo * stride_x, right = ax.hi * stride_x, top = ay.lo * stride_y,
            bottom = ay.hi * stride_y;
  return {{top + left, top + right, bottom + left, bottom + right},
          {ay.weight_lo * ax.weight_lo, ay.weight_lo * ax.weight_hi, ay.weight_hi * ax.weight_lo,
           ay.weight_hi * ax.weight_hi},
          {ay.weight_lo * ax.slope_lo, ay.weight_lo * ax.slope_hi, ay.weight_hi * ax.slope_lo,
           ay.weight_hi * ax.slope_hi},
          {ay.slope_lo * ax.weight_lo, ay.slope_lo * ax.weight_hi, ay.slope_hi * ax.weight_lo,
           ay.slope_hi * ax.weight_hi}};
}

// weight * value, where a pixel of weight 0 adds nothing: an Inf beside the position must not turn it into
// NaN. Weights are never -0, so the product is then -0. Adding it leaves every number as it is, -0 included:
// zero flow returns the image bit for bit.
template <class A>
VFI_FN A weighted(A weight, A value) {
  return weight * (weight == 0 ? A(-1) : value);
}

// The value of a pixel as gradients see it: by the same rule, what is not finite counts as 0 where the weight
// is 0.
template <class A>
VFI_FN A counted(A weight, A value) {
  return weight == 0 && !is_finite(value) ? A(0) : value;
}

// What the sum of weighted() begins with: 0 where no pixel counts.
template <class A>
VFI_FN A empty_sum(const A (&weight)[4]) {
  return weight[0] + weight[1] + (weight[2] + weight[3]) == 0 ? A(0) : A(-0.0);
}

template <class A, class T>
VFI_FN A sample(const T* plane, const Taps<A>& taps) {
  A sum = empty_sum(taps.weight);
  for (int k = 0; k < 4; ++k) sum += weighted(taps.weight[k], number<A>(plane[taps.offset[k]]));
  return sum;
}

// A sample and its derivatives by the position; also their sums over the channels, each times its gradient.
template <class V>
struct Slope {
  V value, dx, dy;
};

template <class A, class T>
VFI_FN Slope<A> sample_slope(const T* plane, const Taps<A>& taps) {
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
