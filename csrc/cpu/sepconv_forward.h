// sepconv forward. An image vector, loaded once, serves the same column tap of several output rows, and a tap
// three channels: with four rows twelve sums, three pixels and a tap are the sixteen registers of AVX2.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

constexpr int kRows = 4;  // output rows that share an image vector

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
template <int C, class A>
void add_strip(const A* image, i64 channel_stride, int pitch, const A* vertical, const A* horizontal, int kv,
               int kh, int rows, int blocks, A* sums, const NextTaps<A, kRows, 2>& next) {
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
  ImageTile<A> images[kMaxTerms];
  Buffer<A> vertical(i64(kv) * kRows * S), horizontal(i64(kh) * kRows * S);
  Buffer<A> sums(kChannels * kRows * S);  // [block][channel][row][lane]

  const auto compute = [&](const Tile& tile, const Strip& strip, int c, int channels) {
    std::fill_n(sums.data(), kChannels * kRows * S, A(0));
    for (int t = 0; t < p.terms; ++t) {
      const SepconvTerm<T, F>& term = p.term[t];
      pack_strip<A, kRows>(term.vertical, term.kv, strip, vertical.data());
      pack_strip<A, kRows>(term.horizontal, term.kh, strip, horizontal.data());
      const NextTaps<A, kRows, 2> next(strip, {term.vertical, term.horizontal});
      const ImageTile<A>& image = images[t];
      with_count<kChannels>(channels, [&](auto count) {
        add_strip<decltype(count)::value>(image.row(0, strip.y - tile.y0) + strip.x - tile.x0,
                                          image.channel_stride(), image.pitch(), vertical.data(),
                                          horizontal.data(), term.kv, term.kh, strip.rows,
                                          (strip.columns + L - 1) / L, sums.data(), next);
      });
    }
    for (int k = 0; k < channels; ++k)
      for (int r = 0; r < strip.rows; ++r)
        for (int b = 0; b < strip.columns; b += L) {
          const A* sum = sums.data() + ((b / L * kChannels + k) * kRows + r) * L;
          T* out = p.out.at(strip.n, c + k, strip.y + r, strip.x + b);
          if constexpr (std::is_same_v<T, A>)
            if (strip.columns - b >= L && p.out.x == 1) {
              save(out, load<A, L>(sum));
              continue;
            }
          for (int j = 0; j < std::min(L, strip.columns - b); ++j) store(out + j * p.out.x, sum[j]);
        }
  };

  for_each_tile(p.h, p.w, begin, end, [&](const Tile& tile) {
    for (int c = 0; c < p.c; c += kChannels) {
      const int channels = std::min(kChannels, p.c - c);
      for (int t = 0; t < p.terms; ++t) images[t].template fill<kRows>(p.term[t], tile, c, channels);
      for_each_strip<A, kRows>(tile, [&](const Strip& strip) { compute(tile, strip, c, channels); });
    }
  });
}

}  // namespace vfi::VFI_VERSION
