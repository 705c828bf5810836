// The gradients of sepconv's taps. For an image row and a column tap, s = sum_c grad_c image_c serves both:
// it times the horizontal tap adds to the vertical gradient, it times the vertical tap to the horizontal one.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

constexpr int kTapRows = 2;  // output rows that share image vectors

// Taps and gradients of one block: [tap][row][lane], and the incoming gradient as [channel][row][lane].
template <class A>
struct TapBlock {
  const A *vertical, *horizontal, *grad;
  A *grad_vertical, *grad_horizontal;
};

// What image rows i .. i + N - 1 of a block add, for its output rows [R0, R1): row r reads image row i with
// tap i - r.
template <class A, int C, int N, int R0, int R1, bool kVertical, bool kHorizontal>
VFI_FN void add_taps(const A* image, i64 channel_stride, int pitch, const TapBlock<A>& b, int i, int kh) {
  constexpr int L = kLanes<A>, R = kTapRows;
  Vector<A> v[N][R], sum_v[N][R] = {};
#pragma GCC unroll 2
  for (int k = 0; k < N; ++k)
#pragma GCC unroll 2
    for (int r = R0; r < R1; ++r) v[k][r] = load(b.vertical + ((i + k - r) * R + r) * L);
  for (int j = 0; j < kh; ++j) {
    Vector<A> pixels[N][C];
#pragma GCC unroll 2
    for (int k = 0; k < N; ++k)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) pixels[k][c] = load(image + c * channel_stride + k * pitch + j);
#pragma GCC unroll 2
    for (int r = R0; r < R1; ++r) {
      Vector<A> sum_h = {}, h = {};
      if (kVertical) h = load(b.horizontal + (j * R + r) * L);
      if (kHorizontal) sum_h = load(b.grad_horizontal + (j * R + r) * L);
#pragma GCC unroll 2
      for (int k = 0; k < N; ++k) {
        Vector<A> s = pixels[k][0] * load(b.grad + r * L);
#pragma GCC unroll 4
        for (int c = 1; c < C; ++c) s = fma(pixels[k][c], load(b.grad + (c * R + r) * L), s);
        if (kVertical) sum_v[k][r] = fma(h, s, sum_v[k][r]);
        if (kHorizontal) sum_h = fma(v[k][r], s, sum_h);
      }
      if (kHorizontal) save(b.grad_horizontal + (j * R + r) * L, sum_h);
    }
  }
  if (!kVertical) return;
#pragma GCC unroll 2
  for (int k = 0; k < N; ++k)
#pragma GCC unroll 2
    for (int r = R0; r < R1; ++r) {
      A* to = b.grad_vertical + ((i + k - r) * R + r) * L;
      save(to, load(to) + sum_v[k][r]);
    }
}

// All image rows of a block, two at a time where both reach both output rows.
template <class A, int C, bool kVertical, bool kHorizontal>
void add_tap_block(const A* image, i64 channel_stride, int pitch, const TapBlock<A>& b, int kv, int kh) {
  const auto at = [&](int i) { return image + i64(i) * pitch; };
  add_taps<A, C, 1, 0, 1, kVertical, kHorizontal>(image, channel_stride, pitch, b, 0, kh);
  int i = 1;
  for (; i + 1 < kv; i += 2)
    add_taps<A, C, 2, 0, 2, kVertical, kHorizontal>(at(i), channel_stride, pitch, b, i, kh);
  for (; i < kv; ++i) add_taps<A, C, 1, 0, 2, kVertical, kHorizontal>(at(i), channel_stride, pitch, b, i, kh);
  add_taps<A, C, 1, 1, 2, kVertical, kHorizontal>(at(kv), channel_stride, pitch, b, kv, kh);
}

template <class A, bool kVertical, bool kHorizontal>
void add_tap_channels(const ImageTile<A>& tile, int channels, int y, int x, int pitch, TapBlock<A> b, int kv,
                      int kh) {
  for (int c = 0; c < channels; c += kChannels, b.grad += kChannels * kTapRows * kLanes<A>)
    with_count<kChannels>(std::min(kChannels, channels - c), [&](auto count) {
      add_tap_block<A, decltype(count)::value, kVertical, kHorizontal>(
          tile.row(c, y) + x, tile.channel_stride(), pitch, b, kv, kh);
    });
}

// Both tap gradients of rows [begin, end) of n * h, as far as they are wanted.
template <class T, class F>
void sepconv_backward_taps(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  using A = sum_t<T>;
  constexpr int L = kLanes<A>, R = kTapRows, kTileRows = 16, kTileColumns = 64;
  for (int t = 0; t < p.terms; ++t) {
    const SepconvTerm<T, F>& term = p.term[t];
    const bool wants_v = term.grad_vertical.data, wants_h = term.grad_horizontal.data;
    if (!wants_v && !wants_h) continue;
    ImageTile<A> tile;
    Buffer<A> vertical(i64(term.kv) * R * kTileColumns), horizontal(i64(term.kh) * R * kTileColumns);
    Buffer<A> grad(i64(p.c) * R * kTileColumns), grad_vertical(i64(term.kv) * R * L),
        grad_horizontal(i64(term.kh) * R * L);
    for (i64 row = begin; row < end;) {
      const i64 n = row / p.h;
      const int y0 = int(row % p.h), rows = int(std::min<i64>({kTileRows, p.h - y0, end - row}));
      for (int x0 = 0; x0 < p.w; x0 += kTileColumns) {
        const int columns = std::min(kTileColumns, p.w - x0);
        const int pitch = (columns + L - 1) / L * L + term.kh - 1;
        const int tile_rows = (rows + R - 1) / R * R + term.kv - 1;
        tile.fill(term, n, 0, p.c, y0, tile_rows, x0, columns + term.kh - 1, pitch);
        for (int y = 0; y < rows; y += R) {
          const int some = std::min(R, rows - y);
          pack_taps<A, R>(term.vertical, term.kv, n, y0 + y, some, x0, columns, vertical.data());
          pack_taps<A, R>(term.horizontal, term.kh, n, y0 + y, some, x0, columns, horizontal.data());
          pack_taps<A, R>(p.grad_out, p.c, n, y0 + y, some, x0, columns, grad.data());
          for (int x = 0; x < columns; x += L) {
            const TapBlock<A> b = {vertical.data() + i64(x) * term.kv * R,
                                   horizontal.data() + i64(x) * term.kh * R, grad.data() + i64(x) * p.c * R,
                                   grad_vertical.data(), grad_horizontal.data()};
            std::fill_n(b.grad_vertical, i64(term.kv) * R * L, A(0));
            std::fill_n(b.grad_horizontal, i64(term.kh) * R * L, A(0));
            if (wants_v && wants_h)
              add_tap_channels<A, true, true>(tile, p.c, y, x, pitch, b, term.kv, term.kh);
            else if (wants_v)
              add_tap_channels<A, true, false>(tile, p.c, y, x, pitch, b, term.kv, term.kh);
            else
              add_tap_channels<A, false, true>(tile, p.c, y, x, pitch, b, term.kv, term.kh);
            const int count = std::min(L, columns - x);
            if (wants_v)
              unpack_taps<A, R>(b.grad_vertical, term.kv, n, y0 + y, some, x0 + x, count, term.grad_vertical);
            if (wants_h)
              unpack_taps<A, R>(b.grad_horizontal, term.kh, n, y0 + y, some, x0 + x, count,
                                term.grad_horizontal);
          }
        }
      }
      row += rows;
    }
  }
}

}  // namespace vfi::VFI_VERSION
