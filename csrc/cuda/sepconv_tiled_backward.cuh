// sepconv's gradients without tensor cores, for what sepconv_tiled.cuh serves. Nothing is atomic, every sum
// has one order.
#pragma once
#include "sepconv_tiled.cuh"

namespace vfi {

constexpr int kTapGroup = 4;  // taps whose gradients a thread computes at once, for each of its pixels

// Adds the products of the image with `span` horizontal taps, from `first` on: the vertical taps of a group
// read rows below each other.
template <int kRows, int kColumns, int kPixels, class A, class F>
__device__ __forceinline__ void add_down(const A (&tile)[kTileChannels][kRows][kColumns],
                                         const View<F>& horizontal, const PixelColumn<kPixels>& at, i64 n,
                                         int first, int span, A (&line)[kTileChannels][kPixels][kTapGroup]) {
  const int top = int(threadIdx.x / 32) * kPixels, lane = threadIdx.x % 32;
  const F* next[kPixels];
  for (int k = 0; k < kPixels; ++k) next[k] = at.at(horizontal, n, first, k);
#pragma unroll 1
  for (int j = 0; j < span; ++j) {
    A tap[kPixels];
    for (int k = 0; k < kPixels; ++k) {
      tap[k] = number<A>(fetched(next[k]));
      next[k] += horizontal.c;
    }
#pragma unroll
    for (int c = 0; c < kTileChannels; ++c) {
      A value[kPixels + kTapGroup - 1];
      for (int r = 0; r < kPixels + kTapGroup - 1; ++r) value[r] = tile[c][top + r][lane + j];
      for (int k = 0; k < kPixels; ++k)
        for (int i = 0; i < kTapGroup; ++i) line[c][k][i] += value[k + i] * tap[k];
    }
  }
}

// The same across: of vertical taps, for a group of horizontal ones.
template <int kRows, int kColumns, int kPixels, class A, class F>
__device__ __forceinline__ void add_across(const A (&tile)[kTileChannels][kRows][kColumns],
                                           const View<F>& vertical, const PixelColumn<kPixels>& at, i64 n,
                                           int first, int span,
                                           A (&line)[kTileChannels][kPixels][kTapGroup]) {
  const int top = int(threadIdx.x / 32) * kPixels, lane = threadIdx.x % 32;
  const F* next[kPixels];
  for (int k = 0; k < kPixels; ++k) next[k] = at.at(vertical, n, first, k);
#pragma unroll 1
  for (int r = 0; r < span + kPixels - 1; ++r) {
    A value[kTileChannels][kTapGroup];
#pragma unroll
    for (int c = 0; c < kTileChannels; ++c)
      for (int j = 0; j < kTapGroup; ++j) value[c][j] = tile[c][top + r][lane + j];
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const int i = r - k;
      if (i < 0 || i >= span) continue;
      const A tap = number<A>(fetched(next[k]));
      next[k] += vertical.c;
      for (int c = 0; c < kTileChannels; ++c)
        for (int j = 0; j < kTapGroup; ++j) line[c][k][j] += value[c][j] * tap;
    }
  }
}

// kDown: of the vertical taps, otherwise of the horizontal ones. The sums of sepconv_vertical() and
// sepconv_horizontal(), in the same order.
template <bool kDown, class T, class F>
__global__ void __launch_bounds__(kThreads, kBlocksOf<sum_t<T>>)
    sepconv_tiled_taps(const SepconvParams<T, F> p) {
  using A = sum_t<T>;
  constexpr int kPixels = kTilePixels<A>, kRows = kTileRows<A>, kSpan = kTileSpan<A>;
  constexpr int kDownwards = kDown ? kTapGroup : kSpan, kAcross = kDown ? kSpan : kTapGroup;
  VFI_SHARED(A, tile, [kTileChannels][kRows + kDownwards - 1][kTileColumns + kAcross - 1]);
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const int wanted = kDown ? term.kv : term.kh, summed = kDown ? term.kh : term.kv;
  const int groups = (wanted + kTapGroup - 1) / kTapGroup, left = int(blockIdx.x) * kTileColumns;
  for_each_tile(p.n, (i64(p.h) + kRows - 1) / kRows * groups, [&](i64 n, i64 index) {
    const int top = int(index / groups) * kRows, tap = int(index % groups) * kTapGroup;
    const PixelColumn<kPixels> at(p.h, p.w, top);
    A sum[kPixels][kTapGroup] = {};
    for (int first_c = 0; first_c < p.c; first_c += kTileChannels) {
      const int channels = min(kTileChannels, p.c - first_c);
      A line[kTileChannels][kPixels][kTapGroup] = {};
      for (int first = 0; first < summed; first += kSpan) {
        const int span = min(kSpan, summed - first);
        __syncthreads();  // the tile before is not needed any more
        fill(tile, term, n, first_c, channels, top + (kDown ? tap : first), left + (kDown ? first : tap),
             kRows - 1 + (kDown ? kTapGroup : span), kTileColumns - 1 + (kDown ? span : kTapGroup));
        __syncthreads();
        if constexpr (kDown)
          add_down(tile, term.horizontal, at, n, first, span, line);
        else
          add_across(tile, term.vertical, at, n, first, span, line);
      }
#pragma unroll
      for (int c = 0; c < kTileChannels; ++c) {
        if (c >= channels) break;
        for (int k = 0; k < kPixels; ++k) {
          const A grad = number<A>(fetched(at.at(p.grad_out, n, first_c + c, k)));
          for (int i = 0; i < kTapGroup; ++i) sum[k][i] += line[c][k][i] * grad;
        }
      }
    }
#pragma unroll
    for (int k = 0; k < kPixels; ++k)
      for (int i = 0; i < kTapGroup; ++i)
        if (tap + i < wanted && at.has(k))
          store(at.at(kDown ? term.grad_vertical : term.grad_horizontal, n, tap + i, k), sum[k][i]);
  });
}

// The gradient of the image. A block has kThreads columns of it and a few rows, which the same rows of the
// output reach: for one of these, grad_out and the vertical taps with which it reaches the block's rows lie
// in shared memory, for as many columns as kImageSpan horizontal taps reach.
constexpr int kImageSpan = 64, kImageReach = kThreads + kImageSpan - 1;
template <class A>
constexpr int kImageRows = 32 / int(sizeof(A));

// The taps with which pixel `from` of an axis of the output reaches pixel `to` of the image, summed: the
// pixels at its ends stand for a border. at: the first tap; stride: from tap to tap.
template <class A, class F>
__device__ __forceinline__ A taps_between(const F* at, i64 stride, int taps, int from, const Span& to) {
  A sum = 0;
  for (int k = larger(to.first - from, 0); k <= smaller(to.last - from, taps - 1); ++k)
    sum += number<A>(fetched(at + k * stride));
  return sum;
}

template <class T, class F>
__global__ void __launch_bounds__(kThreads, kBlocksOf<sum_t<T>>)
    sepconv_tiled_image(const SepconvParams<T, F> p) {
  using A = sum_t<T>;
  constexpr int kRows = kImageRows<A>;
  VFI_SHARED(A, grads, [kTileChannels][kImageReach]);
  VFI_SHARED(A, verticals, [kRows][kImageReach]);
  VFI_SHARED(A, ends, [2][kImageReach]);  // taps that reach the first and the last column of the image
  const SepconvTerm<T, F>& term = p.term[p.selected];
  const int thread = int(threadIdx.x), left = int(blockIdx.x) * kThreads, x = left + thread;
  const int last_x = min(left + kThreads, term.image_w) - 1;
  const auto rows_of = [&](int y) { return positions_of(y, term.image_h, term.top, p.h, term.kv); };
  const auto columns_of = [&](int at) { return positions_of(at, term.image_w, term.left, p.w, term.kh); };
  const bool is_end = x == 0 || x == term.image_w - 1;
  for_each_tile(p.n, (i64(term.image_h) + kRows - 1) / kRows, [&](i64 n, i64 index) {
    const int top = int(index) * kRows, bottom = min(top + kRows, term.image_h) - 1;
    const int begin = max(rows_of(top).first - term.kv + 1, 0), end = min(rows_of(bottom).last, p.h - 1);
    for (int first_c = 0; first_c < p.c; first_c += kTileChannels) {
      const int channels = min(kTileChannels, p.c - first_c);
      A sum[kTileChannels][kRows] = {};
      for (int y = begin; y <= end; ++y)
        for (int first_j = 0; first_j < term.kh; first_j += kImageSpan) {
          const int span = min(kImageSpan, term.kh - first_j);
          // Column s in shared memory is `reached + s` of the output; a thread's first tap reads its own.
          const int reached = left + term.left - first_j - span + 1;
          __syncthreads();  // what is there is not needed any more
          for (int s = thread; s < kThreads + span - 1; s += kThreads) {
            const int from = reached + s;
            const bool inside = from >= 0 && from < p.w;
            for (int c = 0; c < channels; ++c)
              grads[c][s] = inside ? number<A>(fetched(p.grad_out.at(n, first_c + c, y, from))) : A(0);
            const F* taps = term.vertical.at(n, 0, y, inside ? from : 0);
            for (int r = 0; r < kRows; ++r)
              verticals[r][s] = inside && top + r <= bottom
                                    ? taps_between<A>(taps, term.vertical.c, term.kv, y, rows_of(top + r))
                                    : A(0);
            taps = term.horizontal.at(n, 0, y, inside ? from : 0);
            if (left == 0)
              ends[0][s] =
                  inside ? taps_between<A>(taps, term.horizontal.c, term.kh, from, columns_of(0)) : A(0);
            if (last_x == term.image_w - 1)
              ends[1][s] =
                  inside ? taps_between<A>(taps, term.horizontal.c, term.kh, from, columns_of(last_x)) : A(0);
          }
          __syncthreads();
          const F* next = term.horizontal.at(n, first_j + span - 1, y, reached + thread);
#pragma unroll 2
          for (int s = thread; s < thread + span; ++s, next += term.horizontal.x - term.horizontal.c) {
            const int from = reached + s;
            A tap = 0;
            if (is_end)
              tap = ends[x != 0][s];
            else if (from >= 0 && from < p.w)
              tap = number<A>(fetched(next));
            A product[kTileChannels];
            for (int c = 0; c < kTileChannels; ++c) product[c] = grads[c][s] * tap;
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
              const A vertical = verticals[r][s];
              for (int c = 0; c < kTileChannels; ++c) sum[c][r] += product[c] * vertical;
            }
          }
        }
      if (x >= term.image_w) continue;
      A not_finite = 0;
#pragma unroll
      for (int c = 0; c < kTileChannels; ++c)
        for (int r = 0; r < kRows; ++r)
          if (c < channels && top + r <= bottom) {
            *term.grad_image.at(n, first_c + c, top + r, x) = sum[c][r];
            not_finite += sum[c][r] * 0;
          }
      // Where nothing reaches a pixel there is a 0, and Inf times that is NaN: again, by plain loops.
      if (!is_finite(not_finite))
#pragma unroll 1
        for (int c = first_c; c < first_c + channels; ++c)
#pragma unroll 1
          for (int y = top; y <= bottom; ++y) {
            A* const result = term.grad_image.at(n, c, y, x);
            if (!is_finite(*result)) *result = sepconv_image(p, n, c, y, x);
          }
    }
  });
}

}  // namespace vfi
