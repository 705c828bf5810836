// How the tensor-core kernels of sepconv work, and how images and taps reach them. For 8 neighbouring pixels
// of a row the sums over the horizontal taps are a matrix product T = A B: A[(c, i), m] = image[c, y + i, x0
// + m] lies in shared memory, B[m, n] = horizontal[m - n, y, x0 + n] is a band, which stays in registers for
// all rows of A. README.md has the design.
//
// A block marches down a strip of the image, a warp taking every kWarps-th row of the output. The image rows
// that the taps reach lie in a ring, so each is loaded, scaled and split once.
//
// float32 accuracy from float16 operands: scale * x = high + low, three products of the parts. The scale is a
// power of two, one for each row of the image and one for the taps of each pixel. What float16 cannot hold,
// Inf and NaN among it, shows in the result as Inf or NaN, or in build()'s answer; such rows are computed
// again by plain loops.
#pragma once
#include "../math/sepconv.h"
#include "mma.cuh"

namespace vfi {

constexpr int kGroups = 4;                              // of 8 pixels, side by side
constexpr int kStrip = 8 * kGroups;                     // pixels of a row that a warp takes at once
constexpr int kMarch = 64;                              // rows of a block
constexpr int kChannels = 3;                            // of a block
constexpr int kSteps = 4;                               // of 16 columns: what 8 pixels reach
constexpr int kReach = 16 * kSteps;                     // columns of B
constexpr int kBlocks = kGroups - 1 + 2 * kSteps;       // of 8 columns: what a strip reaches
constexpr int kPairs = (kGroups - 1) / 2 + kSteps;      // aligned pairs of blocks
constexpr int kBefore = 7;                              // rows of zeros before the first tap: columns m < n
constexpr int kStagedRows = kWarps * kReach + kBefore;  // a warp's zeros at the end are the next warp's first
constexpr int kTopExponent = 14;                        // the largest scaled value is in [2^14, 2^15)
constexpr int kBias =
    32;  // of sums, as a power of two: keeps what is scaled clear of float32's smallest numbers
constexpr int kLowestTap = -64, kHighestTap = 16;  // powers of two between which the largest tap must lie

// Numbers from one staged row of taps to the next: with 16 bytes more than the strip a band is read without
// bank conflicts.
template <class F>
constexpr int kTapPitch = kStrip + 16 / int(sizeof(F));

// float32 takes two parts, unless coarse products were asked for; the others are exact in one (bfloat16 down
// to 2^-38 of the largest).
template <class T, bool kCoarse>
constexpr int kParts = sizeof(T) == 4 && !kCoarse ? 2 : 1;

// The types that the kernels exist for, and whether products are coarse; X(T, F, kCoarse).
#define VFI_FOR_EACH_FLOAT_BAND(X) \
  X(f32, f32, false)               \
  X(f32, f32, true) X(f16, f32, false) X(f16, f16, false) X(bf16, f32, false) X(bf16, bf16, false)
#define VFI_FOR_EACH_BAND(X) VFI_FOR_EACH_FLOAT_BAND(X) X(u8, f32, false)

VFI_FN int exponent_of(float magnitude) { return int(bits_of(magnitude) >> 23) - 127; }
VFI_FN float power_of_two(int exponent) { return float_of(u32(exponent + 127) << 23); }

// high + low of two scaled numbers. Their sum keeps 2^-23 of each, and 2^-39 of the largest.
template <int kCount>
__device__ __forceinline__ void split(float a, float b, u32& high, u32& low) {
  high = packed(a, b);
  if constexpr (kCount == 2) low = packed(a - low_of(high), b - high_of(high));
}

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T v[4];
};
template <class T>
struct alignas(2 * sizeof(T)) Two {
  T v[2];
};

// Whether any kCount neighbours that start at a multiple of kCount can be accessed at once.
template <int kCount, class T>
__device__ __forceinline__ bool in_groups(const View<T>& view) {
  return view.x == 1 && ((view.n | view.c | view.y) & (kCount - 1)) == 0 &&
         reinterpret_cast<size_t>(view.data) % (kCount * sizeof(T)) == 0;
}

// Where a block works: entry of the batch, first row and column of the output. Computed anew in every place
// that needs it, because registers are scarce in between.
struct Place {
  i64 n = u32(opaque(int(blockIdx.z)));
  int y = opaque(int(blockIdx.y)) * kMarch, x = opaque(int(blockIdx.x)) * kStrip;
};

// A block's shared memory. Members: where things lie, in bytes, the ring of image rows last; and what a warp
// uses of them.
template <class T, class F, bool kCoarse>
struct BandMemory {
  static constexpr int kStaged = 0;  // F [kStagedRows][kTapPitch<F>]
  static constexpr int kUnscale = kStagedRows * kTapPitch<F> * int(sizeof(F));  // float [kWarps][kStrip]
  static constexpr int kGradOut = kUnscale + kWarps * kStrip * 4;  // float [kWarps][kChannels][kStrip]
  static constexpr int kAgain = kGradOut + kWarps * kChannels * kStrip * 4;  // bool [kMarch]
  static constexpr int kPartial = kAgain + kMarch;  // float [kMarch][kChannels][kStrip], not always there

  // Blocks of 8 columns: 8 high parts, 8 low parts.
  static constexpr int kBlockBytes = 16 * kParts<T, kCoarse>, kChannelBytes = kBlocks * kBlockBytes;
  // The channels, and a float that undoes their scale. An odd multiple of 16: 8 rows of a matrix fall on
  // different banks.
  static constexpr int kRowBytes = ((kChannels * kChannelBytes + 4 + 15) / 16 | 1) * 16;

  // The sum of the first of two terms; float32 results hold it themselves.
  static VFI_FN int partial_bytes(const SepconvParams<T, F>& p) {
    return p.terms > 1 && sizeof(T) < 4 ? kMarch * kChannels * kStrip * 4 : 0;
  }
  static VFI_FN int ring(const SepconvParams<T, F>& p) {
    return (kPartial + partial_bytes(p) + 15) / 16 * 16;
  }
  static VFI_FN int total(const SepconvParams<T, F>& p) {
    int taps = 0;
    for (int t = 0; t < p.terms; ++t) taps = larger(taps, p.term[t].kv);
    return ring(p) + (taps - 1 + kWarps) * kRowBytes;
  }

  unsigned char* memory;
  bool* again;  // [kMarch]: rows that plain loops have to compute

  __device__ __forceinline__ explicit BandMemory(unsigned char* memory_)
      : memory(memory_), again(reinterpret_cast<bool*>(memory + kAgain)) {
    for (int i = int(threadIdx.x); i < kMarch; i += kThreads) again[i] = false;
  }

  // The warp's rows of taps from one on; the first kBefore are zero.
  __device__ __forceinline__ F* staged(int row = 0) const {
    const int first = opaque(int(threadIdx.x)) / 32 * kReach;
    return reinterpret_cast<F*>(memory + kStaged) + (first + row) * kTapPitch<F>;
  }
  // What undoes the scale of the warp's taps, [kStrip].
  __device__ __forceinline__ float* unscale() const {
    return reinterpret_cast<float*>(memory + kUnscale) + opaque(int(threadIdx.x)) / 32 * kStrip;
  }
  // The gradient of the output at the warp's pixels, scaled as the taps' unscale says: [kChannels][kStrip].
  __device__ __forceinline__ float* grad_out() const {
    return reinterpret_cast<float*>(memory + kGradOut) + opaque(int(threadIdx.x)) / 32 * kChannels * kStrip;
  }

  // Sets the staging rows to zero: taps come in between.
  __device__ __forceinline__ void clear() const {
    F* const all = reinterpret_cast<F*>(memory + kStaged);
    for (int i = int(threadIdx.x); i < kStagedRows * kTapPitch<F>; i += kThreads) all[i] = F{};
    __syncthreads();
  }

  // The warp has computed a row; for some lane not well.
  __device__ __forceinline__ void finish(int row, bool badly) const {
    if (__any_sync(kAllLanes, badly) && opaque(int(threadIdx.x)) % 32 == 0) again[row] = true;
  }

  // Calls plain(n, y, x) for the pixels of the rows that have to be computed again. Each warp has written its
  // rows itself.
  template <class Plain>
  __device__ __forceinline__ void repeat(int rows, int w, const Plain& plain) const {
    const Place at;
    const int x = at.x + opaque(int(threadIdx.x)) % 32;
#pragma unroll 1
    for (int row = opaque(int(threadIdx.x)) / 32; row < rows; row += kWarps)
      if (again[row] && x < w) plain(at.n, at.y + row, x);
  }
};

// The rows of the image that the rows of the output under way reach, as float16 parts: row r of the block
// lies in slot r % count().
template <class T, class F, bool kCoarse>
class ImageRing {
 public:
  using Memory = BandMemory<T, F, kCoarse>;
  static constexpr int kImageParts = kParts<T, kCoarse>;
  struct Rows {
    Four<T> channel[kChannels];
  };

  __device__ __forceinline__ ImageRing(const SepconvTerm<T, F>& term, unsigned char* rows, int first_c,
                                       int channels)
      : term_(term), rows_(rows), first_c_(first_c), channels_(channels) {}

  // Columns before the first that the taps reach: the strip's first column is a multiple of four.
  static __device__ __forceinline__ int shift(const SepconvTerm<T, F>& term) { return -term.left & 3; }
  __device__ __forceinline__ int count() const { return term_.kv - 1 + kWarps; }

  // Loads the block's row r, of every channel four columns a lane. Beyond the image its border is repeated,
  // where taps are zero or nothing is stored.
  __device__ __forceinline__ void load(Rows& rows, int r) const {
    if (lane() >= 2 * kBlocks) return;
    const Place at;
    const auto& image = term_.image;
    const T* row = image.at(at.n, first_c_, clamped(at.y + r - term_.top, term_.image_h), 0);
    const int x = at.x - term_.left - shift(term_) + 4 * lane();
    const int channels = opaque(channels_);
    const bool fours = in_groups<4>(image) && x >= 0 && x + 4 <= term_.image_w;
#pragma unroll
    for (int c = 0; c < kChannels; ++c, row += image.c) {
      if (c >= channels) break;
      if (fours) {
        rows.channel[c] = *reinterpret_cast<const Four<T>*>(row + x);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) rows.channel[c].v[k] = row[clamped(x + k, term_.image_w) * image.x];
      }
    }
  }

  // Scales and splits what was loaded, and puts it into a slot.
  __device__ __forceinline__ void store(const Rows& rows, int slot) const {
    float v[kChannels][4], largest = 0;
#pragma unroll
    for (int c = 0; c < kChannels; ++c)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        v[c][k] = lane() < 2 * kBlocks && c < channels_ ? number<float>(rows.channel[c].v[k]) : 0.0f;
        largest = max(largest, fabsf(v[c][k]));
      }
    // Below 2^-113 the scale would not be a float32; these numbers keep all their bits nevertheless.
    const int exponent = max(exponent_of(largest_in_warp(largest)), kTopExponent - 127);
    const float scale = power_of_two(kTopExponent - exponent);
    if (lane() == 0) unscale_of(slot) = power_of_two(min(exponent - kTopExponent + kBias, 128));
    if (lane() >= 2 * kBlocks) return;
    unsigned char* at = rows_ + slot * Memory::kRowBytes + lane() / 2 * Memory::kBlockBytes + lane() % 2 * 8;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      Two<u32> high, low;
#pragma unroll
      for (int k = 0; k < 2; ++k)
        split<kImageParts>(v[c][2 * k] * scale, v[c][2 * k + 1] * scale, high.v[k], low.v[k]);
      *reinterpret_cast<Two<u32>*>(at + c * Memory::kChannelBytes) = high;
      if constexpr (kImageParts == 2) *reinterpret_cast<Two<u32>*>(at + c * Memory::kChannelBytes + 16) = low;
    }
  }

  // Fills the ring for the block's first rows; the next while one is on its way.
  __device__ __forceinline__ void fill() const {
    Rows now, next = {};
    load(now, warp());
#pragma unroll 1
    for (int r = warp(); r < count(); r += kWarps, now = next) {
      if (r + kWarps < count()) load(next, r + kWarps);
      store(now, r);
    }
  }

  // The slot that lies `rows` (at most count()) behind another.
  __device__ __forceinline__ int behind(int slot, int rows) const {
    return slot + rows < count() ? slot + rows : slot + rows - count();
  }
  __device__ __forceinline__ SharedAddress row(int slot) const {
    return shared_address(rows_) + slot * Memory::kRowBytes;
  }
  __device__ __forceinline__ float unscale(int slot) const { return unscale_of(slot); }

 private:
  static __device__ __forceinline__ int lane() { return opaque(int(threadIdx.x)) % 32; }
  static __device__ __forceinline__ int warp() { return opaque(int(threadIdx.x)) / 32; }

  const SepconvTerm<T, F>& term_;
  __device__ __forceinline__ float& unscale_of(int slot) const {
    return *reinterpret_cast<float*>(rows_ + slot * Memory::kRowBytes + kChannels * Memory::kChannelBytes);
  }

  unsigned char* rows_;
  int first_c_, channels_;
};

// Calls body(row, slot) for the rows of the block, each warp its own; slot is that of the first row of the
// image that a row reaches. The ring must not be in use yet.
template <class Ring, class Body>
__device__ __forceinline__ void march(const Ring& ring, int rows, const Body& body) {
  const int warp = opaque(int(threadIdx.x)) / 32;
  ring.fill();
  __syncthreads();
  int slot = warp;
#pragma unroll 1
  for (int row = warp; row - warp < rows; row += kWarps, slot = ring.behind(slot, kWarps)) {
    typename Ring::Rows next;
    const bool more = row - warp + kWarps < rows;
    if (more) ring.load(next, ring.count() + row);  // on its way while the tensor core works
    if (row < rows) body(row, slot);
    __syncthreads();
    if (more) ring.store(next, slot);  // over the row that no warp needs any more
    __syncthreads();
  }
}

// Starts copying the horizontal (or vertical) taps of the block's row to a warp's staging rows.
template <class F>
__device__ __forceinline__ void stage(F* staged, const View<const F>& taps, int row, int count, int w) {
  const int lane = opaque(int(threadIdx.x)) % 32;
  const Place at;
  const F* from = taps.at(at.n, 0, at.y + row, at.x);
  if (in_groups<4>(taps)) {
    const int x = lane % 8 * 4, inside = min(max(w - at.x - x, 0), 4);
    from += lane / 8 * taps.c + (inside ? x : 0);
#pragma unroll 4
    for (int tap = lane / 8; tap < count; tap += 4, from += 4 * taps.c)
      copy_async<4 * sizeof(F)>(staged + tap * kTapPitch<F> + x, from, inside * int(sizeof(F)));
  } else {
    const bool inside = at.x + lane < w;
    from += inside ? lane : 0;
#pragma unroll 4
    for (int tap = 0; tap < count; ++tap, from += taps.c) {
      F* to = staged + tap * kTapPitch<F> + lane;
      if constexpr (sizeof(F) == 4)
        copy_async<4>(to, from, inside ? 4 : 0);
      else
        *to = inside ? *from : F{};
    }
  }
}

}  // namespace vfi
