// sepconv forward. An image vector, loaded once, serves the same column tap of several output rows, and a tap
// three channels: with four rows twelve sums, three pixels and a tap are the sixteen registers of AVX2.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

constexpr int kRows = 4;           // output rows that share an image vector
constexpr int kTileRows = 16;      // output rows of a tile of the image
constexpr int kTileColumns = 256;  // and columns: with 51 taps the tiles of two images are 0.5 MB
template <class A>
constexpr int kStrip = 64 / sizeof(A);  // columns whose taps are packed together: a cache line of float32

// The taps of the next strip, fetched into cache while the present one is computed: they lie in as many
// planes as there are taps, more streams than the processor foresees. Its last column is named, so that a
// strip that is not aligned gets its second cache line; the first one came with the strip before.
template <class F>
struct NextTaps {
  View<const F> vertical, horizontal;  // from tap 0 of the first row on
  VFI_FN void fetch(int i) const {  // inlined, or GCC takes a function of prefetches for one without effect
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      __builtin_prefetch(vertical.at(0, i, r, 0));
      __builtin_prefetch(horizontal.at(0, i, r, 0));
    }
  }
};

// The taps of a strip as [block][tap][row][lane]; pixels outside get 0.
template <class A, class F>
VFI_FN void pack_strip(const View<const F>& taps, int k, i64 n, int y, int rows, int x, int columns, A* to) {
  constexpr int L = kWidth<A>, S = kStrip<A>;
  const F* from = taps.at(n, 0, y, x);
  const bool whole = rows == kRows && columns == S && taps.x == 1;
  for (int i = 0; i < k; ++i, from += taps.c, to += kRows * L) {
    if (whole) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int b = 0; b < S / L; ++b)
          save(to + (b * k * kRows + r) * L, load_as<A, L>(from + r * taps.y + b * L));
      continue;
    }
    for (int r = 0; r < kRows; ++r)
      for (int j = 0; j < S; ++j)
        to[(j / L * k * kRows + r) * L + j % L] =
            r < rows && j < columns ? number<A>(from[r * taps.y + j * taps.x]) : A(0);
  }
}

// Adds what image row i gives to N output rows of a block, from `first` on: row r reads it with vertical tap
// i - r.
template <class A, int C, int N>
VFI_FN void add_row(const A* image, i64 channel_stride, const A* vertical, const A* horizontal, int first,
                    int i, int kh, A* sums) {
  constexpr int L = kWidth<A>;
  Vector<A, L> line[C][N] = {};
  const A* taps = horizontal + first * L;
#pragma GCC unroll 4
  for (int j = 0; j < kh; ++j, taps += kRows * L) {
    Vector<A, L> pixels[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) pixels[c] = load<A, L>(image + c * channel_stride + j);
#pragma GCC unroll 4
    for (int r = 0; r < N; ++r) {
      const Vector<A, L> tap = load<A, L>(taps + r * L);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) line[c][r] = fma(pixels[c], tap, line[c][r]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < N; ++r) {
    const Vector<A, L> tap = load<A, L>(vertical + ((i - first - r) * kRows + first + r) * L);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      A* sum = sums + (c * kRows + first + r) * L;
      save(sum, fma(line[c][r], tap, load<A, L>(sum)));
    }
  }
}

// All image rows of a strip: the first and last ones reach only some of its output rows.
template <int C, class A, class F>
void add_strip(const A* image, i64 channel_stride, int pitch, const A* vertical, const A* horizontal, int kv,
               int kh, int rows, int blocks, A* sums, const NextTaps<F>& next) {
  constexpr int L = kWidth<A>;
  for (int i = 0; i < kv + rows - 1; ++i, image += pitch) {
    next.fetch(i);
    const int first = std::max(0, i - kv + 1), last = std::min(rows, i + 1);
    with_count<kRows>(last - first, [&](auto count) {
      for (int b = 0; b < blocks; ++b)
        add_row<A, C, decltype(count)::value>(image + b * L, channel_stride, vertical + b * kv * kRows * L,
                                              horizontal + b * kh * kRows * L, first, i, kh,
                                              sums + b * kChannels * kRows * L);
    });
  }
}

template <class T, class F>
void sepconv_forward(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  constexpr int L = kWidth<A>, S = kStrip<A>;
  int kv = 0, kh = 0;
  for (int t = 0; t < p.terms; ++t) {
    kv = std::max(kv, p.term[t].kv);
    kh = std::max(kh, p.term[t].kh);
  }
  ImageTile<A> tiles[kMaxTerms];
  Buffer<A> vertical(i64(kv) * kRows * S), horizontal(i64(kh) * kRows * S);
  Buffer<A> sums(kChannels * kRows * S);  // [block][channel][row][lane]

  // kRows x kStrip output pixels.
  const auto strip = [&](i64 n, int c, int channels, int y0, int y, int y1, int x0, int x, int x1) {
    const int rows = std::min(kRows, y1 - y), columns = std::min(S, x1 - x), blocks = (columns + L - 1) / L;
    std::fill_n(sums.data(), kChannels * kRows * S, A(0));
    for (int t = 0; t < p.terms; ++t) {
      const SepconvTerm<T, F>& term = p.term[t];
      pack_strip(term.vertical, term.kv, n, y, rows, x, columns, vertical.data());
      pack_strip(term.horizontal, term.kh, n, y, rows, x, columns, horizontal.data());
      int next_y = y, next_x = x + 2 * S - 1;
      if (next_x >= x1 + S - 1) next_x = x0 + S - 1, next_y += kRows;
      NextTaps<F> next = {term.vertical, term.horizontal};
      next.vertical.data = term.vertical.at(n, 0, next_y, next_x);
      next.horizontal.data = term.horizontal.at(n, 0, next_y, next_x);
      const ImageTile<A>& tile = tiles[t];
      with_count<kChannels>(channels, [&](auto count) {
        add_strip<decltype(count)::value>(tile.row(0, y - y0) + x - x0, tile.channel_stride(), tile.pitch(),
                                          vertical.data(), horizontal.data(), term.kv, term.kh, rows, blocks,
                                          sums.data(), next);
      });
    }
    for (int k = 0; k < channels; ++k)
      for (int r = 0; r < rows; ++r)
        for (int b = 0; b < columns; b += L) {
          const A* sum = sums.data() + ((b / L * kChannels + k) * kRows + r) * L;
          T* out = p.out.at(n, c + k, y + r, x + b);
          if constexpr (std::is_same_v<T, A>)
            if (columns - b >= L && p.out.x == 1) {
              save(out, load<A, L>(sum));
              continue;
            }
          for (int j = 0; j < std::min(L, columns - b); ++j) store(out + j * p.out.x, sum[j]);
        }
  };

  for (i64 row = begin; row < end;) {
    const i64 n = row / p.h;
    const int y0 = int(row % p.h), y1 = int(std::min<i64>({y0 + kTileRows, p.h, y0 + end - row}));
    for (int x0 = 0; x0 < p.w; x0 += kTileColumns) {
      const int x1 = std::min(x0 + kTileColumns, p.w);
      for (int c = 0; c < p.c; c += kChannels) {
        const int channels = std::min(kChannels, p.c - c);
        for (int t = 0; t < p.terms;
             ++t)  // the last block may be narrower than a vector, but reads a whole one
          tiles[t].fill(p.term[t], n, c, channels, y0, y1 - y0 + p.term[t].kv - 1, x0,
                        x1 - x0 + p.term[t].kh - 1, (x1 - x0 + L - 1) / L * L + p.term[t].kh - 1);
        for (int y = y0; y < y1; y += kRows)
          for (int x = x0; x < x1; x += S) strip(n, c, channels, y0, y, y1, x0, x, x1);
      }
    }
    row += y1 - y0;
  }
}

}  // namespace vfi::VFI_VERSION
