// Bilinear taps of a vector of neighbouring output pixels. Networks' flows are smooth, so the pixels that a
// vector reads mostly lie side by side in one row or in two pieces of rows, and are loaded whole; otherwise
// the two taps of a row come in one load.
#pragma once
#include "vector.h"

namespace vfi::VFI_VERSION {

using Reals = Vector<float>;
using Ints = Vector<int>;
using Words = Vector<u32>;
constexpr int kPixels = kLanes<float>;
constexpr u32 kAllLanes = (1u << kPixels) - 1;
constexpr int kColours = 3;

// How far ahead the pixels are fetched, in rows: flows wander between rows, and then the processor itself
// doesn't.
constexpr int kRowsAhead = 3;

// An image that a row of output pixels reads, from one entry of a batch.
template <class T>
struct Source {
  const T* data;
  i64 channel;     // stride
  int row, pixel;  // strides
  int extent;      // elements from the first to past the last one of a plane
  int h, w, padding;
};

// What the vector loops read of an image; all 0 where they can't.
template <class T>
Source<T> source_of(const View<const T>& image, int h, int w, int padding) {
  const i64 extent = (h - 1) * image.y + w * image.x;
  if (h < 2 || w < kPixels || extent > 0x7fffffff) return {};
  return {image.data, image.c, int(image.y), int(image.x), int(extent), h, w, padding};
}

// Layouts that have loops of their own: pixels side by side in planes; the channels of a pixel side by side,
// three and nothing between pixels, or any other number; some images of the first kind and some of the
// second. kOther takes the general ones.
enum class Layout { kPlanar, kRgb, kPixels, kMixed, kOther };

// Of the strides between pixels and between channels.
inline Layout layout_of(i64 pixel, i64 channel, int channels) {
  if (pixel == 1) return Layout::kPlanar;
  if (channel != 1 || channels == 1) return Layout::kOther;
  return channels == kColours && pixel == kColours ? Layout::kRgb : Layout::kPixels;
}
// Of all images together.
template <class T, int K>
Layout layout_of(const Source<T> (&in)[K], int channels) {
  Layout all = layout_of(in[0].pixel, in[0].channel, channels);
  for (const Source<T>& source : in) {
    if (!source.data) return Layout::kOther;
    const Layout one = layout_of(source.pixel, source.channel, channels);
    const auto both = [&](Layout a, Layout b) { return (one == a && all == b) || (one == b && all == a); };
    if (both(Layout::kRgb, Layout::kPixels))
      all = Layout::kPixels;
    else if (both(Layout::kRgb, Layout::kPlanar))
      all = Layout::kMixed;
    else if (one != all)
      all = Layout::kOther;
  }
  return all;
}

// Where the taps of a vector are.
struct Spots {
  // The top left ones.
  Ints base;
  // 1: from `first` on side by side. 2: in two pieces, lane i at first + i or second + i. 0: scattered.
  int runs, first, second;
  Ints in_first;
};

// The lanes of Spots::base in memory, for where they are needed one by one.
struct Offsets {
  int lane[kPixels];
  // Without the barrier GCC takes them out, or loads them, for every path and not only for the one that needs
  // them.
  VFI_FN const int* one_by_one() {
    asm("" : "+m"(lane));
    return lane;
  }
};

template <class T>
VFI_FN Spots spots_at(const Axis<Reals>& ax, const Axis<Reals>& ay, const Source<T>& in, Offsets& offsets) {
  Spots s;
  s.base = ay.lo * in.row + ax.lo * in.pixel;
  save(offsets.lane, s.base);
  const Ints start = s.base - Lanes<Reals>::count() * in.pixel;
  s.first = start[0];
  s.second = start[kPixels - 1];
  s.in_first = start == s.first;
  s.runs = 0;
  if (sign_bits(s.in_first) == kAllLanes) {
    s.runs = 1;
  } else if (sign_bits(s.in_first | (start == s.second)) == kAllLanes) {
    // Both pieces are loaded in full length, also where their other end lies outside.
    const int last = in.extent - in.row - (kPixels + 1) * in.pixel;
    if (last >= 0 && u32(s.first) <= u32(last) && u32(s.second) <= u32(last)) s.runs = 2;
  }
  return s;
}

// Pixels base and base + 1 of a row, for every lane.
VFI_FN void load_pairs(const float* row, const int* base, Reals& left, Reals& right) {
  using Pairs = Vector<double>;
  const auto pair = [&](int i) __attribute__((always_inline)) {
    double two;
    memcpy(&two, row + base[i], sizeof(two));
    return two;
  };
  // In an order that sorts left from right within 16 bytes, which is what a shuffle can do at once.
  const auto pairs = [&](int first) __attribute__((always_inline)) {
    const auto at = [&](int i) __attribute__((always_inline)) { return pair(i / 2 * 4 + i % 2 + first); };
    return same_bits<Reals>(build<Pairs>(at));
  };
  const Reals a = pairs(0), b = pairs(2);
  const auto from = [](int i) { return i / 4 * 4 + i % 2 * 2 + (i % 4 < 2 ? 0 : kPixels); };
  left = shuffled(a, b, build<Ints>(from));
  right = shuffled(a, b, build<Ints>([&](int i) { return from(i) + 1; }));
}
template <class T>
VFI_FN void load_pairs(const T* row, const int* base, Reals& left, Reals& right) {
  using Pair = std::conditional_t<sizeof(T) == 1, unsigned short, u32>;
  const auto pairs = build<Vector<Pair, kPixels>>([&](int i) __attribute__((always_inline)) {
    Pair two;
    memcpy(&two, row + base[i], sizeof(two));
    return two;
  });
  const Words words = __builtin_convertvector(pairs, Words);
  constexpr int kBits = 8 * sizeof(T);
  left = value_of<T, Reals>(words & ((1u << kBits) - 1));
  right = value_of<T, Reals>(words >> kBits);
}

// Calls use(c, k, tap) for the taps of C planes: top left, top right, bottom left, bottom right. base() gives
// the lanes of Spots::base in memory.
template <int C, class T, class Base, class Use>
VFI_FN void each_tap(const T* plane, const Source<T>& in, const Spots& s, const Base& base, const Use& use) {
  const int row = in.row;
  const auto each = [&](const auto& load_taps) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c, plane += in.channel) {
      Reals tap[4];
      load_taps(tap);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) use(c, k, tap[k]);
    }
  };
  if (s.runs == 1) {
    each([&](Reals* tap) __attribute__((always_inline)) {
      const T* p = plane + s.first;
      tap[0] = load_as<float>(p);
      tap[1] = load_as<float>(p + 1);
      tap[2] = load_as<float>(p + row);
      tap[3] = load_as<float>(p + row + 1);
    });
  } else if (s.runs == 2) {
    each([&](Reals* tap) __attribute__((always_inline)) {
      const T *p = plane + s.first, *q = plane + s.second;
      tap[0] = s.in_first ? load_as<float>(p) : load_as<float>(q);
      tap[1] = s.in_first ? load_as<float>(p + 1) : load_as<float>(q + 1);
      tap[2] = s.in_first ? load_as<float>(p + row) : load_as<float>(q + row);
      tap[3] = s.in_first ? load_as<float>(p + row + 1) : load_as<float>(q + row + 1);
    });
  } else {
    const int* lanes = base();
    each([&](Reals* tap) __attribute__((always_inline)) {
      load_pairs(plane, lanes, tap[0], tap[1]);
      load_pairs(plane + row, lanes, tap[2], tap[3]);
    });
  }
}

// Four numbers from each of from(0), from(1), ... and turned: number c of all lanes in values[c].
template <class From>
VFI_FN void load_fours(const From& from, Reals (&values)[4]) {
  // Register j has places j, j + 4, ...: turning four lanes of four registers each puts them in order.
  for (int j = 0; j < 4; ++j)
    values[j] = load_quads([&](int i) __attribute__((always_inline)) { return from(4 * i + j); });
  transpose_squares(values);
}

// The pixels of C channels side by side that a vector reads when it comes to rows further down.
template <int C, class T>
VFI_FN void fetch_ahead(const Source<T>& in, const Spots& s) {
  const T* below = in.data + s.base[0] + i64(kRowsAhead) * in.row;
  for (int i = 0; i < C * kPixels; i += 64 / sizeof(T)) __builtin_prefetch(below + i);
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

}  // namespace vfi::VFI_VERSION
