// The gradients of sepconv's taps. For an image row and a column tap, s = sum_c grad_c image_c serves both:
// it times the horizontal tap adds to the vertical gradient, it times the vertical tap to the horizontal one.
#pragma once
#include "sepconv_tile.h"

namespace vfi::VFI_VERSION {

constexpr int kTapRows = 2;    // output rows that share image vectors
constexpr int kImageRows = 2;  // image rows that share loads and stores of the horizontal gradient

// Taps and gradients of a strip or one of its blocks: [tap][row][lane], and the incoming gradient as
// [channel][row][lane].
template <class A>
struct TapStrip {
  const A *vertical, *horizontal, *grad;
  A *grad_vertical, *grad_horizontal;
  int kv, kh, channels;
  VFI_FN TapStrip block(int b) const {
    const i64 size = b * kTapRows * kWidth<A>, v = size * kv, h = size * kh;
    return {vertical + v, horizontal + h, grad + size * channels, grad_vertical + v, grad_horizontal + h, kv,
            kh,           channels};
  }
};

// What image rows i .. i + N - 1 add to a block, for its output rows [R0, R1): row r reads image row i with
// tap i - r.
template <class A, int C, int N, int R0, int R1, bool kVertical, bool kHorizontal>
VFI_FN void add_taps(const A* image, i64 channel_stride, int pitch, const TapStrip<A>& t, int i) {
  constexpr int L = kWidth<A>, R = kTapRows;
  using V = Vector<A, L>;
  V grad[C][R], v[N][R], sum_v[N][R] = {};
#pragma GCC unroll 2
  for (int r = R0; r < R1; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) grad[c][r] = load<A, L>(t.grad + (c * R + r) * L);
#pragma GCC unroll 2
    for (int k = 0; k < N; ++k) v[k][r] = load<A, L>(t.vertical + ((i + k - r) * R + r) * L);
  }
  const A* horizontal = t.horizontal;
  A* grad_horizontal = t.grad_horizontal;
#pragma GCC unroll 4
  for (int j = 0; j < t.kh; ++j, horizontal += R * L, grad_horizontal += R * L) {
    V h[R] = {}, sum_h[R] = {};
#pragma GCC unroll 2
    for (int r = R0; r < R1; ++r) {
      if (kVertical) h[r] = load<A, L>(horizontal + r * L);
      if (kHorizontal) sum_h[r] = load<A, L>(grad_horizontal + r * L);
    }
#pragma GCC unroll 2
    for (int k = 0; k < N; ++k) {
      V pixels[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) pixels[c] = load<A, L>(image + c * channel_stride + k * pitch + j);
#pragma GCC unroll 2
      for (int r = R0; r < R1; ++r) {
        V s = pixels[0] * grad[0][r];
#pragma GCC unroll 4
        for (int c = 1; c < C; ++c) s = fma(pixels[c], grad[c][r], s);
        if (kVertical) sum_v[k][r] = fma(h[r], s, sum_v[k][r]);
        if (kHorizontal) sum_h[r] = fma(v[k][r], s, sum_h[r]);
      }
    }
    if (kHorizontal)
#pragma GCC unroll 2
      for (int r = R0; r < R1; ++r) save(grad_horizontal + r * L, sum_h[r]);
  }
  if (!kVertical) return;
#pragma GCC unroll 2
  for (int k = 0; k < N; ++k)
#pragma GCC unroll 2
    for (int r = R0; r < R1; ++r) {
      A* to = t.grad_vertical + ((i + k - r) * R + r) * L;
      save(to, load<A, L>(to) + sum_v[k][r]);
    }
}

// All image rows of a strip, kImageRows at a time where all of them reach both output rows.
template <class A, int C, bool kVertical, bool kHorizontal>
void add_tap_strip(const A* image, i64 channel_stride, int pitch, const TapStrip<A>& strip, int blocks,
                   const NextTaps<A, kTapRows, 4>& next) {
  const auto add = [&](int i, auto count, auto first, auto last) __attribute__((always_inline)) {
    constexpr int N = decltype(count)::value;
    for (int k = 0; k < N; ++k) next.fetch(i + k);
    for (int b = 0; b < blocks; ++b)
      add_taps<A, C, N, decltype(first)::value, decltype(last)::value, kVertical, kHorizontal>(
          image + i64(i) * pitch + b * kWidth<A>, channel_stride, pitch, strip.block(b), i);
  };
  const std::integral_constant<int, 0> zero;
  const std::integral_constant<int, 1> one;
  const std::integral_constant<int, 2> both;
  const std::integral_constant<int, kImageRows> many;
  add(0, one, zero, one);
  int i = 1;
  for (; i + kImageRows <= strip.kv; i += kImageRows) add(i, many, zero, both);
  for (; i < strip.kv; ++i) add(i, one, zero, both);
  add(strip.kv, one, one, both);
}

// Both tap gradients of a term, as far as they are wanted.
template <bool kVertical, bool kHorizontal, class T, class F>
void backward_taps(const SepconvParams<T, F>& p, const SepconvTerm<T, F>& term, i64 begin, i64 end) {
  using A = sum_t<T>;
  constexpr int L = kWidth<A>, R = kTapRows, S = kStrip<A>;
  ImageTile<A> image;
  Buffer<A> vertical(i64(term.kv) * R * S), horizontal(i64(term.kh) * R * S), grad(i64(p.c) * R * S);
  Buffer<A> grad_vertical(i64(term.kv) * R * S), grad_horizontal(i64(term.kh) * R * S);
  // Results that are written past the caches, or not at all, are not fetched: their taps are, once more.
  const bool lines_v = are_lines<A>(term.grad_vertical), lines_h = are_lines<A>(term.grad_horizontal);
  const auto fetched = [](bool wanted, const View<F>& v, const View<const F>& taps) {
    return wanted ? View<const F>{v.data, v.n, v.c, v.y, v.x} : taps;
  };
  const View<const F> results_v = fetched(kVertical && !lines_v, term.grad_vertical, term.vertical),
                      results_h = fetched(kHorizontal && !lines_h, term.grad_horizontal, term.horizontal);
  // All channels are in the tile, so that of many it is narrower.
  const int columns = std::max(1, tile_columns(p.w) * kChannels / std::max(kChannels, p.c) / S) * S;

  const auto compute = [&](const Tile& tile, const Strip& strip) {
    pack_strip<A, R>(term.vertical, term.kv, strip, vertical.data());
    pack_strip<A, R>(term.horizontal, term.kh, strip, horizontal.data());
    pack_strip<A, R>(p.grad_out, p.c, strip, grad.data());
    std::fill_n(grad_vertical.data(), i64(term.kv) * R * S, A(0));
    std::fill_n(grad_horizontal.data(), i64(term.kh) * R * S, A(0));
    const NextTaps<A, R, 4> next(strip, {term.vertical, term.horizontal, results_v, results_h});
    TapStrip<A> taps = {vertical.data(),        horizontal.data(), grad.data(), grad_vertical.data(),
                        grad_horizontal.data(), term.kv,           term.kh,     p.c};
    for (int c = 0; c < p.c; c += kChannels, taps.grad += kChannels * R * L)
      with_count<kChannels>(std::min(kChannels, p.c - c), [&](auto count) {
        add_tap_strip<A, decltype(count)::value, kVertical, kHorizontal>(
            image.row(c, strip.y - tile.y0) + strip.x - tile.x0, image.channel_stride(), image.pitch(), taps,
            (strip.columns + L - 1) / L, next);
      });
    if (kVertical) unpack_strip<A, R>(grad_vertical.data(), term.kv, strip, term.grad_vertical, lines_v);
    if (kHorizontal)
      unpack_strip<A, R>(grad_horizontal.data(), term.kh, strip, term.grad_horizontal, lines_h);
  };

  for_each_tile(p.h, p.w, begin, end, [&](const Tile& whole) {
    for (Tile tile = whole; tile.x0 < whole.x1; tile.x0 += columns) {
      tile.x1 = std::min(tile.x0 + columns, whole.x1);
      image.template fill<R>(term, tile, 0, p.c);
      for_each_strip<A, R>(tile, [&](const Strip& strip) { compute(tile, strip); });
    }
  });
  finish_streams();
}

template <class T, class F>
void sepconv_backward_taps(const SepconvParams<T, F>& p, i64 begin, i64 end) {
  for (int t = 0; t < p.terms; ++t) {
    const SepconvTerm<T, F>& term = p.term[t];
    const bool wants_v = term.grad_vertical.data, wants_h = term.grad_horizontal.data;
    if (wants_v && wants_h)
      backward_taps<true, true>(p, term, begin, end);
    else if (wants_v)
      backward_taps<true, false>(p, term, begin, end);
    else if (wants_h)
      backward_taps<false, true>(p, term, begin, end);
  }
}

}  // namespace vfi::VFI_VERSION
