// The products of the tensor-core kernels of sepconv: fragments of the right-hand sides, and what they are
// multiplied with. sepconv_ring.cuh has the design.
#pragma once
#include "sepconv_ring.cuh"

namespace vfi {

// Column of group q's part of A that row k of step s of B stands for. A fragment of A is two blocks of 8
// columns, loaded together; the groups share the pairs of blocks (0, 1), (2, 3) ... An odd group begins
// in the middle of a pair, and its last step takes its first and its last block.
VFI_FN constexpr int band_column(int q, int s, int k) {
  return q % 2 == 0 ? 16 * s + k : s < kSteps - 1 ? 8 + 16 * s + k : k < 8 ? k : kReach - 16 + k;
}

// Whether group q takes a pair of blocks, and in which step. The pairs are the aligned ones and behind them
// (first, last) of the odd groups.
VFI_FN constexpr int step_of(int q, int pair) { return pair < kPairs ? pair - (q + 1) / 2 : kSteps - 1; }
VFI_FN constexpr bool uses(int q, int pair) {
  return pair < kPairs ? step_of(q, pair) >= 0 && step_of(q, pair) < kSteps - q % 2
                       : q == 2 * (pair - kPairs) + 1;
}

VFI_FN constexpr int first_block(int pair) { return pair < kPairs ? 2 * pair : 2 * (pair - kPairs) + 1; }

// The right-hand sides of the products of all groups, as fragments.
template <int kCount>
struct Fragments {
  u32 part[kCount][kGroups][kSteps][2];
};

// value(q, s, k): row k of step s of group q; this lane's k is 2t more than said, and its column g is a
// pixel. unscale[pixel] undoes the scale, and the bias of sums. False if taps are out of range.
template <int kCount, class Value>
__device__ __forceinline__ bool build(Fragments<kCount>& fragments, float* unscale, const Value& value) {
  const int lane = opaque(int(threadIdx.x)) % 32;
  bool in_range = true;
#pragma unroll
  for (int q = 0; q < kGroups; ++q) {
    float v[kSteps][4], largest = 0;
#pragma unroll
    for (int s = 0; s < kSteps; ++s)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        v[s][e] = value(q, s, (e & 1) + 8 * (e >> 1));
        largest = max(largest, fabsf(v[s][e]));
      }
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    const int exponent = min(max(exponent_of(largest), kLowestTap), kHighestTap);
    in_range = in_range && (largest == 0 || exponent == exponent_of(largest));
    const float scale = power_of_two(kTopExponent - exponent);
    if (lane % 4 == 0) unscale[8 * q + lane / 4] = power_of_two(exponent - kTopExponent - kBias);
#pragma unroll
    for (int s = 0; s < kSteps; ++s)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        split<kCount>(v[s][2 * r] * scale, v[s][2 * r + 1] * scale, fragments.part[0][q][s][r],
                      fragments.part[kCount - 1][q][s][r]);
  }
  return in_range;
}

// Of a row's staged horizontal taps.
template <int kCount, class F>
__device__ __forceinline__ bool build_band(Fragments<kCount>& band, float* unscale, const F* staged) {
  const int lane = opaque(int(threadIdx.x)) % 32, g = lane / 4, t = lane % 4;
  const F* const skewed = staged + (2 * t - g + kBefore) * kTapPitch<F> + g;
  return build(band, unscale, [&](int q, int s, int k) {
    return number<float>(skewed[band_column(q, s, k) * kTapPitch<F> + 8 * q]);
  });
}

// 16 rows of T for every group, as two sums. The tensor core cuts its sums instead of rounding them, always
// towards zero: a sum of few terms, or of small ones, loses less. So `first` has the products of high parts
// of half the columns, `second` those of the other half after the small products.
struct Products {
  float first[kGroups][4], second[kGroups][4];
  __device__ __forceinline__ float sum(int q, int r) const { return first[q][r] + second[q][r]; }
};

// Adds the products of a pair of blocks to the sums of the groups that use it. step: of the right-hand side,
// or -1 for the step that the group takes the pair in.
template <int kImageParts, int kCount>
__device__ __forceinline__ void multiply_pair(Products& t, const Fragments<kCount>& right,
                                              const u32 (&high)[4], const u32 (&low)[4], int pair,
                                              int step = -1) {
#pragma unroll
  for (int turn = 0; turn < 4; ++turn)  // outside of the groups: one after the other, they are independent
#pragma unroll
    for (int q = 0; q < kGroups; ++q) {
      if (!uses(q, pair)) continue;
      const int s = step < 0 ? step_of(q, pair) : step;
      if (turn == 0 && s < kSteps / 2) mma(t.first[q], high, right.part[0][q][s]);
      if (turn == 1 && kCount == 2) mma(t.second[q], high, right.part[kCount - 1][q][s]);
      if (turn == 2 && kImageParts == 2) mma(t.second[q], low, right.part[0][q][s]);
      if (turn == 3 && s >= kSteps / 2) mma(t.second[q], high, right.part[0][q][s]);
    }
}

// even, odd: this lane's row of A, at block (lane / 16) of an aligned pair and of a (first, last) pair.
template <int kImageParts, int kCount>
__device__ __forceinline__ void multiply(Products& t, const Fragments<kCount>& band, SharedAddress even,
                                         SharedAddress odd) {
  t = {};
#pragma unroll
  for (int pair = 0; pair < kPairs + kGroups / 2; ++pair) {
    __syncwarp();  // for ptxas only: loads of later pairs, begun too early, would spill
    const SharedAddress at = (pair < kPairs ? even : odd) + first_block(pair) * 16 * kImageParts;
    u32 high[4], low[4];
    load_matrices(high, at);
    if constexpr (kImageParts == 2) load_matrices(low, at + 16);
    multiply_pair<kImageParts>(t, band, high, low, pair);
  }
}

// How many neighbours in a row of taps a lane accesses at once: 1, 2, or in half precision 8, of which the
// four lanes of the row then exchange pairs. For a warp's 8 rows are 8 lines of memory, whatever their share.
template <class F>
__device__ __forceinline__ int pixels_at_once(const View<F>& taps, int w) {
  if (sizeof(F) == 2 && in_groups<8>(taps) && w % 8 == 0) return 8;
  return in_groups<2>(taps) && w % 2 == 0 ? 2 : 1;
}
// The first pixel of a strip that lane t accesses.
VFI_FN int lane_pixel(int at_once, int t) { return (at_once == 8 ? 8 : 2) * t; }

// Transposes 4 x 4 words, a row of them in each of the four lanes with the same g.
__device__ __forceinline__ void transpose(u32 (&word)[4]) {
#pragma unroll
  for (int step = 2; step; step /= 2) {
    const bool upper = threadIdx.x & step;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k & step) continue;
      const u32 got = __shfl_xor_sync(kAllLanes, upper ? word[k] : word[k + step], step);
      word[k] = upper ? got : word[k];
      word[k + step] = upper ? word[k + step] : got;
    }
  }
}

// The taps of pixels 8q + 2t and the next of a strip, for this lane's t. `row` is at the lane's first pixel;
// columns: how many pixels are left from there.
template <class F>
__device__ __forceinline__ void load_pixels(float (&v)[kGroups][2], const F* row, int columns, int at_once) {
#pragma unroll
  for (int q = 0; q < kGroups; ++q)
#pragma unroll
    for (int e = 0; e < 2; ++e) v[q][e] = 0;
  if (at_once == 2) {
#pragma unroll
    for (int q = 0; q < kGroups; ++q) {
      if (8 * q >= columns) continue;
      const Two<F> pair = *reinterpret_cast<const Two<F>*>(row + 8 * q);
      v[q][0] = number<float>(pair.v[0]);
      v[q][1] = number<float>(pair.v[1]);
    }
  } else if (at_once == 1) {
#pragma unroll
    for (int q = 0; q < kGroups; ++q)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (8 * q + e < columns) v[q][e] = number<float>(row[8 * q + e]);
  } else if constexpr (sizeof(F) == 2) {
    Four<u32> pairs = {};
    if (columns > 0) pairs = *reinterpret_cast<const Four<u32>*>(row);
    transpose(pairs.v);
#pragma unroll
    for (int q = 0; q < kGroups; ++q)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        v[q][e] = number<float>(F{static_cast<unsigned short>(pairs.v[q] >> 16 * e)});
  }
}

__device__ __forceinline__ void scale(float (&v)[kGroups][2], float factor) {
#pragma unroll
  for (int q = 0; q < kGroups; ++q)
#pragma unroll
    for (int e = 0; e < 2; ++e) v[q][e] *= factor;
}

}  // namespace vfi
