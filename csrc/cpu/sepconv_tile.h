// What the loops of sepconv share: pieces of image and taps, copied into small arrays of the sums' type. That
// settles layout, dtype and border once, so that the inner loops are multiply-adds of neighbouring numbers.
#pragma once
#include "vector.h"

namespace vfi::VFI_VERSION {

// Lanes of a vector. Image vectors start anywhere, and Zen 4 is slow with 64 bytes that cross a cache line.
template <class A>
constexpr int kWidth = std::min(VFI_VECTOR_BYTES, 32) / int(sizeof(A));
constexpr int kChannels = 3;  // whose sums are in registers together

// Calls f with a count of 1 to kMost as a type, so that loops over it can be unrolled.
template <int kMost, class Fn>
VFI_FN void with_count(int count, const Fn& f) {
  if (count == kMost) return f(std::integral_constant<int, kMost>{});
  if constexpr (kMost > 1) with_count<kMost - 1>(count, f);
}

// A piece of the padded image: some channels, rows [y, y + rows) and columns [x, x + columns), zeros beyond
// its right edge.
template <class A>
class ImageTile {
 public:
  template <class T, class F>
  void fill(const SepconvTerm<T, F>& term, i64 n, int channel, int channels, int y, int rows, int x,
            int columns, int pitch) {
    rows_ = rows;
    pitch_ = pitch;
    data_.resize(i64(channels) * rows * pitch);
    A* to = data_.data();
    for (int c = 0; c < channels; ++c)
      for (int r = 0; r < rows; ++r, to += pitch) {
        const T* from = term.image.at(n, channel + c, clamped(y + r - term.top, term.image_h), 0);
        copy_row(term, from, x - term.left, columns, to);
        std::fill(to + columns, to + pitch, A(0));
      }
  }
  const A* row(int c, int r) const { return data_.data() + (i64(c) * rows_ + r) * pitch_; }
  int pitch() const { return pitch_; }
  i64 channel_stride() const { return i64(rows_) * pitch_; }

 private:
  // Columns [x, x + columns) of an image row, where the border repeats.
  template <class T, class F>
  static void copy_row(const SepconvTerm<T, F>& term, const T* from, int x, int columns, A* to) {
    const int inside = std::min(columns, std::max(0, -x)),
              outside = std::clamp(term.image_w - x, inside, columns);
    for (int i = 0; i < inside; ++i) to[i] = number<A>(from[0]);
    int i = inside;
    if (term.image.x == 1)
      for (; i + kLanes<A> <= outside; i += kLanes<A>) save(to + i, load_as<A>(from + x + i));
    for (; i < outside; ++i) to[i] = number<A>(from[(x + i) * term.image.x]);
    for (int i = outside; i < columns; ++i) to[i] = number<A>(from[(term.image_w - 1) * term.image.x]);
  }

  std::vector<A> data_;
  int rows_ = 0, pitch_ = 0;
};

// The taps of R rows and a row of blocks, as [block][tap][R][lane]; pixels outside get 0. A whole row of
// blocks at once, because the taps lie in as many planes as there are taps: one block would take half a cache
// line of each.
template <class A, int R, class F>
void pack_taps(const View<const F>& taps, int k, i64 n, int y, int rows, int x, int columns, A* to) {
  constexpr int L = kLanes<A>;
  for (int i = 0; i < k; ++i)
    for (int r = 0; r < R; ++r) {
      A* lane = to + (i * R + r) * L;
      const F* from = taps.at(n, i, y + r, x);
      for (int b = 0; b < columns; b += L, lane += k * R * L) {
        const int count = r < rows ? std::min(L, columns - b) : 0;
        if (count == L && taps.x == 1)
          save(lane, load_as<A>(from + b));
        else
          for (int j = 0; j < L; ++j) lane[j] = j < count ? number<A>(from[(b + j) * taps.x]) : A(0);
      }
    }
}

// One packed block back to where its taps lie.
template <class A, int R, class F>
void unpack_taps(const A* from, int k, i64 n, int y, int rows, int x, int count, const View<F>& taps) {
  constexpr int L = kLanes<A>;
  for (int i = 0; i < k; ++i)
    for (int r = 0; r < rows; ++r) {
      F* to = taps.at(n, i, y + r, x);
      for (int j = 0; j < count; ++j) store(to + j * taps.x, from[(i * R + r) * L + j]);
    }
}

}  // namespace vfi::VFI_VERSION
