// Rows of many channels. They are located in spans, and then sampled image by image and a few planes at a
// time: pixel by pixel, dozens of planes would be read side by side, and those that start at multiples of 4
// KB push each other out of the cache. Images with the same strides share what was located.
#pragma once
#include "warp_rows.h"

namespace vfi::VFI_VERSION {

constexpr int kVectors = 16, kSpan = kVectors * kPixels;

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
  Layout layout;  // of the images
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

// Locates columns begin .. end - 1 of a row of w span by span, and calls body(span). lane_at(x)
// says where kPixels pixels from x on read. Returns how many vectors are tall.
template <int K, class At, class Body>
VFI_FN int for_each_span(const Source<void> (&in)[K], int begin, int end, int w, const At& lane_at,
                         const Body& body) {
  int tall = 0;
  for (; begin < end; begin += kSpan) {
    Span<K> span;
    for (int x = begin; x < std::min(begin + kSpan, end); x += kPixels) {
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
VFI_FN u32 sample_planes(const Sources<T, K>& sources, const Row<K>& row, const Span<K>& span, i64 c) {
  constexpr int kLine = 64 / sizeof(T);
  u32 again = 0;
  for (int v = 0; v < span.count; ++v) {
    const Located<K>& located = span.vectors[v];
    const auto offsets_of = [&](int k) __attribute__((always_inline)) { return located.offsets[k].lane; };
    const Target<T> out = {static_cast<T*>(row.out) + located.x, row.channel, 1};
    const Ints doubt = planar_pixels<Layout::kPlanar, C>(sources.in, located.spots, offsets_of, c,
                                                         located.x % kLine < kPixels, out);
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
  for (; c + 3 <= row.channels; c += 3) again |= sample_planes<3>(sources, row, span, c);
  for (; c < row.channels; ++c) again |= sample_planes<1>(sources, row, span, c);
  return again;
}

}  // namespace vfi::VFI_VERSION
