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
    if constexpr (layout != Layout::kPlanar)
      if (layout == Layout::kRgb || in[k].pixel != 1) {
        fetch_ahead<kColours>(in[k], spots[k]);
        each_colour_tap(in[k], offsets[k].one_by_one(), add);
        continue;
      }
    const T* plane = in[k].data + c * in[k].channel;
    if (ahead)
      for (int i = 0; i < C; ++i)
        __builtin_prefetch(plane + i * in[k].channel + spots[k].base[0] + i64(kRowsAhead) * in[k].row);
    const auto base = [&]() __attribute__((always_inline)) { return offsets[k].one_by_one(); };
    each_tap<C>(plane, in[k], spots[k], base, add);
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
