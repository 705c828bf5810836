// The gradient of sepconv's image on the tensor cores, for up to kChannels channels. With rows and columns
// that count the replicated border, a row y of the output adds to the image
//
//   grad_image[c, y + i, m] += sum_n V[i, n] B[c][n, m],
//   V[i, n] = vertical[i, n], B[c][n, m] = grad_out[c, n] horizontal[m - n, n].
//
// A block owns a strip of the image and marches down the rows of the output that reach it. Each warp keeps
// the sums of its columns in registers, kWindow rows of them: what the taps of kBatch rows of the output
// reach. After these the first kBatch rows of the window are complete, are stored, and the window moves on.
// So nothing is added in memory, and where blocks begin changes no result.
//
// V is scaled and split once for all warps, and lies in shared memory; a row of the output finds it shifted
// to the rows of the window. B is of the columns of one warp and stays in registers. Pixels at the image's
// border collect all that falls outside: the taps that reach there are first added to the one that reaches
// the border.
//
// V's scale is that of a pixel, B's that of 8 columns, of all that reaches them. What is out of range or not
// finite makes all sums there Inf or NaN, and such results are computed again by plain loops.
#pragma once
#include "sepconv.cuh"
#include "sepconv_band.cuh"

namespace vfi {

constexpr int kImageGroups = 2;                         // of 8 columns, of a warp
constexpr int kImageStrip = 8 * kWarps * kImageGroups;  // columns of a block
constexpr int kWindow = 64;                             // rows whose sums a warp holds
constexpr int kTiles = kWindow / 16;
constexpr int kBatch = 8;                          // rows of the output between two stores
constexpr int kPixels = kImageStrip - 8 + kReach;  // of a row of the output that reach a strip
constexpr int kPixelPitch = kPixels + 4;           // 4 mod 8: a band is read without bank conflicts
constexpr int kWindowRows = kBefore + kReach;      // of taps, with the zeros before and behind them
constexpr int kHighestProduct = 15;                // the scaled values of B are below 2^15

// Rows of the image that a block owns.
__device__ __forceinline__ int image_rows(int image_h) {
  const int batches = (image_h + kBatch - 1) / kBatch, blocks = int(gridDim.y);
  return (batches + blocks - 1) / blocks * kBatch;
}

// A block's shared memory.
template <class F, bool kCoarse>
struct ImageMemory {
  static constexpr int kTapParts = kParts<F, kCoarse>, kProductParts = kCoarse ? 1 : 2;
  // Blocks of 8 pixels: 8 high parts, 8 low parts.
  static constexpr int kBlockBytes = 16 * kTapParts;
  static constexpr int kRowBytes = (kPixels / 8 * kTapParts | 1) * 16;

  static constexpr int kSplit = 0;                                   // [kWindowRows][kRowBytes]
  static constexpr int kFactors = kSplit + kWindowRows * kRowBytes;  // float [kWarps][kChannels][kReach]
  static constexpr int kGradOut = kFactors + kWarps * kChannels * kReach * 4;  // float [kChannels][kPixels]
  static constexpr int kScale = kGradOut + kChannels * kPixels * 4;            // float [kPixels]
  static constexpr int kHorizontal = kScale + kPixels * 4;                     // F [kWindowRows][kPixelPitch]
  static constexpr int kVertical = kHorizontal + kWindowRows * kPixelPitch * int(sizeof(F));
  static VFI_FN int total(int kv) { return kVertical + kv * kPixelPitch * int(sizeof(F)); }

  unsigned char* memory;

  __device__ __forceinline__ unsigned char* split() const { return memory + kSplit; }
  // What B takes grad_out from: per warp, in the order of its fragments.
  __device__ __forceinline__ float* factors() const {
    return reinterpret_cast<float*>(memory + kFactors) + int(threadIdx.x) / 32 * kChannels * kReach;
  }
  __device__ __forceinline__ float* grad_out() const { return reinterpret_cast<float*>(memory + kGradOut); }
  __device__ __forceinline__ float* scale() const { return reinterpret_cast<float*>(memory + kScale); }
  __device__ __forceinline__ F* horizontal(int row = 0) const {
    return reinterpret_cast<F*>(memory + kHorizontal) + row * kPixelPitch;
  }
  __device__ __forceinline__ F* vertical() const { return reinterpret_cast<F*>(memory + kVertical); }

  // Sets all that lies before and behind the taps to zero.
  __device__ __forceinline__ void clear() const {
    for (int i = int(threadIdx.x); i < kVertical / 4; i += kThreads) reinterpret_cast<u32*>(memory)[i] = 0;
    __syncthreads();
  }
};

// Starts copying the taps of row y at the pixels from `first` on; beyond the row they are zero.
template <class F>
__device__ __forceinline__ void stage_pixels(F* to, const View<const F>& taps, i64 n, int y, int count,
                                             int first, int w) {
  const int thread = int(threadIdx.x);
  if (in_groups<4>(taps)) {
    const int x = first + thread % 32 * 4, inside = x < 0 ? 0 : min(max(w - x, 0), 4);
    if (thread % 32 >= kPixels / 4) return;
    const F* from = taps.at(n, thread / 32, y, inside ? x : 0);
    to += thread / 32 * kPixelPitch + thread % 32 * 4;
#pragma unroll 4
    for (int tap = thread / 32; tap < count;
         tap += kWarps, from += kWarps * taps.c, to += kWarps * kPixelPitch)
      copy_async<4 * sizeof(F)>(to, from, inside * int(sizeof(F)));
  } else if (thread < kPixels) {
    const bool inside = first + thread >= 0 && first + thread < w;
    const F* from = taps.at(n, 0, y, inside ? first + thread : 0);
    to += thread;
#pragma unroll 4
    for (int tap = 0; tap < count; ++tap, from += taps.c, to += kPixelPitch) {
      if constexpr (sizeof(F) == 4)
        copy_async<4>(to, from, inside ? 4 : 0);
      else
        *to = inside ? *from : F{};
    }
  }
}

// Adds a pixel's taps before `first` to that one, and those behind `last`: they reach beyond the image.
template <class F>
__device__ __forceinline__ void fold(F* taps, int first, int last, int count) {
  float sum = 0;
#pragma unroll 1
  for (int i = 0; i <= first; ++i) sum += number<float>(taps[i * kPixelPitch]);
  if (first > 0) store(taps + first * kPixelPitch, sum);
  sum = 0;
#pragma unroll 1
  for (int i = last; i < count; ++i) sum += number<float>(taps[i * kPixelPitch]);
  if (last < count - 1) store(taps + last * kPixelPitch, sum);
}

// The gradient of sepconv's image for one strip.
template <class T, class F, bool kCoarse>
class ImageStrip {
 public:
  using Memory = ImageMemory<F, kCoarse>;

  __device__ __forceinline__ ImageStrip(const SepconvParams<T, F>& p, unsigned char* memory)
      : p_(p), term_(p.term[p.selected]), memory_{memory} {}

  // What the strip's first pixel is moved by to be a multiple of four, and its horizontal taps with it.
  __device__ __forceinline__ int shift() const { return -term_.left & 3; }
  __device__ __forceinline__ int first_pixel() const {
    return int(blockIdx.x) * kImageStrip + term_.left + shift() - (kReach - 8);
  }
  __device__ __forceinline__ void stage_vertical(int y) const {
    stage_pixels(memory_.vertical(), term_.vertical, blockIdx.z, y, term_.kv, first_pixel(), p_.w);
  }
  __device__ __forceinline__ void stage_horizontal(int y) const {
    stage_pixels(memory_.horizontal(kBefore + shift()), term_.horizontal, blockIdx.z, y, term_.kh,
                 first_pixel(), p_.w);
  }

  // A thread a pixel: folds its taps, finds the scale of its vertical ones and gives it to grad_out.
  __device__ __forceinline__ void prepare(int y) const {
    const int thread = int(threadIdx.x), pixel = first_pixel() + thread;
    if (thread >= kPixels) return;
    const bool inside = pixel >= 0 && pixel < p_.w;
    float grad[kChannels];
    const T* from = p_.grad_out.at(blockIdx.z, 0, y, inside ? pixel : 0);
#pragma unroll
    for (int c = 0; c < kChannels; ++c, from += p_.grad_out.c)
      grad[c] = inside && c < p_.c ? number<float>(*from) : 0.0f;

    F* const vertical = memory_.vertical() + thread;
    const int above = term_.top - y, below = above + term_.image_h - 1;
    if (above > 0 || below < term_.kv - 1) fold(vertical, above, below, term_.kv);
    const int before = term_.left - pixel, behind = before + term_.image_w - 1;
    if (inside && (before > 0 || behind < term_.kh - 1))
      fold(memory_.horizontal(kBefore + shift()) + thread, before, behind, term_.kh);

    float largest = 0;
#pragma unroll 8
    for (int i = 0; i < term_.kv; ++i)
      largest = max(largest, fabsf(number<float>(vertical[i * kPixelPitch])));
    // Below 2^-113 the scale would not be a float32. Inf makes Inf or NaN of all that the pixel reaches.
    const int exponent = max(exponent_of(largest), kTopExponent - 127);
    memory_.scale()[thread] = power_of_two(is_finite(largest) ? kTopExponent - exponent : 128);
    const float unscale = power_of_two(largest == 0 ? -127 : min(exponent, 127));  // no taps: 0, or still NaN
#pragma unroll
    for (int c = 0; c < kChannels; ++c) memory_.grad_out()[c * kPixels + thread] = grad[c] * unscale;
  }

  // Scales and splits the vertical taps. Within 8 pixels they are in the order 0, 4, 1, 5, 2, 6, 3, 7: so
  // B's fragments are read without bank conflicts.
  __device__ __forceinline__ void split_vertical() const {
    constexpr int kBlocksOf8 = kPixels / 8, kRows = kThreads / kBlocksOf8;
    const int thread = int(threadIdx.x), block = thread % kBlocksOf8;
    if (thread >= kBlocksOf8 * kRows) return;
    Four<float> factor[2];
#pragma unroll
    for (int e = 0; e < 2; ++e)
      factor[e] = *reinterpret_cast<const Four<float>*>(memory_.scale() + 8 * block + 4 * e);
#pragma unroll 2
    for (int i = thread / kBlocksOf8; i < term_.kv; i += kRows) {
      const F* const from = memory_.vertical() + i * kPixelPitch + 8 * block;
      const Four<F> a = *reinterpret_cast<const Four<F>*>(from);
      const Four<F> b = *reinterpret_cast<const Four<F>*>(from + 4);
      Four<u32> high, low;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        vfi::split<Memory::kTapParts>(number<float>(a.v[k]) * factor[0].v[k],
                                      number<float>(b.v[k]) * factor[1].v[k], high.v[k], low.v[k]);
      unsigned char* const to =
          memory_.split() + (kBefore + i) * Memory::kRowBytes + block * Memory::kBlockBytes;
      *reinterpret_cast<Four<u32>*>(to) = high;
      if constexpr (Memory::kTapParts == 2) *reinterpret_cast<Four<u32>*>(to + 16) = low;
    }
  }

  // B of 8 columns, as fragments, and what undoes the scales of their sums.
  struct Columns {
    u32 part[Memory::kProductParts][kChannels][kSteps][2];
    float unscale[kChannels];
  };

  // q: which 8 columns of the strip.
  __device__ __forceinline__ void build(Columns& columns, int q) const {
    const int lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    const F* const skewed = memory_.horizontal(kReach - 1 + g - t) + 8 * q + t;
    float taps[kSteps][4], largest = 0;
#pragma unroll
    for (int s = 0; s < kSteps; ++s)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        taps[s][k] = number<float>(skewed[-(16 * s + 4 * k) * (kPixelPitch - 1)]);
        largest = max(largest, fabsf(taps[s][k]));
      }
    largest = largest_in_warp(largest);
    const int exponent = largest == 0 ? 0 : exponent_of(largest);

    float* const factors = memory_.factors();
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const float* const from = memory_.grad_out() + c * kPixels + 8 * q + lane;
      const float a = from[0], b = from[32], most = largest_in_warp(max(fabsf(a), fabsf(b)));
      const int grad = most == 0 ? 0 : exponent_of(most);
      const int up = kHighestProduct - 2 - exponent - grad;
      const bool in_range = exponent <= kHighestTap && up > -110 && up < 112;
      const float factor = power_of_two(in_range ? up : 128);  // Inf makes Inf or NaN of everything
      columns.unscale[c] = power_of_two(kBias - kTopExponent - up);
      float* const to = factors + c * kReach + lane / 16 * 16 + lane % 4 * 4 + lane / 4 % 4;
      to[0] = a * factor;
      to[32] = b * factor;
    }
    __syncwarp();
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const auto f = *reinterpret_cast<const Four<float>*>(factors + c * kReach + 16 * s + 4 * t);
#pragma unroll
        for (int r = 0; r < 2; ++r)
          vfi::split<Memory::kProductParts>(taps[s][2 * r] * f.v[2 * r], taps[s][2 * r + 1] * f.v[2 * r + 1],
                                            columns.part[0][c][s][r],
                                            columns.part[Memory::kProductParts - 1][c][s][r]);
      }
    __syncwarp();  // all have read
  }

  // The sums of 8 columns: of kTiles times 16 rows of the window.
  using Sums = float[kTiles][kChannels][4];

  // Adds what a row of the output, `down` rows below the window's first, gives to the tiles [first, last).
  __device__ __forceinline__ void multiply(Sums& sums, const Columns& columns, int q, int down, int first,
                                           int last) const {
    const int lane = int(threadIdx.x) % 32;
    SharedAddress at = shared_address(memory_.split()) + (lane % 16 + kBefore - down) * Memory::kRowBytes +
                       (q + lane / 16) * Memory::kBlockBytes;
#pragma unroll
    for (int u = 0; u < kTiles; ++u, at += 16 * Memory::kRowBytes) {
      if (u < first || u >= last) continue;
      float big[kChannels][4] = {}, rest[kChannels][4] = {};  // as Products: see there
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        u32 high[4], low[4];
        load_matrices(high, at + 2 * s * Memory::kBlockBytes);
        if constexpr (Memory::kTapParts == 2) load_matrices(low, at + 2 * s * Memory::kBlockBytes + 16);
#pragma unroll
        for (int turn = 0; turn < 3; ++turn)
#pragma unroll
          for (int c = 0; c < kChannels; ++c) {
            const auto& part = columns.part;
            if (turn == 0 && Memory::kProductParts == 2)
              mma(rest[c], high, part[Memory::kProductParts - 1][c][s]);
            if (turn == 1 && Memory::kTapParts == 2) mma(rest[c], low, part[0][c][s]);
            if (turn == 2) mma(s < kSteps / 2 ? big[c] : rest[c], high, part[0][c][s]);
          }
      }
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
#pragma unroll
        for (int r = 0; r < 4; ++r) sums[u][c][r] += (big[c][r] + rest[c][r]) * columns.unscale[c];
    }
  }

  // Stores the window's first rows, the first of them row y of the image, if they are in [first, last); moves
  // the window. not_finite becomes NaN if a result is not finite.
  __device__ __forceinline__ void finish(Sums& sums, int q, int y, int first, int last,
                                         float& not_finite) const {
    const int lane = int(threadIdx.x) % 32, row = y + lane / 4;
    const int x = int(blockIdx.x) * kImageStrip + 8 * q + lane % 4 * 2;
    if (row >= first && row < last) {
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          if (c < p_.c && x + e < term_.image_w) {
            const float value = sums[0][c][e] * power_of_two(-kBias);
            not_finite += value * 0.0f;
            *term_.grad_image.at(blockIdx.z, c, row, x + e) = value;
          }
    }
#pragma unroll
    for (int u = 0; u < kTiles; ++u)
#pragma unroll
      for (int c = 0; c < kChannels; ++c)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          sums[u][c][e] = sums[u][c][2 + e];
          sums[u][c][2 + e] = u + 1 < kTiles ? sums[(u + 1) % kTiles][c][e] : 0.0f;
        }
  }

  // Computes the warp's results that are Inf or NaN again, by plain loops.
  __device__ __forceinline__ void repeat(int first, int last) const {
    const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
    constexpr int kColumns = 8 * kImageGroups;
    const i64 n = blockIdx.z;
    const int x = int(blockIdx.x) * kImageStrip + warp * kColumns + lane % kColumns;
    __syncwarp();
    if (x >= term_.image_w) return;
#pragma unroll 1
    for (int y = first + lane / kColumns; y < last; y += 32 / kColumns)
#pragma unroll 1
      for (int c = 0; c < p_.c; ++c) {
        float* const result = term_.grad_image.at(n, c, y, x);
        if (!is_finite(*result)) *result = sepconv_image(p_, n, c, y, x);
      }
  }

 private:
  const SepconvParams<T, F>& p_;
  const SepconvTerm<T, F>& term_;
  Memory memory_;
};

template <class T, class F, bool kCoarse>
__global__ void __launch_bounds__(kThreads, 2) sepconv_band_image(const SepconvParams<T, F> p) {
  if constexpr (kTensorCores) {
    using Strip = ImageStrip<T, F, kCoarse>;
    VFI_DYN_SMEM(unsigned char, shared);
    const SepconvTerm<T, F>& term = p.term[p.selected];
    const Strip strip(p, shared);
    typename Strip::Memory{shared}.clear();
    // The block's rows of the image, counting the border, and the rows of the output that reach them.
    const int rows = image_rows(term.image_h);
    const int first = min(int(blockIdx.y) * rows, term.image_h) + term.top;
    const int last = min(first + rows, term.image_h + term.top);
    const int first_y = max(first - term.kv + 1, 0), last_y = min(last, p.h);
    if (first_y < last_y) {
      strip.stage_vertical(first_y);
      strip.stage_horizontal(first_y);
    }
    typename Strip::Sums sums[kImageGroups] = {};
    float not_finite = 0;
#pragma unroll 1
    for (int window = first - (term.kv + kBatch - 2) / kBatch * kBatch; window < last; window += kBatch) {
#pragma unroll 1
      for (int y = max(window, first_y); y < min(window + kBatch, last_y); ++y) {
        wait_for_copies();
        __syncthreads();  // the taps are there, and what was split before is not needed any more
        strip.prepare(y);
        __syncthreads();
        strip.split_vertical();
        // Tiles that the row reaches and the block owns.
        const int tile = max(first - window, 0) / 16;
        const int tiles = (min(y + term.kv, last) - window + 15) / 16;
#pragma unroll
        for (int k = 0; k < kImageGroups; ++k) {
          const int q = int(threadIdx.x) / 32 * kImageGroups + k;
          typename Strip::Columns columns;
          strip.build(columns, q);
          // V is there, and all have read the vertical taps; behind the last group, the horizontal ones too.
          if (k == 0 || k == kImageGroups - 1) __syncthreads();
          if (k == 0 && y + 1 < last_y) strip.stage_vertical(y + 1);
          if (k == kImageGroups - 1 && y + 1 < last_y) strip.stage_horizontal(y + 1);
          strip.multiply(sums[k], columns, q, y - window, tile, tiles);
        }
      }
#pragma unroll
      for (int k = 0; k < kImageGroups; ++k)
        strip.finish(sums[k], int(threadIdx.x) / 32 * kImageGroups + k, window - term.top, first - term.top,
                     last - term.top, not_finite);
    }
    if (__any_sync(kAllLanes, !is_finite(not_finite))) strip.repeat(first - term.top, last - term.top);
  }
}

}  // namespace vfi
