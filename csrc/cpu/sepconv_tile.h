// What the loops of sepconv share: pieces of image and taps, copied into small arrays of the sums' type. That
// settles layout, dtype and border once, so that the inner loops are multiply-adds of neighbouring numbers.
#pragma once
#include "kernels.h"
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

// Tiles are pieces of the output: rows [y0, y1) and columns [x0, x1).
constexpr int kTileRows = 16;
struct Tile {
  i64 n;
  int y0, y1, x0, x1;
};

// Calls body(tile) for the units [begin, end), rows of tiles one below the other.
template <class Body>
void for_each_tile(int h, int w, i64 begin, i64 end, const Body& body) {
  const int columns = tile_columns(w), tiles = tiles_of(w);
  while (begin < end) {
    const int y = int(begin % h), x = int(begin / h % tiles) * columns;
    const int rows = int(std::min<i64>({kTileRows, h - y, end - begin}));
    body(Tile{begin / h / tiles, y, y + rows, x, std::min(x + columns, w)});
    begin += rows;
  }
}

// A strip is the part of a tile whose taps are packed together: a few rows of a cache line of float32.
template <class A>
constexpr int kStrip = 64 / sizeof(A);
struct Strip {
  i64 n;
  int y, rows, x, columns;
  int next_y, next_x;  // of the strip after it
};

// Calls body(strip) for the strips of R rows of a tile.
template <class A, int R, class Body>
VFI_FN void for_each_strip(const Tile& tile, const Body& body) {
  constexpr int S = kStrip<A>;
  for (int y = tile.y0; y < tile.y1; y += R)
    for (int x = tile.x0; x < tile.x1; x += S) {
      const bool last = x + S >= tile.x1;
      body(Strip{tile.n, y, std::min(R, tile.y1 - y), x, std::min(S, tile.x1 - x), last ? y + R : y,
                 last ? tile.x0 : x + S});
    }
}

// The taps of the next strip, fetched into cache while the present one is computed: they lie in as many
// planes as there are taps, more streams than the processor foresees. Its last column is named, so that a
// strip that is not aligned gets its second cache line; the first one came with the strip before.
template <class A, int R, int N>
class NextTaps {
 public:
  template <class F>
  NextTaps(const Strip& strip, const View<const F> (&taps)[N]) {
    for (int k = 0; k < N; ++k) {
      const F* first = taps[k].at(strip.n, 0, strip.next_y, strip.next_x + kStrip<A> - 1);
      taps_[k] = {reinterpret_cast<const char*>(first), 0, i64(taps[k].c * sizeof(F)),
                  i64(taps[k].y * sizeof(F)), 0};
    }
  }
  VFI_FN void fetch(int i) const {  // inlined, or GCC takes a function of prefetches for one without effect
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int k = 0; k < N; ++k) __builtin_prefetch(taps_[k].at(0, i, r, 0));
  }

 private:
  View<const char> taps_[N];  // in bytes
};

// The taps of a strip as [block][tap][row][lane]; pixels outside get 0.
template <class A, int R, class F>
VFI_FN void pack_strip(const View<const F>& taps, int k, const Strip& strip, A* to) {
  constexpr int L = kWidth<A>, S = kStrip<A>;
  const F* from = taps.at(strip.n, 0, strip.y, strip.x);
  if (taps.c == 1 && taps.x != 1 && k >= L && strip.columns == S) {
    for (int r = 0; r < R; ++r)
      for (int b = 0; b < S / L; ++b)
        for (int begin = 0; begin < k; begin += L) {
          const int i = std::min(begin, k - L);  // the last taps overlap the ones before
          Vector<A, L> block[L] = {};
          if (r < strip.rows)
            for (int j = 0; j < L; ++j)
              block[j] = load_as<A, L>(from + r * taps.y + (b * L + j) * taps.x + i);
          transpose(block);
          for (int j = 0; j < L; ++j) save(to + ((b * k + i + j) * R + r) * L, block[j]);
        }
    return;
  }
  const bool whole = strip.columns == S && taps.x == 1;
  for (int i = 0; i < k; ++i, from += taps.c, to += R * L) {
    if (whole) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int b = 0; b < S / L; ++b)
          save(to + (b * k * R + r) * L,
               r < strip.rows ? load_as<A, L>(from + r * taps.y + b * L) : Vector<A, L>{});
      continue;
    }
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < S; ++j)
        to[(j / L * k * R + r) * L + j % L] =
            r < strip.rows && j < strip.columns ? number<A>(from[r * taps.y + j * taps.x]) : A(0);
  }
}

// Whether strips of sums are whole cache lines of a result.
template <class A, class F>
bool are_lines(const View<F>& v) {
  const size_t bytes = reinterpret_cast<size_t>(v.data) | size_t(v.n | v.c | v.y) * sizeof(F);
  return std::is_same_v<A, F> && v.x == 1 && bytes % 64 == 0;
}

// And back to where they lie.
template <class A, int R, class F>
VFI_FN void unpack_strip(const A* from, int k, const Strip& strip, const View<F>& taps, bool lines) {
  constexpr int L = kWidth<A>, S = kStrip<A>;
  F* to = taps.at(strip.n, 0, strip.y, strip.x);
  const bool whole = strip.columns == S && taps.x == 1;
  for (int i = 0; i < k; ++i, to += taps.c, from += R * L)
    for (int r = 0; r < strip.rows; ++r) {
      if constexpr (std::is_same_v<A, F>)
        if (whole && lines) {
#pragma GCC unroll 4
          for (int b = 0; b < S / L; ++b)
            stream(to + r * taps.y + b * L, load<A, L>(from + (b * k * R + r) * L));
          continue;
        }
      if constexpr (sizeof(A) == sizeof(float))
        if (whole) {
#pragma GCC unroll 4
          for (int b = 0; b < S / L; ++b)
            save_as(to + r * taps.y + b * L, load<A, L>(from + (b * k * R + r) * L));
          continue;
        }
      for (int j = 0; j < strip.columns; ++j)
        store(to + r * taps.y + j * taps.x, from[(j / L * k * R + r) * L + j % L]);
    }
}

// What a tile of the output reads of the padded image, in some channels. Whole vectors and groups of R rows
// can be read at its edges: there are zeros right of it, and repeated rows below.
template <class A>
class ImageTile {
 public:
  template <int R, class T, class F>
  void fill(const SepconvTerm<T, F>& term, const Tile& tile, int channel, int channels) {
    constexpr int L = kWidth<A>;
    rows_ = (tile.y1 - tile.y0 + R - 1) / R * R + term.kv - 1;
    pitch_ = (tile.x1 - tile.x0 + L - 1) / L * L + term.kh - 1;
    const int columns = tile.x1 - tile.x0 + term.kh - 1;
    data_.resize(i64(channels) * rows_ * pitch_);
    A* to = data_.data();
    for (int c = 0; c < channels; ++c)
      for (int r = 0; r < rows_; ++r, to += pitch_) {
        const int y = clamped(tile.y0 + r - term.top, term.image_h);
        copy_row(term, term.image.at(tile.n, channel + c, y, 0), tile.x0 - term.left, columns, to);
        std::fill(to + columns, to + pitch_, A(0));
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

  Buffer<A> data_;
  int rows_ = 0, pitch_ = 0;
};

}  // namespace vfi::VFI_VERSION
