// sepconv forward. An image vector, loaded once, serves the same column tap of several output rows, and a tap
// three channels: with four rows twelve sums, three pixels and a tap are the sixteen registers of AVX2.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

// Output rows that share an image vector. AVX-512 has registers for the sums of eight.
constexpr int kRows = VFI_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int kTileRows = 16;  // output rows of a tile of the image
constexpr int kTileColumns =
    128;  // and columns: with 51 taps a tile of the image and the taps of its rows fit in 1 MB of L2

// Adds what image row i gives to N output rows of a block, from `first` on: row r reads it with vertical tap
// i - r.
template <class A, int C, int N>
VFI_FN void add_row(const A* image, i64 channel_stride, const A* vertical, const A* horizontal, int first,
                    int i, int kh, A* sums) {
  constexpr int L = kLanes<A>;
  Vector<A> line[C][N] = {};
  const A* taps = horizontal + first * L;
  for (int j = 0; j < kh; ++j, taps += kRows * L) {
    Vector<A> pixels[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) pixels[c] = load(image + c * channel_stride + j);
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r) {
      const Vector<A> tap = load(taps + r * L);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) line[c][r] = fma(pixels[c], tap, line[c][r]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r) {
    const Vector<A> tap = load(vertical + ((i - first - r) * kRows + first + r) * L);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      A* sum = sums + (c * kRows + first + r) * L;
      save(sum, fma(line[c][r], tap, load(sum)));
    }
  }
}

// All image rows of a block: the first and last ones reach only some of its output rows.
template <class A, int C>
void add_block(const A* image, i64 channel_stride, int pitch, const A* vertical, const A* horizontal, int kv,
               int kh, A* sums) {
  for (int i = 0; i < kv + kRows - 1; ++i, image += pitch) {
    const int first = std::max(0, i - kv + 1), last = std::min(kRows, i + 1);
    const auto add = [&](auto rows) {
      add_row<A, C, decltype(rows)::value>(image, channel_stride, vertical, horizontal, first, i, kh, sums);
    };
    with_count<kRows>(last - first, add);
  }
}

template <class T, class F>
void sepconv_forward(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  constexpr int L = kLanes<A>;
  int kv = 0, kh = 0;
  for (int t = 0; t < p.terms; ++t) {
    kv = std::max(kv, p.term[t].kv);
    kh = std::max(kh, p.term[t].kh);
  }
  ImageTile<A> tile;
  Buffer<A> vertical(i64(kv) * kRows * kTileColumns), horizontal(i64(kh) * kRows * kTileColumns);
  Buffer<A> sums(i64(p.c) * kTileRows * kTileColumns);  // [row / 4][column / L][c][4][L]
  const auto sums_of = [&](int y, int x) {
    return sums.data() + (y / kRows * (kTileColumns / L) + x / L) * p.c * kRows * L;
  };

  for (i64 row = begin; row < end;) {
    const i64 n = row / p.h;
    const int y0 = int(row % p.h), rows = int(std::min<i64>({kTileRows, p.h - y0, end - row}));
    for (int x0 = 0; x0 < p.w; x0 += kTileColumns) {
      const int columns = std::min(kTileColumns, p.w - x0);
      std::fill_n(sums.data(), i64(p.c) * kTileRows * kTileColumns, A(0));
      for (int t = 0; t < p.terms; ++t) {
        const SepconvTerm<T, F>& term = p.term[t];
        // The last block may be narrower than a vector, but reads a whole one.
        const int pitch = (columns + L - 1) / L * L + term.kh - 1;
        const int tile_rows = (rows + kRows - 1) / kRows * kRows + term.kv - 1;
        tile.fill(term, n, p.c, y0, tile_rows, x0, columns + term.kh - 1, pitch);
        for (int y = 0; y < rows; y += kRows) {
          const int r = std::min(kRows, rows - y);
          pack_taps<A, kRows>(term.vertical, term.kv, n, y0 + y, r, x0, columns, vertical.data());
          pack_taps<A, kRows>(term.horizontal, term.kh, n, y0 + y, r, x0, columns, horizontal.data());
          for (int x = 0; x < columns; x += L) {
            const A* v = vertical.data() + i64(x) * term.kv * kRows;
            const A* h = horizontal.data() + i64(x) * term.kh * kRows;
            A* block = sums_of(y, x);
            int c = 0;
            const auto add = [&](auto add_channels, int channels) {
              add_channels(tile.row(c, y) + x, tile.channel_stride(), pitch, v, h, term.kv, term.kh,
                           block + c * kRows * L);
              c += channels;
            };
            while (p.c - c >= 3) add(add_block<A, 3>, 3);
            if (p.c - c == 2) add(add_block<A, 2>, 2);
            if (p.c - c == 1) add(add_block<A, 1>, 1);
          }
        }
      }
      for (int c = 0; c < p.c; ++c)
        for (int y = 0; y < rows; ++y) {
          T* out = p.out.at(n, c, y0 + y, x0);
          for (int x = 0; x < columns; ++x)
            store(out + x * p.out.x, sums_of(y, x)[(c * kRows + y % kRows) * L + x % L]);
        }
    }
    row += rows;
  }
}

}  // namespace vfi::VFI_VERSION
