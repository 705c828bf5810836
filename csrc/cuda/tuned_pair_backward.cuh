// The tuned gradients of the two-frame operations, for frames of three channels; which calls they serve,
// choice.cuh says. A warp marches down kRows rows of 32 pixels.
#pragma once
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "tuned_taps.cuh"

namespace vfi {

// Leaves a thread 96 registers, or 128 where it would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int kBackwardBlocks = 4;
#else
constexpr int kBackwardBlocks = 5;
#endif
constexpr int kColours = 3;

// Sums over the channels of grad times the sample, and times its derivatives. The products with grad are
// summed a tap at a time first, since all channels share the weights.
template <bool kExact, int kStep, class T>
__device__ __forceinline__ Slope<float> slopes_at(const Planes<kStep, kColours, T>& planes,
                                                  const Axis<float>& ax, const Axis<float>& ay,
                                                  const Spot& spot, const float (&grad)[kColours]) {
  float tap[4] = {};
#pragma unroll
  for (int c = 0; c < kColours; ++c) {
    const int plane = kStep == 1 ? c : 0, channel = kStep == 1 ? 0 : c;
    const T *top = planes.top[plane] + spot.offset + channel,
            *bottom = planes.bottom[plane] + spot.offset + channel;
    const float v[4] = {tap_at(top), tap_at(top + kStep), tap_at(bottom), tap_at(bottom + kStep)};
    for (int k = 0; k < 4; ++k) tap[k] += grad[c] * (kExact ? counted(spot.weight[k], v[k]) : v[k]);
  }
  Slope<float> s;
  s.value = ay.weight_lo * (ax.weight_lo * tap[0] + ax.weight_hi * tap[1]) +
            ay.weight_hi * (ax.weight_lo * tap[2] + ax.weight_hi * tap[3]);
  s.dx = ay.weight_lo * (ax.slope_lo * tap[0] + ax.slope_hi * tap[1]) +
         ay.weight_hi * (ax.slope_lo * tap[2] + ax.slope_hi * tap[3]);
  s.dy = ay.slope_lo * (ax.weight_lo * tap[0] + ax.weight_hi * tap[1]) +
         ay.slope_hi * (ax.weight_lo * tap[2] + ax.weight_hi * tap[3]);
  return s;
}

// atomicAdd would first have to find out that p is in global memory: keep() makes the compiler forget.
__device__ __forceinline__ void add(float* p, float v) {
  if (v == 0) return;
#if defined(__CUDA_ARCH__)
  asm volatile("red.global.add.f32 [%0], %1;" ::"l"(p), "f"(v) : "memory");
#else
  atomicAdd(p, v);
#endif
}

// Adds to the gradient of a frame. Neighbours mostly share taps: a lane hands its right taps to the next lane
// where these are that lane's left ones, and keeps its bottom ones for the next row. So smooth flows take a
// little more than one atomic addition a pixel and channel instead of four.
template <int kStep>
class Scatter {
 public:
  __device__ __forceinline__ Scatter(const View<float>& target, i64 n) : row_(u32(target.y)) {
    for (int c = 0; c < kColours; ++c) {
      plane_[c] = target.at(n, c, 0, 0);
      keep(plane_[c]);
    }
  }

  // For all lanes of a warp together. Pixels of weight 0 get nothing, not even of an infinite gradient.
  __device__ __forceinline__ void pixel(const Spot& spot, const float (&grad)[kColours], int lane) {
    const u32 next = __shfl_down_sync(kAllLanes, spot.offset, 1);
    const u32 last = __shfl_up_sync(kAllLanes, spot.offset, 1);
    const bool gives = lane < 31 && next == spot.offset + kStep;
    const bool takes = lane > 0 && last + kStep == spot.offset;
    const bool follows = below_ == spot.offset;
#pragma unroll
    for (int c = 0; c < kColours; ++c) {
      float part[4];
      for (int k = 0; k < 4; ++k) part[k] = spot.weight[k] == 0 ? 0.0f : spot.weight[k] * grad[c];
      const float top = __shfl_up_sync(kAllLanes, part[1], 1), bottom = __shfl_up_sync(kAllLanes, part[3], 1);
      float* at = plane_[c] + spot.offset;
      if (!gives) {
        add(at + kStep, part[1]);
        add(at + row_ + kStep, part[3]);
      }
      if (!follows) add(plane_[c] + below_, kept_[c]);
      add(at, part[0] + (takes ? top : 0) + (follows ? kept_[c] : 0));
      kept_[c] = part[2] + (takes ? bottom : 0);
    }
    below_ = spot.offset + row_;
  }

  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int c = 0; c < kColours; ++c) {
      add(plane_[c] + below_, kept_[c]);
      kept_[c] = 0;
    }
  }

 private:
  float* plane_[kColours];
  u32 row_, below_ = 0;
  float kept_[kColours] = {};  // for the pixel at below_
};

// grad_frame0 and grad_frame1 must be zero before.
template <class Op, int kStep, int kPadding>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks)
    pair_backward_tuned(const typename Op::Params p) {
  using T = typename Op::Image;
  const auto& q = p.pair;
  const int n = blockIdx.z, lane = threadIdx.x % 32, frame = q.repeat == 1 ? n : n / q.repeat;
  const bool wants_inputs = Op::wants_inputs(p);
  const Planes<kStep, kColours, T> planes[2] = {{q.frame0, frame, 0}, {q.frame1, frame, 0}};
  Scatter<kStep> scatter[2] = {{q.grad_frame0, frame}, {q.grad_frame1, frame}};
  for (int i = 0; i < kColumns; ++i) {
    const int inside = q.w - int(blockIdx.x * kTileWidth + 32 * i);  // of the pixels, for this warp
    if (inside <= 0) break;
    const int x = q.w - inside + min(lane, inside - 1);  // all lanes stay, for the shuffles
    for (int row = 0; row < kRows; ++row) {
      const int y = int(blockIdx.y * kTileHeight + threadIdx.x / 32 * kRows + row);
      if (y >= q.h) break;
      typename Op::Params here = p;
      Op::for_each_field(here, [&](auto& field) { field = pixel_of<false>(field, n, y, x); });
      const auto at = Op::lane(here, n, y, x);
      const View<const T> grad_out = pixel_of<kStep == 1>(q.grad_out, n, y, x);
      float grad[kColours];
      for (int c = 0; c < kColours; ++c) grad[c] = number<float>(fetched(grad_out.at(0, c, 0, 0)));
      Slope<float> sums[2] = {};
#pragma unroll
      for (int f = 0; f < 2; ++f) {
        const Axis<float> ax = tuned_axis_at<kPadding>(at.x[f], q.w),
                          ay = tuned_axis_at<kPadding>(at.y[f], q.h);
        Spot spot = spot_of(ax, ay);
        const auto offset_in = [&](const auto& v) { return u32(ay.lo) * u32(v.y) + u32(ax.lo) * kStep; };
        if (wants_inputs) {
          spot.offset = offset_in(f ? q.frame1 : q.frame0);
          sums[f] = needs_exact(spot) ? slopes_at<true>(planes[f], ax, ay, spot, grad)
                                      : slopes_at<false>(planes[f], ax, ay, spot, grad);
        }
        const View<float>& target = f ? q.grad_frame1 : q.grad_frame0;
        if (target.data) {
          spot.offset = offset_in(target);
          float gained[kColours];
          for (int c = 0; c < kColours; ++c) gained[c] = lane < inside ? grad[c] * at.gain[f] : 0;
          scatter[f].pixel(spot, gained, lane);
        }
      }
      if (wants_inputs && lane < inside) Op::finish(p, n, y, x, at, sums);
    }
    if (q.grad_frame0.data) scatter[0].finish();
    if (q.grad_frame1.data) scatter[1].finish();
  }
}

}  // namespace vfi
