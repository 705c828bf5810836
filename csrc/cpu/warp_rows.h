// Rows of an output that is a weighted sum of K images, each read at positions of its own: located in spans,
// then sampled image by image and a few planes at a time. Pixel by pixel, dozens of planes would be read side
// by side, and 4 KB aligned ones push each other out of the cache.
#pragma once
#include "warp_taps.h"

namespace vfi::VFI_VERSION {

constexpr int kVectors = 16;

// The columns of a span. Three planes are read together anyway; then the shorter, the better does locating
// overlap with waiting for pixels.
constexpr int span_of(int channels) { return (channels > 3 ? kVectors : 4) * kPixels; }

// Where a vector of output pixels reads an image, with the weights of the taps times the gain of the sample.
struct Samples : Spots {
  Reals weight[4];
};

// Where the kPixels output pixels from column x on read the images.
template <int K>
struct Located {
  int x;
  Samples spots[K];
  Offsets offsets[K];
};
template <int K>
struct Span {
  int count = 0;
  Located<K> vectors[kVectors];
};

// A row of one output and what it is made of. Strides in elements of the type that the sampler knows.
template <int K>
struct Row {
  Source<void> in[K];
  void* out;
  i64 channel, pixel;  // strides of out
  int channels;
};

// Writes a span of a row. Returns which of its vectors the general loop must compute again, as bits.
template <int K>
using Sampler = u32 (*)(const Row<K>&, const Span<K>&);

template <class T, int K>
struct Sources {
  Source<T> in[K];
  explicit VFI_FN Sources(const Row<K>& row) {
    for (int k = 0; k < K; ++k) {
      const Source<void>& s = row.in[k];
      in[k] = {static_cast<const T*>(s.data), s.channel, s.row, s.pixel, s.extent, s.h, s.w, s.padding};
    }
  }
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
// many of its vectors are tall. After a band of rows where most are, the next one is taken in strips.
template <class Body>
VFI_FN void for_each_strip(i64 first, i64 last, int h, int w, const Body& body) {
  constexpr int kBand = 64, kStrip = 512;
  bool rough = false;
  for (i64 top = first; top < last; top += kBand) {
    const i64 bottom = std::min(top + kBand, last);
    const int width = rough ? kStrip : w;
    i64 tall = 0;
    for (int x = 0; x < w; x += width)
      for (i64 row = top; row < bottom; ++row) tall += body(row / h, int(row % h), x, std::min(x + width, w));
    rough = 2 * kPixels * tall > (bottom - top) * w;
  }
}

// Locates columns begin .. end - 1 of a row of w, `step` at a time, and calls body(span). lane_at(x) says
// where kPixels pixels from x on read. Returns how many vectors are tall.
template <int K, class At, class Body>
VFI_FN int for_each_span(const Source<void> (&in)[K], int begin, int end, int w, int step, const At& lane_at,
                         const Body& body) {
  int tall = 0;
  for (; begin < end; begin += step) {
    Span<K> span;
    for (int x = begin; x < std::min(begin + step, end); x += kPixels) {
      Located<K>& located = span.vectors[span.count++];
      located.x = std::min(x, w - kPixels);  // the last vector overlaps the one before
      locate(in, lane_at(located.x), located.spots, located.offsets);
      tall += is_tall(located.spots[0], in[0]);
    }
    body(span);
  }
  return tall;
}

// C planes from c on.
template <int C, class T, int K>
VFI_FN u32 planes(const Sources<T, K>& sources, const Row<K>& row, const Span<K>& span, i64 c) {
  constexpr int kLine = 64 / sizeof(T);
  T* out = static_cast<T*>(row.out) + c * row.channel;
  u32 again = 0;
  for (int v = 0; v < span.count; ++v) {
    const Located<K>& located = span.vectors[v];
    Reals sums[C] = {};
    Ints signs[C] = {}, doubt = {};
#pragma GCC unroll 2
    for (int k = 0; k < K; ++k) {
      const Source<T>& in = sources.in[k];
      const T* plane = in.data + c * in.channel;
      if (located.x % kLine < kPixels)
        for (int i = 0; i < C; ++i)
          __builtin_prefetch(plane + i * in.channel + located.offsets[k].lane[0] + i64(kRowsAhead) * in.row);
      each_tap<C>(
          plane, in, located.spots[k],
          [&]() __attribute__((always_inline)) { return located.offsets[k].lane; },
          [&](int i, int j, Reals tap) __attribute__((always_inline)) {
            sums[i] = fma(located.spots[k].weight[j], tap, sums[i]);
            if constexpr (!std::is_same_v<T, u8>) signs[i] |= same_bits<Ints>(tap);
          });
    }
    for (int i = 0; i < C; ++i) {
      doubt |= doubtful(sums[i], signs[i]);
      save_as(out + i * row.channel + located.x, sums[i]);
    }
    again |= u32(sign_bits(doubt) != 0) << v;
  }
  return again;
}

// Images and output in planes with pixels side by side.
template <class T, int K>
u32 sample_planar(const Row<K>& whole, const Span<K>& span) {
  const Row<K> row = whole;
  const Sources<T, K> sources(row);
  u32 again = 0;
  int c = 0;
  for (; c + 3 <= row.channels; c += 3) again |= planes<3>(sources, row, span, c);
  for (; c < row.channels; ++c) again |= planes<1>(sources, row, span, c);
  return again;
}

}  // namespace vfi::VFI_VERSION
