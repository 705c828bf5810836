// Samples and their derivatives by the position, as sums over the channels of gradient times sample. The sums
// of gradient times tap come first, one for each of the four taps; the rest is a few products of these.
#pragma once
#include "warp_taps.h"

namespace vfi::VFI_VERSION {

// Where a vector of output pixels reads an image.
struct Place {
  Axis<Reals> x, y;
};

VFI_FN Place place_at(Reals x, Reals y, int h, int w, int padding) {
  return {axis_at(x, w, padding), axis_at(y, h, padding)};
}

// Four numbers from each of from(0), from(1), ... and turned: number c of all lanes in values[c].
template <class From>
VFI_FN void load_fours(const From& from, Reals (&values)[4]) {
  // Register j has places j, j + 4, ...: turning four lanes of four registers each puts them in order.
  for (int j = 0; j < 4; ++j)
    values[j] = load_quads([&](int i) __attribute__((always_inline)) { return from(4 * i + j); });
  transpose_squares(values);
}

// Two neighbouring pixels of three channels, for every lane: whole pixels are loaded and turned.
template <class T>
VFI_FN void load_colours(const T* row, const int* base, Reals* left, Reals* right) {
  Reals first[4], last[4];
  load_fours([&](int i) __attribute__((always_inline)) { return row + base[i]; }, first);
  // The last four of the six values; four from the fourth on would end past the last pixel of the image.
  load_fours([&](int i) __attribute__((always_inline)) { return row + base[i] + 2; }, last);
  for (int c = 0; c < kColours; ++c) left[c] = first[c];
  right[0] = first[3];
  right[1] = last[2];
  right[2] = last[3];
}

// As each_tap, of three channels side by side.
template <class T, class Use>
VFI_FN void each_colour_tap(const Source<T>& in, const int* base, const Use& use) {
#pragma GCC unroll 2
  for (int r = 0; r < 2; ++r) {
    Reals left[kColours], right[kColours];
    load_colours(in.data + r * in.row, base, left, right);
#pragma GCC unroll 3
    for (int c = 0; c < kColours; ++c) {
      use(c, 2 * r, left[c]);
      use(c, 2 * r + 1, right[c]);
    }
  }
}

// Adds the products of channels c .. c + C - 1. Images without data have none.
template <Layout layout, int C, int K, class T, class Grad>
VFI_FN void add_products(const Source<T> (&in)[K], const Spots (&spots)[K], Offsets (&offsets)[K], int c,
                         bool ahead, const Grad& grad_at, Reals (&dots)[K][4]) {
  Reals grad[C];
  for (int i = 0; i < C; ++i) grad[i] = grad_at(c + i);
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    if (!in[k].data) continue;
    const auto add = [&](int i, int j, Reals tap)
                         __attribute__((always_inline)) { dots[k][j] = fma(grad[i], tap, dots[k][j]); };
    const T* below = in[k].data + spots[k].base[0] + i64(kRowsAhead) * in[k].row;
    if constexpr (layout == Layout::kRgb) {
      for (int i = 0; i < kColours * kPixels; i += 64 / sizeof(T)) __builtin_prefetch(below + i);
      each_colour_tap(in[k], offsets[k].one_by_one(), add);
    } else {
      if (ahead)
        for (int i = 0; i < C; ++i) __builtin_prefetch(below + (c + i) * in[k].channel);
      const auto base = [&]() __attribute__((always_inline)) { return offsets[k].one_by_one(); };
      each_tap<C>(in[k].data + c * in[k].channel, in[k], spots[k], base, add);
    }
  }
}

// Two values along an axis, by its weights or by its slopes.
VFI_FN Reals mixed(Reals lo, Reals hi, Reals of_lo, Reals of_hi) { return fma(hi, of_hi, lo * of_lo); }

VFI_FN Slope<Reals> slope_of(const Place& at, const Reals (&dots)[4]) {
  const Axis<Reals>&x = at.x, &y = at.y;
  const Reals top = mixed(x.weight_lo, x.weight_hi, dots[0], dots[1]);
  const Reals bottom = mixed(x.weight_lo, x.weight_hi, dots[2], dots[3]);
  Slope<Reals> s;
  s.value = mixed(y.weight_lo, y.weight_hi, top, bottom);
  s.dx = mixed(y.weight_lo, y.weight_hi, mixed(x.slope_lo, x.slope_hi, dots[0], dots[1]),
               mixed(x.slope_lo, x.slope_hi, dots[2], dots[3]));
  s.dy = mixed(y.slope_lo, y.slope_hi, top, bottom);
  return s;
}

// The lanes that may differ from what the contract says: an Inf or NaN at a tap of weight 0 counts as 0, and
// any other makes dx what is not finite as well.
VFI_FN Ints doubtful(const Slope<Reals>& slope) { return slope.dx - slope.dx != Reals{}; }

// The sums of kPixels output pixels from column x on, in K images; grad_at(c) are their gradients in a
// channel. Returns the doubtful lanes.
template <Layout layout, int K, class T, class Grad>
VFI_FN Ints slopes_at(const Source<T> (&in)[K], const Place (&places)[K], int channels, int x,
                      const Grad& grad_at, Slope<Reals> (&slopes)[K]) {
  Spots spots[K];
  Offsets offsets[K];
  Reals dots[K][4] = {};
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) spots[k] = spots_at(places[k].x, places[k].y, in[k], offsets[k]);
  const bool ahead = x % (64 / sizeof(T)) < kPixels;
  int c = 0;
  for (; c + 3 <= channels; c += 3) add_products<layout, 3>(in, spots, offsets, c, ahead, grad_at, dots);
  if constexpr (layout == Layout::kPlanar)
    for (; c < channels; ++c) add_products<layout, 1>(in, spots, offsets, c, ahead, grad_at, dots);
  Ints doubt = {};
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    slopes[k] = slope_of(places[k], dots[k]);
    doubt |= doubtful(slopes[k]);
  }
  return doubt;
}

}  // namespace vfi::VFI_VERSION
