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

// An image that a row of output pixels reads, from one entry of a batch.
template <class T>
struct Source {
  const T* data;
  i64 channel;     // stride
  int row, pixel;  // strides
  int extent;      // elements from the first to past the last one of a plane
  int h, w, padding;
};

struct Spots {
  // Of the taps top left, top right, bottom left, bottom right, times the gain of the sample.
  Reals weight[4];
  // Where the top left taps are.
  Ints base;
  // 1: from `first` on side by side. 2: in two pieces, lane i at first + i or second + i. 0: scattered.
  int runs, first, second;
  Ints in_first;
};

template <class T>
VFI_FN Spots spots_at(Reals x, Reals y, Reals gain, const Source<T>& in) {
  const Axis<Reals> ax = axis_at(x, in.w, in.padding), ay = axis_at(y, in.h, in.padding);
  Spots s;
  const Reals top = gain * ay.weight_lo, bottom = gain * ay.weight_hi;
  s.weight[0] = top * ax.weight_lo;
  s.weight[1] = top * ax.weight_hi;
  s.weight[2] = bottom * ax.weight_lo;
  s.weight[3] = bottom * ax.weight_hi;
  s.base = ay.lo * in.row + ax.lo * in.pixel;
  return s;
}

template <class T>
VFI_FN void find_runs(Spots& s, const Source<T>& in) {
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

// Adds the samples of C planes to `sums`, and the sign bits of their taps to `signs`.
template <int C, class T>
VFI_FN void add_samples(const T* plane, const Source<T>& in, const Spots& s, const int* base, Reals* sums,
                        Ints* signs) {
  const int row = in.row;
  const auto add = [&](const auto& load_taps) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c, plane += in.channel) {
      Reals tap[4];
      load_taps(tap);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        sums[c] = fma(s.weight[k], tap[k], sums[c]);
        if constexpr (!std::is_same_v<T, u8>) signs[c] |= same_bits<Ints>(tap[k]);
      }
    }
  };
  if (s.runs == 1) {
    add([&](Reals* tap) __attribute__((always_inline)) {
      const T* p = plane + s.first;
      tap[0] = load_as<float>(p);
      tap[1] = load_as<float>(p + 1);
      tap[2] = load_as<float>(p + row);
      tap[3] = load_as<float>(p + row + 1);
    });
  } else if (s.runs == 2) {
    add([&](Reals* tap) __attribute__((always_inline)) {
      const T *p = plane + s.first, *q = plane + s.second;
      tap[0] = s.in_first ? load_as<float>(p) : load_as<float>(q);
      tap[1] = s.in_first ? load_as<float>(p + 1) : load_as<float>(q + 1);
      tap[2] = s.in_first ? load_as<float>(p + row) : load_as<float>(q + row);
      tap[3] = s.in_first ? load_as<float>(p + row + 1) : load_as<float>(q + row + 1);
    });
  } else {
    add([&](Reals* tap) __attribute__((always_inline)) {
      load_pairs(plane, base, tap[0], tap[1]);
      load_pairs(plane + row, base, tap[2], tap[3]);
    });
  }
}

}  // namespace vfi::VFI_VERSION
