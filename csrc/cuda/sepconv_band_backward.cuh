// The gradients of sepconv's taps on the tensor cores, for up to kChannels channels. With T = A B as in the
// forward pass
//
//   grad_vertical[i, n] = sum_c grad_out[c, n] T[(c, i), n],
//
// and with V[i, n] = vertical[i, n] as the right-hand side, A transposed as the left
//
//   grad_horizontal[j, n] = sum_c grad_out[c, n] U[c, n + j, n], U[c, m, n] = sum_i A[(c, i), m] V[i, n].
#pragma once
#include "sepconv.cuh"
#include "sepconv_band.cuh"

namespace vfi {

// Puts the gradient of the output at a row's pixels, times a factor and unscale[pixel], where all lanes find
// it.
template <class T, class F>
__device__ __forceinline__ void load_grad_out(float* to, const SepconvParams<T, F>& p, int row,
                                              const float* unscale, float factor) {
  const int lane = opaque(int(threadIdx.x)) % 32;
  const Place at;
  const T* from = p.grad_out.at(at.n, 0, at.y + row, at.x + lane);
#pragma unroll
  for (int c = 0; c < kChannels; ++c, from += p.grad_out.c)
    to[c * kStrip + lane] =
        c < p.c && at.x + lane < p.w ? number<float>(*from) * (unscale[lane] * factor) : 0.0f;
  __syncwarp();
}

// sum += grad_out times one of the two halves of T's rows. at: grad_out of a channel at pixel 2t.
__device__ __forceinline__ void add_rows(float (&sum)[kGroups][2], const float* at, const Products& product,
                                         int half) {
#pragma unroll
  for (int q = 0; q < kGroups; ++q) {
    const Two<float> grad = *reinterpret_cast<const Two<float>*>(at + 8 * q);
#pragma unroll
    for (int e = 0; e < 2; ++e) sum[q][e] += grad.v[e] * product.sum(q, 2 * half + e);
  }
}

// Stores results of pixels 8q + 2t and the next of a tap: load_pixels' counterpart. not_finite becomes NaN if
// one is not.
template <class F>
__device__ __forceinline__ void store_pixels(F* row, const float (&v)[kGroups][2], int columns, int at_once,
                                             float& not_finite) {
  Two<F> pair[kGroups];
#pragma unroll
  for (int q = 0; q < kGroups; ++q)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      not_finite += v[q][e] * 0.0f;
      store(&pair[q].v[e], v[q][e]);
    }
  if (at_once == 2) {
#pragma unroll
    for (int q = 0; q < kGroups; ++q)
      if (8 * q < columns) *reinterpret_cast<Two<F>*>(row + 8 * q) = pair[q];
  } else if (at_once == 1) {
#pragma unroll
    for (int q = 0; q < kGroups; ++q)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (8 * q + e < columns) row[8 * q + e] = pair[q].v[e];
  } else if constexpr (sizeof(F) == 2) {
    Four<u32> words;
#pragma unroll
    for (int q = 0; q < kGroups; ++q) words.v[q] = pair[q].v[0].bits | u32(pair[q].v[1].bits) << 16;
    transpose(words.v);
    if (columns > 0) *reinterpret_cast<Four<u32>*>(row) = words;
  }
}

template <class T, class F, bool kCoarse>
__global__ void __launch_bounds__(kThreads, 2) sepconv_band_vertical(const SepconvParams<T, F> p) {
  if constexpr (kTensorCores) {
    using Ring = ImageRing<T, F, kCoarse>;
    using Memory = typename Ring::Memory;
    VFI_DYN_SMEM(unsigned char, shared);
    const Memory memory(shared);
    const int warp = int(threadIdx.x) / 32, rows = min(p.h - Place().y, kMarch);
    const SepconvTerm<T, F>& term = p.term[p.selected];
    const Ring ring(term, shared + Memory::ring(p), 0, p.c);
    memory.clear();
    if (warp < rows) stage(memory.staged(kBefore + Ring::shift(term)), term.horizontal, warp, term.kh, p.w);
    march(ring, rows, [&](int row, int slot) {
      Fragments<kParts<F, kCoarse>> band;
      wait_for_copies();
      __syncwarp();
      bool badly = !build_band(band, memory.unscale(), memory.staged());
      __syncwarp();  // all have read: the staging rows are free for the next row
      if (row + kWarps < rows)
        stage(memory.staged(kBefore + Ring::shift(term)), term.horizontal, row + kWarps, term.kh, p.w);
      load_grad_out(memory.grad_out(), p, row, memory.unscale(), power_of_two(kBias));

      const int lane = opaque(int(threadIdx.x)) % 32, g = lane / 4, t = lane % 4;
      const Place at;
      const View<F>& result = term.grad_vertical;
      const int at_once = pixels_at_once(result, p.w), first = lane_pixel(at_once, t);
      const int columns = p.w - at.x - first;
      const float* const grad_out = memory.grad_out() + 2 * t;
      F* out = result.at(at.n, g, at.y + row, at.x + first);
      const int even = lane / 16 * Memory::kBlockBytes, odd = even * (2 * kSteps - 1);
      int a_slot = ring.behind(slot, lane % 16), out_slot = ring.behind(slot, g), tap = 0;
      float not_finite = 0;
#pragma unroll 1
      for (; tap + 8 < term.kv; tap += 16) {
        float sum[2][kGroups][2] = {};
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
          const SharedAddress a = ring.row(a_slot) + c * Memory::kChannelBytes;
          Products product;
          multiply<Ring::kImageParts>(product, band, a + even, a + odd);
#pragma unroll
          for (int u = 0; u < 2; ++u) add_rows(sum[u], grad_out + c * kStrip, product, u);
        }
#pragma unroll
        for (int u = 0; u < 2; ++u) {
          scale(sum[u], ring.unscale(ring.behind(out_slot, 8 * u)) * power_of_two(-kBias));
          store_pixels(out + 8 * u * result.c, sum[u], tap + 8 * u + g < term.kv ? columns : 0, at_once,
                       not_finite);
        }
        out += 16 * result.c;
        a_slot = ring.behind(a_slot, 16);
        out_slot = ring.behind(out_slot, 16);
      }
      if (tap < term.kv) {  // up to 8 taps are left: half a tile for each channel
        float sum[kGroups][2] = {};
        if (lane % 16 >= 8) a_slot = ring.behind(a_slot, ring.count() - 8);
#pragma unroll
        for (int c = 0; c < kChannels; c += 2) {
          const int mine = min(c + lane % 16 / 8, kChannels - 1);
          const SharedAddress a = ring.row(a_slot) + mine * Memory::kChannelBytes;
          Products product;
          multiply<Ring::kImageParts>(product, band, a + even, a + odd);
#pragma unroll
          for (int u = 0; u < 2; ++u)
            if (c + u < kChannels) add_rows(sum, grad_out + (c + u) * kStrip, product, u);
        }
        scale(sum, ring.unscale(out_slot) * power_of_two(-kBias));
        store_pixels(out, sum, tap + g < term.kv ? columns : 0, at_once, not_finite);
      }
      memory.finish(row, badly || !is_finite(not_finite));
    });

    memory.repeat(rows, p.w, [&](i64 n, int y, int x) {
#pragma unroll 1
      for (int i = 0; i < term.kv; ++i)
        store(term.grad_vertical.at(n, i, y, x), sepconv_vertical(p, n, i, y, x));
    });
  }
}

// The fragments of V: the staged vertical taps times what undoes the scale of their rows of the image.
template <int kCount, class Ring, class F>
__device__ __forceinline__ bool build_columns(Fragments<kCount>& columns, float* unscale, const F* staged,
                                              const Ring& ring, int slot) {
  const int lane = opaque(int(threadIdx.x)) % 32, g = lane / 4, t = lane % 4;
  const F* const first = staged + (2 * t + kBefore) * kTapPitch<F> + g;
  float row_unscale[kSteps][4];
#pragma unroll
  for (int s = 0; s < kSteps; ++s, slot = ring.behind(slot, 16))
#pragma unroll
    for (int e = 0; e < 4; ++e)
      row_unscale[s][e] = ring.unscale(ring.behind(slot, 2 * t + (e & 1) + 8 * (e >> 1))) *
                          power_of_two(kTopExponent - kBias);
  return build(columns, unscale, [&](int q, int s, int k) {
    return number<float>(first[(16 * s + k) * kTapPitch<F> + 8 * q]) * row_unscale[s][k % 8 + k / 8 * 2];
  });
}

// Writes a row's staged gradients of horizontal taps, [taps][kStrip] behind `staged`.
template <class F>
__device__ __forceinline__ void unstage(const View<F>& result, const F* staged, int row, int count, int w) {
  const int lane = opaque(int(threadIdx.x)) % 32;
  const Place at;
  F* to = result.at(at.n, 0, at.y + row, at.x);
  if (in_groups<4>(result) && w % 4 == 0) {
    const int x = lane % 8 * 4;
    to += lane / 8 * result.c + x;
    if (at.x + x < w)
#pragma unroll 4
      for (int tap = lane / 8; tap < count; tap += 4, to += 4 * result.c)
        *reinterpret_cast<Four<F>*>(to) = *reinterpret_cast<const Four<F>*>(staged + tap * kTapPitch<F> + x);
  } else if (at.x + lane < w) {
#pragma unroll 4
    for (int tap = 0; tap < count; ++tap, to += result.c) to[lane] = staged[tap * kTapPitch<F> + lane];
  }
}

template <class T, class F, bool kCoarse>
__global__ void __launch_bounds__(kThreads, 2) sepconv_band_horizontal(const SepconvParams<T, F> p) {
  if constexpr (kTensorCores) {
    using Ring = ImageRing<T, F, kCoarse>;
    using Memory = typename Ring::Memory;
    VFI_DYN_SMEM(unsigned char, shared);
    const Memory memory(shared);
    const int warp = int(threadIdx.x) / 32, rows = min(p.h - Place().y, kMarch);
    const SepconvTerm<T, F>& term = p.term[p.selected];
    const Ring ring(term, shared + Memory::ring(p), 0, p.c);
    memory.clear();
    if (warp < rows) stage(memory.staged(kBefore), term.vertical, warp, term.kv, p.w);
    march(ring, rows, [&](int row, int slot) {
      Fragments<kParts<F, kCoarse>> columns;
      wait_for_copies();
      __syncwarp();
      bool badly = !build_columns(columns, memory.unscale(), memory.staged(), ring, slot);
      __syncwarp();  // all have read: the staging rows are free for the results
      load_grad_out(memory.grad_out(), p, row, memory.unscale(), power_of_two(kBias - kTopExponent));

      const int lane = opaque(int(threadIdx.x)) % 32, g = lane / 4, t = lane % 4;
      // This lane's row of A in every step, at block (lane / 8 % 2) of a pair.
      SharedAddress a[kSteps];
#pragma unroll
      for (int s = 0, i = ring.behind(slot, lane % 8 + lane / 16 * 8); s < kSteps;
           ++s, i = ring.behind(i, 16))
        a[s] = ring.row(i);
      const int even = lane / 8 % 2 * Memory::kBlockBytes, odd = even * (2 * kSteps - 1);
      // Column m of U and pixel n belong to tap m - n - shift; here at m = g, n = 2t.
      const int tap = g - 2 * t - Ring::shift(term);
      F* const results = memory.staged(kBefore + tap) + 2 * t;
      const float* const grad_out = memory.grad_out() + 2 * t;
      float not_finite = 0;
#pragma unroll
      for (int pair = 0; pair < kPairs + kGroups / 2; ++pair) {
        const bool aligned = pair < kPairs;
        const int block = first_block(pair);
        float sum[2][kGroups][2] = {};
#pragma unroll 1
        for (int c = 0; c < p.c; ++c) {
          Products product = {};
#pragma unroll
          for (int s = 0; s < kSteps; ++s) {
            const SharedAddress at =
                a[s] + c * Memory::kChannelBytes + (aligned ? even : odd) + block * Memory::kBlockBytes;
            u32 high[4], low[4];
            load_matrices<true>(high, at);
            if constexpr (Ring::kImageParts == 2) load_matrices<true>(low, at + 16);
            multiply_pair<Ring::kImageParts>(product, columns, high, low, pair, s);
          }
#pragma unroll
          for (int u = 0; u < 2; ++u) add_rows(sum[u], grad_out + c * kStrip, product, u);
        }
#pragma unroll
        for (int q = 0; q < kGroups; ++q)
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            if (!uses(q, pair)) continue;
            const int m = 8 * (block - q + (aligned ? r >> 1 : (r >> 1) * (2 * kSteps - 1))), n = r & 1;
            not_finite += sum[r >> 1][q][r & 1] * 0.0f;
            if (unsigned(tap + m - n) < unsigned(term.kh))
              store(results + (m - n) * kTapPitch<F> + 8 * q + n, sum[r >> 1][q][r & 1]);
          }
      }
      __syncwarp();
      unstage(term.grad_horizontal, memory.staged(kBefore), row, term.kh, p.w);
      __syncwarp();
#pragma unroll 1
      for (int i = term.kv; i < term.kh; ++i) memory.staged(kBefore + i)[lane] = F{};
      if (row + kWarps < rows) stage(memory.staged(kBefore), term.vertical, row + kWarps, term.kv, p.w);
      memory.finish(row, badly || !is_finite(not_finite));
    });

    memory.repeat(rows, p.w, [&](i64 n, int y, int x) {
#pragma unroll 1
      for (int j = 0; j < term.kh; ++j)
        store(term.grad_horizontal.at(n, j, y, x), sepconv_horizontal(p, n, j, y, x));
    });
  }
}

}  // namespace vfi
