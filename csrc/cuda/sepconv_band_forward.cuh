// sepconv on the tensor cores.
#pragma once
#include "sepconv.cuh"
#include "sepconv_band.cuh"

namespace vfi {

// Sums over the lanes with the same t, and gives every lane the sums of one pixel of the strip, pixel_of().
__device__ __forceinline__ void reduce(float (&sum)[kChannels], const float (&acc)[kChannels][kGroups][2]) {
  const int lane = int(threadIdx.x) % 32;
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    float half[2][2], quarter[2];  // of the groups
#pragma unroll
    for (int q = 0; q < 2; ++q)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float mine = lane & 16 ? acc[c][q + 2][e] : acc[c][q][e];
        half[q][e] = mine + __shfl_xor_sync(kAllLanes, lane & 16 ? acc[c][q][e] : acc[c][q + 2][e], 16);
      }
#pragma unroll
    for (int e = 0; e < 2; ++e)
      quarter[e] = (lane & 8 ? half[1][e] : half[0][e]) +
                   __shfl_xor_sync(kAllLanes, lane & 8 ? half[0][e] : half[1][e], 8);
    sum[c] = (lane & 4 ? quarter[1] : quarter[0]) +
             __shfl_xor_sync(kAllLanes, lane & 4 ? quarter[0] : quarter[1], 4);
  }
}
VFI_FN int pixel_of(int lane) { return lane / 8 * 8 + lane % 4 * 2 + lane / 4 % 2; }

// The sums of a row: the vertical taps times T, for every lane of one pixel.
template <class Ring, int kTapParts, class T, class F>
__device__ __forceinline__ void weigh(float (&sum)[kChannels], const Ring& ring,
                                      const Fragments<kTapParts>& band, const SepconvTerm<T, F>& term,
                                      int slot, int row, int w) {
  const int lane = opaque(int(threadIdx.x)) % 32, g = lane / 4, t = lane % 4;
  const Place at;
  const int at_once = pixels_at_once(term.vertical, w), first = lane_pixel(at_once, t);
  const int columns = w - at.x - first;
  const F* taps = term.vertical.at(at.n, g, at.y + row, at.x + first);
  const int even = lane / 16 * Ring::Memory::kBlockBytes, odd = even * (2 * kSteps - 1);
  int a_slot = ring.behind(slot, lane % 16), v_slot = ring.behind(slot, g), tap = 0;
  float acc[kChannels][kGroups][2] = {};
#pragma unroll 1  // else the tiles overlap and run out of registers
  for (; tap + 8 < term.kv; tap += 16) {
    float v[2][kGroups][2];
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      load_pixels(v[u], taps + 8 * u * term.vertical.c, tap + 8 * u + g < term.kv ? columns : 0, at_once);
      scale(v[u], ring.unscale(ring.behind(v_slot, 8 * u)));
    }
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const SharedAddress a = ring.row(a_slot) + c * Ring::Memory::kChannelBytes;
      Products product;
      multiply<Ring::kImageParts>(product, band, a + even, a + odd);
#pragma unroll
      for (int q = 0; q < kGroups; ++q)
#pragma unroll
        for (int r = 0; r < 4; ++r) acc[c][q][r & 1] += v[r >> 1][q][r & 1] * product.sum(q, r);
    }
    taps += 16 * term.vertical.c;
    a_slot = ring.behind(a_slot, 16);
    v_slot = ring.behind(v_slot, 16);
  }
  if (tap < term.kv) {  // up to 8 taps are left: half a tile for each channel
    float v[kGroups][2];
    load_pixels(v, taps, tap + g < term.kv ? columns : 0, at_once);
    scale(v, ring.unscale(v_slot));
    if (lane % 16 >= 8) a_slot = ring.behind(a_slot, ring.count() - 8);
#pragma unroll
    for (int c = 0; c < kChannels; c += 2) {
      const int mine = min(c + lane % 16 / 8, kChannels - 1);
      const SharedAddress a = ring.row(a_slot) + mine * Ring::Memory::kChannelBytes;
      Products product;
      multiply<Ring::kImageParts>(product, band, a + even, a + odd);
#pragma unroll
      for (int q = 0; q < kGroups; ++q)
#pragma unroll
        for (int r = 0; r < 4; ++r)
          if (c + r / 2 < kChannels) acc[c + r / 2][q][r & 1] += v[q][r & 1] * product.sum(q, r);
    }
  }
  reduce(sum, acc);
}

template <class T, class F, bool kCoarse>
__global__ void __launch_bounds__(kThreads, 2) sepconv_band_forward(const SepconvParams<T, F> p) {
  if constexpr (kTensorCores) {
    using Ring = ImageRing<T, F, kCoarse>;
    using Memory = typename Ring::Memory;
    VFI_DYN_SMEM(unsigned char, shared);
    const Memory memory(shared);
    const int warp = int(threadIdx.x) / 32, rows = min(p.h - Place().y, kMarch);
#pragma unroll 1
    for (int first_c = 0; first_c < p.c; first_c += kChannels)
#pragma unroll 1
      for (int k = 0; k < p.terms; ++k) {
        const SepconvTerm<T, F>& term = p.term[k];
        const Ring ring(term, shared + Memory::ring(p), first_c, min(p.c - first_c, kChannels));
        memory.clear();
        if (warp < rows)
          stage(memory.staged(kBefore + Ring::shift(term)), term.horizontal, warp, term.kh, p.w);
        march(ring, rows, [&](int row, int slot) {
          float sum[kChannels];
          Fragments<kParts<F, kCoarse>> band;
          wait_for_copies();
          __syncwarp();
          bool badly = !build_band(band, memory.unscale(), memory.staged());
          __syncwarp();  // all have read: the staging rows are free for the next row
          if (row + kWarps < rows)
            stage(memory.staged(kBefore + Ring::shift(term)), term.horizontal, row + kWarps, term.kh, p.w);
          weigh(sum, ring, band, term, slot, row, p.w);

          const Place here;
          const int pixel = pixel_of(opaque(int(threadIdx.x)) % 32);
          if (here.x + pixel < p.w) {
#pragma unroll
            for (int c = 0; c < kChannels; ++c) {
              if (first_c + c >= p.c) break;
              T* const out = p.out.at(here.n, first_c + c, here.y + row, here.x + pixel);
              float* kept;
              if constexpr (sizeof(T) == 4)
                kept = out;
              else
                kept = reinterpret_cast<float*>(shared + Memory::kPartial) + (row * kChannels + c) * kStrip +
                       pixel;
              float value = sum[c] * memory.unscale()[pixel];
              if (k > 0) value += *kept;
              if (k + 1 < p.terms) {
                *kept = value;
              } else {
                store(out, value);
                badly = badly || !is_finite(value);
              }
            }
          }
          memory.finish(row, badly);
        });
      }
    memory.repeat(rows, p.w, [&](i64 n, int y, int x) {
#pragma unroll 1
      for (int c = 0; c < p.c; ++c) store(p.out.at(n, c, y, x), sepconv_sum(p, n, c, y, x));
    });
  }
}

}  // namespace vfi
