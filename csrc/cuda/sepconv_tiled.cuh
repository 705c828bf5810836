// sepconv's forward pass without tensor cores: for few taps, very many, float64 and older devices; any
// layout. A block computes 32 columns of the output, a thread some pixels of one, which lie below each other
// and so read mostly the same pixels of the image.
#pragma once
#include "sepconv.cuh"

namespace vfi {

constexpr int kTileColumns = 32, kTileChannels = 3;
// Pixels of a thread, and rows of a block.
template <class A>
constexpr int kTilePixels = 16 / int(sizeof(A));
template <class A>
constexpr int kTileRows = kWarps * kTilePixels<A>;
// Taps along one axis for which a block holds the image, in static shared memory, so there may be any number
// of taps.
template <class A>
constexpr int kTileSpan = 128 / int(sizeof(A));
constexpr int kHeldTaps = 8;     // horizontal taps of a pixel, in registers
constexpr int kTiledBlocks = 3;  // of the forward pass on a multiprocessor: with kMinBlocks it spills

// body(n, tile) for every tile of every entry. Blocks stride over both.
template <class Body>
__device__ __forceinline__ void for_each_tile(i64 batch, i64 tiles, const Body& body) {
  for (i64 n = blockIdx.z; n < batch; n += gridDim.z)
    for (i64 tile = blockIdx.y; tile < tiles; tile += gridDim.y) body(n, tile);
}

// A thread's pixels. Those beyond the image are its last ones again: all threads stay, for the barriers.
template <int kPixels>
struct PixelColumn {
  int x, y, h, w;

  __device__ __forceinline__ PixelColumn(int height, int width, int top)
      : x(int(blockIdx.x * kTileColumns + threadIdx.x % kTileColumns)),
        y(top + int(threadIdx.x / kTileColumns) * kPixels),
        h(height),
        w(width) {}
  __device__ __forceinline__ bool has(int pixel) const { return x < w && y + pixel < h; }
  template <class V>
  __device__ __forceinline__ V* at(const View<V>& v, i64 n, int c, int pixel) const {
    return v.at(n, c, min(y + pixel, h - 1), min(x, w - 1));
  }
};

// rows x columns pixels of the image, from (top, left) of its padded rows and columns on, in so many
// channels.
template <int kRows, int kColumns, class A, class T, class F>
__device__ __forceinline__ void fill(A (&tile)[kTileChannels][kRows][kColumns], const SepconvTerm<T, F>& term,
                                     i64 n, int first_c, int channels, int top, int left, int rows,
                                     int columns) {
  for (int s = threadIdx.x % 32; s < columns; s += 32) {
    const T* column = term.image.at(n, first_c, 0, clamped(left + s - term.left, term.image_w));
    for (int r = int(threadIdx.x / 32); r < rows; r += kWarps) {
      const T* pixel = column + clamped(top + r - term.top, term.image_h) * term.image.y;
#pragma unroll
      for (int c = 0; c < kTileChannels; ++c)
        if (c < channels) tile[c][r][s] = number<A>(fetched(pixel + c * term.image.c));
    }
  }
}

// Adds the part of `count` horizontal taps and of the vertical ones from `first` on, `span` of each pixel.
// kAll: of kHeldTaps.
template <bool kAll, int kRows, int kColumns, int kPixels, class A, class F>
__device__ __forceinline__ void add_rows(const A (&tile)[kTileChannels][kRows][kColumns],
                                         const A (&tap)[kHeldTaps][kPixels], int count,
                                         const View<F>& vertical, const PixelColumn<kPixels>& at, i64 n,
                                         int first, int span, A (&sum)[kTileChannels][kPixels]) {
  const int top = int(threadIdx.x / 32) * kPixels, lane = threadIdx.x % 32;
  const F* next[kPixels];
  for (int k = 0; k < kPixels; ++k) next[k] = at.at(vertical, n, first, k);
#pragma unroll 1
  for (int r = 0; r < span + kPixels - 1; ++r) {
    A line[kTileChannels][kPixels] = {};
#pragma unroll
    for (int j = 0; j < kHeldTaps; ++j)
      if (kAll || j < count)
        for (int c = 0; c < kTileChannels; ++c) {
          const A value = tile[c][top + r][lane + j];
          for (int k = 0; k < kPixels; ++k) line[c][k] += value * tap[j][k];
        }
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const int i = r - k;
      if (i < 0 || i >= span) continue;
      const A weight = number<A>(fetched(next[k]));
      next[k] += vertical.c;
      for (int c = 0; c < kTileChannels; ++c) sum[c][k] += line[c][k] * weight;
    }
  }
}

template <class T, class F>
__global__ void __launch_bounds__(kThreads, kTiledBlocks) sepconv_tiled_forward(const SepconvParams<T, F> p) {
  using A = sum_t<T>;
  constexpr int kPixels = kTilePixels<A>, kRows = kTileRows<A>, kSpan = kTileSpan<A>;
  VFI_SHARED(A, tile, [kTileChannels][kRows + kSpan - 1][kTileColumns + kHeldTaps - 1]);
  const int left = int(blockIdx.x) * kTileColumns;
  for_each_tile(p.n, (i64(p.h) + kRows - 1) / kRows, [&](i64 n, i64 index) {
    const int top = int(index) * kRows;
    const PixelColumn<kPixels> at(p.h, p.w, top);
    for (int first_c = 0; first_c < p.c; first_c += kTileChannels) {
      const int channels = min(kTileChannels, p.c - first_c);
      A sum[kTileChannels][kPixels] = {};
      for (int t = 0; t < p.terms; ++t) {
        const SepconvTerm<T, F>& term = p.term[t];
        for (int first_j = 0; first_j < term.kh; first_j += kHeldTaps) {
          const int count = min(kHeldTaps, term.kh - first_j);
          A tap[kHeldTaps][kPixels];
#pragma unroll
          for (int k = 0; k < kPixels; ++k) {
            const F* from = at.at(term.horizontal, n, first_j, k);
            for (int j = 0; j < kHeldTaps; ++j)
              tap[j][k] = j < count ? number<A>(fetched(from + j * term.horizontal.c)) : A(0);
          }
          for (int first_i = 0; first_i < term.kv; first_i += kSpan) {
            const int span = min(kSpan, term.kv - first_i);
            __syncthreads();  // the tile before is not needed any more
            fill(tile, term, n, first_c, channels, top + first_i, left + first_j, kRows + span - 1,
                 kTileColumns + count - 1);
            __syncthreads();
            if (count == kHeldTaps)
              add_rows<true>(tile, tap, count, term.vertical, at, n, first_i, span, sum);
            else
              add_rows<false>(tile, tap, count, term.vertical, at, n, first_i, span, sum);
          }
        }
      }
      A not_finite = 0;
#pragma unroll
      for (int c = 0; c < kTileChannels; ++c)
        for (int k = 0; k < kPixels; ++k)
          if (c < channels && at.has(k)) {
            store(at.at(p.out, n, first_c + c, k), sum[c][k]);
            not_finite += sum[c][k] * 0;
          }
      // A row that is cut may be Inf - Inf where the whole one is Inf: again, by plain loops.
      if (!is_finite(not_finite))
#pragma unroll 1
        for (int c = first_c; c < first_c + channels; ++c)
#pragma unroll 1
          for (int k = 0; k < kPixels && at.has(k); ++k)
            store(at.at(p.out, n, c, k), sepconv_sum(p, n, c, at.y + k, at.x));
    }
  });
}

}  // namespace vfi
