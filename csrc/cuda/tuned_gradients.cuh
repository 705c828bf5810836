// What the tuned gradients share: the sums behind the gradient of a position, and additions to the gradient
// of a frame that need few atomics.
#pragma once
#include "tuned_taps.cuh"

namespace vfi {

// Of a tuned gradient on a multiprocessor: leaves a thread 96 registers, or 128 where it would spill.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ >= 1000 || __CUDA_ARCH__ < 800)
constexpr int kBackwardBlocks = 4;
#else
constexpr int kBackwardBlocks = 5;
#endif

// Adds the products of grad and the channels of a sample's pixels, a tap at a time: all channels share the
// weights and their slopes, which slopes_of applies to the sums.
template <bool kExact, int kStep, int kChannels, class T>
__device__ __forceinline__ void add_products(const Planes<kStep, kChannels, T>& planes, const Spot& spot,
                                             const float (&grad)[kChannels], float (&tap)[4]) {
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    const int plane = kStep == 1 ? c : 0, channel = kStep == 1 ? 0 : c;
    const T *top = planes.top[plane] + spot.offset + channel,
            *bottom = planes.bottom[plane] + spot.offset + channel;
    const float v[4] = {tap_at(top), tap_at(top + kStep), tap_at(bottom), tap_at(bottom + kStep)};
    for (int k = 0; k < 4; ++k) tap[k] += grad[c] * (kExact ? counted(spot.weight[k], v[k]) : v[k]);
  }
}

VFI_FN Slope<float> slopes_of(const Axis<float>& ax, const Axis<float>& ay, const float (&tap)[4]) {
  Slope<float> s;
  s.value = ay.weight_lo * (ax.weight_lo * tap[0] + ax.weight_hi * tap[1]) +
            ay.weight_hi * (ax.weight_lo * tap[2] + ax.weight_hi * tap[3]);
  s.dx = ay.weight_lo * (ax.slope_lo * tap[0] + ax.slope_hi * tap[1]) +
         ay.weight_hi * (ax.slope_lo * tap[2] + ax.slope_hi * tap[3]);
  s.dy = ay.slope_lo * (ax.weight_lo * tap[0] + ax.weight_hi * tap[1]) +
         ay.slope_hi * (ax.weight_lo * tap[2] + ax.weight_hi * tap[3]);
  return s;
}

// Unless v is 0, for which the compiler would branch.
__device__ __forceinline__ void add(float* p, float v) {
#if defined(__CUDA_ARCH__)
  asm volatile(
      "{.reg .pred some; setp.neu.f32 some, %1, 0f00000000; @some red.global.add.f32 [%0], %1;}" ::"l"(p),
      "f"(v)
      : "memory");
#else
  if (v != 0) atomicAdd(p, v);
#endif
}

// p: a multiple of 16 bytes.
__device__ __forceinline__ void add(float* p, const float (&v)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if (v[0] == 0 && v[1] == 0 && v[2] == 0 && v[3] == 0) return;
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p), "f"(v[0]), "f"(v[1]), "f"(v[2]),
               "f"(v[3])
               : "memory");
#else
  for (int k = 0; k < 4; ++k) add(p + k, v[k]);
#endif
}

// Adds to kChannels channels of the gradient of a frame. Neighbours mostly share taps: a lane hands its right
// taps to the lane of the next pixel where these are that one's left taps, and keeps its bottom taps for the
// next row. So smooth flows take a little more than one atomic addition a pixel and channel instead of four.
// kStep: from pixel to pixel; 0 where only the view knows, and four channels at a time are added together.
template <int kStep, int kChannels>
class Scatter {
 public:
  // lanes: from a pixel's lane to the next pixel's.
  __device__ __forceinline__ Scatter(const View<float>& target, i64 n, int c, int lanes = 1)
      : row_(u32(target.y)), step_(kStep ? kStep : u32(target.x)), lanes_(lanes) {
    static_assert(kStep || kChannels == 4);
    for (int k = 0; k < kPointers; ++k) {
      to_[k] = target.at(n, c + k, 0, 0);
      keep(to_[k]);
    }
  }

  // For all lanes of a warp together. Pixels of weight 0 get nothing, not even of an infinite gradient.
  __device__ __forceinline__ void pixel(const Spot& spot, const float (&grad)[kChannels]) {
    const int lane = threadIdx.x % 32;
    const u32 next = __shfl_down_sync(kAllLanes, spot.offset, lanes_);
    const u32 last = __shfl_up_sync(kAllLanes, spot.offset, lanes_);
    const bool gives = lane + lanes_ < 32 && next == spot.offset + step_;
    const bool takes = lane >= lanes_ && last + step_ == spot.offset;
    const bool follows = below_ == spot.offset;
    float left[kChannels], right[2][kChannels];
    if (!follows) flush();
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      float part[4];
      for (int k = 0; k < 4; ++k) part[k] = spot.weight[k] == 0 ? 0.0f : spot.weight[k] * grad[c];
      const float top = __shfl_up_sync(kAllLanes, part[1], lanes_),
                  bottom = __shfl_up_sync(kAllLanes, part[3], lanes_);
      right[0][c] = part[1];
      right[1][c] = part[3];
      left[c] = part[0] + (takes ? top : 0) + (follows ? kept_[c] : 0);
      kept_[c] = part[2] + (takes ? bottom : 0);
    }
    if (!gives) {
      add_to(spot.offset + step_, right[0]);
      add_to(spot.offset + step_ + row_, right[1]);
    }
    add_to(spot.offset, left);
    below_ = spot.offset + row_;
  }

  // What the last row kept; the next row is then the first of another march.
  __device__ __forceinline__ void finish() {
    flush();
    for (int c = 0; c < kChannels; ++c) kept_[c] = 0;
  }

 private:
  static constexpr int kPointers = kStep ? kChannels : 1;

  __device__ __forceinline__ void flush() const { add_to(below_, kept_); }

  __device__ __forceinline__ void add_to(u32 offset, const float (&v)[kChannels]) const {
    if constexpr (kStep) {
      for (int c = 0; c < kChannels; ++c) add(to_[c] + offset, v[c]);
    } else {
      add(to_[0] + offset, v);
    }
  }

  float* to_[kPointers];
  u32 row_, step_, below_ = 0;
  int lanes_;
  float kept_[kChannels] = {};  // for the pixel at below_
};

}  // namespace vfi
