// Rows of an output that is a weighted sum of K images, each read at positions of its own.
#pragma once
#include "warp_taps.h"

namespace vfi::VFI_VERSION {

// Where a vector of output pixels reads an image, with the weights of the taps times the gain of the sample.
struct Samples : Spots {
  Reals weight[4];
};

// Lanes where the sum of products may differ from what the contract says: a tap of weight 0 adds nothing,
// even one that is Inf or NaN, and a sum of -0 is -0. Only a result that is not finite, or 0 of taps with a
// sign, can.
template <class V, class I>
VFI_FN I doubtful(V result, I signs) {
  return (result - result != V{}) | ((result == V{}) & signs);
}

template <int K, class T, class Lane>
VFI_FN void locate(const Source<T> (&in)[K], const Lane& lane, Samples (&spots)[K], Offsets (&offsets)[K]) {
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    const Axis<Reals> ax = axis_at(lane.x[k], in[k].w, in[k].padding);
    const Axis<Reals> ay = axis_at(lane.y[k], in[k].h, in[k].padding);
    const Reals top = lane.gain[k] * ay.weight_lo, bottom = lane.gain[k] * ay.weight_hi;
    static_cast<Spots&>(spots[k]) = spots_at(ax, ay, in[k], offsets[k]);
    spots[k].weight[0] = top * ax.weight_lo;
    spots[k].weight[1] = top * ax.weight_hi;
    spots[k].weight[2] = bottom * ax.weight_lo;
    spots[k].weight[3] = bottom * ax.weight_hi;
  }
}

// Whether a vector reads rows far apart: the rows that its neighbours below read again then don't stay in
// cache.
template <class T>
VFI_FN bool is_tall(const Spots& s, const Source<T>& in) {
  constexpr int kRows = 4;
  return std::abs(s.second - s.first) > i64(kRows) * in.row;
}

// Calls body(n, y, begin, end) for columns begin .. end - 1 of rows [first, last) of n * h, which returns how
// many of its vectors are tall. After a band of rows where most are, the next one is taken in strips so
// narrow that some sixty rows of them stay in cache. `bytes`: what a pixel of all images takes.
template <class Body>
VFI_FN void for_each_strip(i64 first, i64 last, int h, int w, i64 bytes, const Body& body) {
  constexpr int kBand = 64, kStripBytes = 3 << 12;
  const int strip = std::max(int(kStripBytes / bytes / kPixels), 2) * kPixels;
  bool rough = false;
  for (i64 top = first; top < last; top += kBand) {
    const i64 bottom = std::min(top + kBand, last);
    const int width = rough ? strip : w;
    i64 tall = 0;
    for (int x = 0; x < w; x += width)
      for (i64 row = top; row < bottom; ++row) tall += body(row / h, int(row % h), x, std::min(x + width, w));
    rough = 2 * kPixels * tall > (bottom - top) * w;
  }
}

// Where channels of pixels are written.
template <class T>
struct Target {
  T* data;
  i64 channel, pixel;  // strides
};

// C channels of kPixels pixels, of planes or of a mixture of planes and RGB; `out` is in planes where they
// are. Returns the doubtful lanes.
template <Layout layout, int C, int K, class T, class OffsetsOf>
VFI_FN Ints planar_pixels(const Source<T> (&in)[K], const Samples (&spots)[K], const OffsetsOf& offsets_of,
                          i64 c, bool ahead, const Target<T>& out) {
  Reals sums[C] = {};
  Ints signs[C] = {}, doubt = {};
#pragma GCC unroll 2
  for (int k = 0; k < K; ++k) {
    const auto add = [&](int i, int j, Reals tap) __attribute__((always_inline)) {
      sums[i] = fma(spots[k].weight[j], tap, sums[i]);
      if constexpr (!std::is_same_v<T, u8>) signs[i] |= same_bits<Ints>(tap);
    };
    if constexpr (layout == Layout::kMixed)
      if (in[k].pixel != 1) {
        fetch_ahead<kColours>(in[k], spots[k]);
        each_colour_tap(in[k], offsets_of(k), add);
        continue;
      }
    const T* plane = in[k].data + c * in[k].channel;
    if (ahead)
      for (int i = 0; i < C; ++i)
        __builtin_prefetch(plane + i * in[k].channel + spots[k].base[0] + i64(kRowsAhead) * in[k].row);
    each_tap<C>(plane, in[k], spots[k], [&]() __attribute__((always_inline)) { return offsets_of(k); }, add);
  }
  for (int i = 0; i < C; ++i) {
    doubt |= doubtful(sums[i], signs[i]);
    T* to = out.data + (c + i) * out.channel;
    if constexpr (layout == Layout::kMixed)
      Lanes<Reals>::write(to, out.pixel, sums[i]);
    else
      save_as(to, sums[i]);
  }
  return doubt;
}

// Columns begin .. end - 1 of a row of w, of few planes with pixels side by side. Located vector by vector:
// so the weights stay in registers. lane_at(x) says where kPixels pixels from x on read; exact(x) computes
// them by the rules. Returns how many vectors are tall.
template <Layout layout, int K, class T, class At, class Exact>
VFI_FN int planar_row(const Source<T> (&in)[K], int channels, int begin, int end, int w, const Target<T>& out,
                      const At& lane_at, const Exact& exact) {
  constexpr int kLine = 64 / sizeof(T);
  int tall = 0;
  for (; begin < end; begin += kPixels) {
    const int x = std::min(begin, w - kPixels);  // the last vector overlaps the one before
    const auto lane = lane_at(x);
    Samples spots[K];
    Offsets offsets[K];
    locate(in, lane, spots, offsets);
    tall += is_tall(spots[0], in[0]);
    const auto offsets_of = [&](int k) __attribute__((always_inline)) { return offsets[k].one_by_one(); };
    const bool ahead = x % kLine < kPixels;
    const Target<T> to = {out.data + x * out.pixel, out.channel, out.pixel};
    Ints doubt = {};
    int c = 0;
    for (; c + 3 <= channels; c += 3) doubt |= planar_pixels<layout, 3>(in, spots, offsets_of, c, ahead, to);
    if constexpr (layout == Layout::kPlanar)
      for (; c < channels; ++c) doubt |= planar_pixels<layout, 1>(in, spots, offsets_of, c, ahead, to);
    if (__builtin_expect(sign_bits(doubt) != 0, 0)) exact(x);
  }
  return tall;
}

}  // namespace vfi::VFI_VERSION
