// The tuned kernel of backwarp; which calls it serves, choice.cuh says. Positions are computed once for all
// images and channels. A warp takes 32 pixels; in wide pixels, whose channels lie side by side, its lanes are
// channels instead, 16 bytes each, and get the positions from the lanes that computed them.
#pragma once
#include "../math/backwarp.h"
#include "tuned_taps.cuh"

namespace vfi {

template <bool kExact, int kStep, int kChannels, class T>
__device__ __forceinline__ void narrow_channels(const View<const T>& in, int c, const View<T>& out,
                                                const Spot (&spot)[kBackwarpColumns], const Piece& piece) {
  const Planes<kStep, kChannels, T> planes(in, piece.frame, c);
  T* to = pixel_of<kStep == 1>(out, piece.n, piece.y, piece.x + piece.lane).at(0, c, 0, 0);
#pragma unroll
  for (int i = 0; i < kBackwarpColumns; ++i) {
    float sum[kChannels];
    sample<kExact>(planes, spot[i], sum);
    if (32 * i + piece.lane < piece.inside)
#pragma unroll
      for (int k = 0; k < kChannels; ++k) store(to + k * out.c + 32 * i * kStep, sum[k]);
  }
}

template <bool kExact, int kStep, class T>
__device__ __forceinline__ void narrow_image(const View<const T>& in, const View<T>& out, int channels,
                                             const Spot (&spot)[kBackwarpColumns], const Piece& piece) {
  int c = 0;
  for (; c + 3 <= channels; c += 3) narrow_channels<kExact, kStep, 3>(in, c, out, spot, piece);
  for (; c < channels; ++c) narrow_channels<kExact, kStep, 1>(in, c, out, spot, piece);
}

template <bool kExact, class T>
__device__ __forceinline__ void wide_image(const View<const T>& in, const View<T>& out, int channels,
                                           const Spot (&spots)[kBackwarpColumns], const Piece& piece) {
  constexpr int kNumbers = 16 / sizeof(T);
  const int chunks = channels / kNumbers, group = lanes_of(chunks);
  const T* image = in.data + piece.frame * in.n;
  T* row = out.data + piece.n * out.n + u32(piece.y) * u32(out.y);
#pragma unroll
  for (int i = 0; i < kBackwarpColumns; ++i)
    for (int first = 0; first < 32; first += 32 / group) {
      const int lane = first + piece.lane / group, pixel = 32 * i + lane;
      Spot spot;
      spot.offset = __shfl_sync(kAllLanes, spots[i].offset, lane);
      for (int k = 0; k < 4; ++k) spot.weight[k] = __shfl_sync(kAllLanes, spots[i].weight[k], lane);
      if (pixel >= piece.inside) continue;
      const T *top = image + spot.offset, *bottom = image + in.y + spot.offset;
      T* to = row + u32(piece.x + pixel) * u32(out.x);
      for (int chunk = piece.lane % group; chunk < chunks; chunk += group) {
        const auto at = [&](const T* p) { return fetched(reinterpret_cast<const Chunk*>(p) + chunk); };
        const Chunk tap[4] = {at(top), at(top + in.x), at(bottom), at(bottom + in.x)};
        Chunk result = {};
#pragma unroll
        for (int j = 0; j < kNumbers; ++j) {
          float sum = kExact ? empty_sum(spot.weight) : -0.0f;
          for (int k = 0; k < 4; ++k) {
            const float v = number_in(tap[k], j, T{});
            sum += kExact ? weighted(spot.weight[k], v) : spot.weight[k] * v;
          }
          put_in(result, j, sum, T{});
        }
        reinterpret_cast<Chunk*>(to)[chunk] = result;
      }
    }
}

// lo: the top left pixels; the spots' offsets in this image are set here.
template <bool kExact, class T>
__device__ __forceinline__ void warp_image(const BackwarpImage<float>& image,
                                           const int (&lo)[kBackwarpColumns][2],
                                           Spot (&spot)[kBackwarpColumns], const Piece& piece) {
  const View<const T> in = typed<const T>(image.image);
  const View<T> out = typed<T>(image.out);
#pragma unroll
  for (int i = 0; i < kBackwarpColumns; ++i)
    spot[i].offset = u32(lo[i][1]) * u32(in.y) + u32(lo[i][0]) * u32(in.x);
  if (in.x == 1)
    narrow_image<kExact, 1>(in, out, image.channels, spot, piece);
  else if (in.x == 3)
    narrow_image<kExact, 3>(in, out, image.channels, spot, piece);
  else
    wide_image<kExact>(in, out, image.channels, spot, piece);
}

template <class F, int kPadding>
__global__ void __launch_bounds__(kThreads, kMinBlocks)
    backwarp_forward_tuned(const BackwarpParams<F, f32> p) {
  using Op = Backwarp<F, f32>;
  const int n = blockIdx.z, lane = threadIdx.x % 32, x = int(blockIdx.x * 32 * kBackwarpColumns);
  const int y = int(blockIdx.y * kBackwarpRows * kWarps + threadIdx.x / 32);
  const int end = min(y + kBackwarpRows * kWarps, p.h);
  const View<const F> flow = entry_of(p.flow, n);
  Piece piece = {n, p.repeat == 1 ? n : n / p.repeat, y, x, p.w - x, lane};
#pragma unroll 1
  for (; piece.y < end; piece.y += kWarps) {
    int lo[kBackwarpColumns][2];
    Spot spot[kBackwarpColumns];
    bool exact = false;
#pragma unroll
    for (int i = 0; i < kBackwarpColumns; ++i) {
      const int xi = x + min(32 * i + lane, piece.inside - 1);  // all lanes stay, for the shuffles
      const struct {
        View<const F> flow;
      } here = {pixel_of<false>(flow, 0, piece.y, xi)};
      const Axis<float> ax = tuned_axis_at<kPadding>(Op::x_at(here, n, piece.y, xi), p.w);
      const Axis<float> ay = tuned_axis_at<kPadding>(Op::y_at(here, n, piece.y, xi), p.h);
      lo[i][0] = ax.lo;
      lo[i][1] = ay.lo;
      spot[i] = spot_of(ax, ay);
      exact |= needs_exact(spot[i]);
    }
    exact = __any_sync(kAllLanes, exact);
    for (int k = 0; k < p.count; ++k)
      with_image_type<float>(p.images[k].dtype, [&](auto type) {
        if (exact)
          warp_image<true, decltype(type)>(p.images[k], lo, spot, piece);
        else
          warp_image<false, decltype(type)>(p.images[k], lo, spot, piece);
      });
  }
}

}  // namespace vfi
