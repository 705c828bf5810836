// sepconv's forward pass without tensor cores: for few taps, many, float64 and older devices. The sums of
// sepconv_sum() in the same order, but a block's part of the image lies in shared memory, the horizontal taps
// of a pixel are read once, and three channels are computed together.
#pragma once
#include "../math/sepconv.h"
#include "mma.cuh"

namespace vfi {

constexpr int kTileColumns = 32, kTileRows = kThreads / kTileColumns, kTileChannels = 3;

template <class T, class F>
__global__ void __launch_bounds__(kThreads, kMinBlocks) sepconv_tiled_forward(const SepconvParams<T, F> p) {
  using A = sum_t<T>;
  VFI_DYN_SMEM(A, tile);  // [kTileChannels][rows][columns], then the horizontal taps [kh][kThreads]
  const int thread = int(threadIdx.x), lane = thread % kTileColumns, row = thread / kTileColumns;
  const int x = int(blockIdx.x) * kTileColumns + lane, y = int(blockIdx.y) * kTileRows + row;
  const i64 n = blockIdx.z;
  const bool inside = x < p.w && y < p.h;
  for (int first_c = 0; first_c < p.c; first_c += kTileChannels) {
    A sum[kTileChannels] = {};
    for (int k = 0; k < p.terms; ++k) {
      const SepconvTerm<T, F>& term = p.term[k];
      const int rows = kTileRows + term.kv - 1, columns = kTileColumns + term.kh - 1;
      A* const taps = tile + kTileChannels * rows * columns + thread;
      __syncthreads();  // the tile before is not needed any more
      for (int c = 0; c < kTileChannels; ++c)
        for (int r = row; r < rows; r += kTileRows)
          for (int s = lane; s < columns; s += kTileColumns) {
            const int from_y = clamped(y - row + r - term.top, term.image_h);
            const int from_x = clamped(x - lane + s - term.left, term.image_w);
            const int from_c = min(first_c + c, p.c - 1);
            tile[(c * rows + r) * columns + s] = number<A>(*term.image.at(n, from_c, from_y, from_x));
          }
      if (inside)
        for (int j = 0; j < term.kh; ++j) taps[j * kThreads] = read<A>(term.horizontal, n, j, y, x);
      __syncthreads();
      if (!inside) continue;
      for (int i = 0; i < term.kv; ++i) {
        const A* const from = tile + (row + i) * columns + lane;
        A line[kTileChannels] = {};
#pragma unroll 4
        for (int j = 0; j < term.kh; ++j) {
          const A tap = taps[j * kThreads];
#pragma unroll
          for (int c = 0; c < kTileChannels; ++c) line[c] += from[c * rows * columns + j] * tap;
        }
        const A tap = read<A>(term.vertical, n, i, y, x);
#pragma unroll
        for (int c = 0; c < kTileChannels; ++c) sum[c] += line[c] * tap;
      }
    }
    if (!inside) continue;
#pragma unroll
    for (int c = 0; c < kTileChannels; ++c)
      if (first_c + c < p.c) store(p.out.at(n, first_c + c, y, x), sum[c]);
  }
}

constexpr i64 kTiledBytes = 48 << 10;  // of shared memory: what every device grants without asking

// Bytes of shared memory of a block.
template <class T, class F>
VFI_FN i64 tiled_bytes(const SepconvParams<T, F>& p) {
  i64 most = 0;
  for (int k = 0; k < p.terms; ++k) {
    const SepconvTerm<T, F>& term = p.term[k];
    const i64 tile = kTileChannels * (kTileRows + term.kv - i64(1)) * (kTileColumns + term.kh - 1);
    most = larger(most, (tile + i64(kThreads) * term.kh) * i64(sizeof(sum_t<T>)));
  }
  return most;
}

}  // namespace vfi
