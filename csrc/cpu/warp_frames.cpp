// Gradients of the images that warp_blend, voxel_flow and backwarp read, once for each instruction set.
#include "kernels.h"
#include "warp_scatter.h"

namespace vfi::VFI_VERSION {

// Where a pixel or a vector of neighbours reads, and the factor of the sample.
template <class V>
struct Lane {
  V x, y, gain;
};

template <class Op, int f>
VFI_FN auto lanes_of(const typename Op::Params& p) {
  return [&p](auto v, i64 n, int y, int x) __attribute__((always_inline)) {
    const auto lane = Op::template lane<decltype(v)>(p, n, y, x);
    return Lane<decltype(v)>{lane.x[f], lane.y[f], lane.gain[f]};
  };
}
template <class F, class A>
VFI_FN auto lanes_of(const BackwarpParams<F, A>& p) {
  return [&p](auto v, i64 n, int y, int x) __attribute__((always_inline)) {
    using V = decltype(v);
    using Op = Backwarp<F, A>;
    return Lane<V>{Op::template x_at<V>(p, n, y, x), Op::template y_at<V>(p, n, y, x), V{} + 1};
  };
}

// Calls body(V{}, i) for vectors of pixels, and one by one for what is left of `count`.
template <class A, class Body>
VFI_FN void for_each_vector(int count, const Body& body) {
  int i = 0;
  if constexpr (std::is_same_v<A, float>)
    for (; i + kLanes<float> <= count; i += kLanes<float>) body(Vector<float>{}, i);
  for (; i < count; ++i) body(A{}, i);
}

VFI_FN u32 bits_of_lanes(int yes) { return u32(yes); }
VFI_FN u32 bits_of_lanes(Vector<int> yes) { return sign_bits(yes); }

template <class A, class At>
struct LocatorAt final : Locator<A> {
  const int h, w, padding;
  const At lane_at;
  LocatorAt(int h, int w, int padding, const At& lane_at) : h(h), w(w), padding(padding), lane_at(lane_at) {}

  Landings<A> locate(i64 n, int y, int x, int count, const Band& band) const override {
    Landings<A> l;
    l.touching = 0;
    std::fill_n(l.gain, kBlock, A(0));  // read for all pixels of a vector
    for_each_vector<A>(count, [&](auto v, int i) __attribute__((always_inline)) {
      const auto ay = axis_at(lane_at(v, n, y, x + i).y, h, padding);
      const u32 touching = bits_of_lanes(band.touched_by(ay.lo));
      if (!touching) return;
      const auto lane = lane_at(v, n, y, x + i);
      const auto ax = axis_at(lane.x, w, padding);
      const auto keep = [i](auto* to, auto value)
                            __attribute__((always_inline)) { memcpy(to + i, &value, sizeof(value)); };
      l.touching |= static_cast<unsigned long long>(touching) << i;
      keep(l.at, (ay.lo - (band.first - 1)) * w + ax.lo);
      keep(l.weight[0], ay.weight_lo * ax.weight_lo);
      keep(l.weight[1], ay.weight_lo * ax.weight_hi);
      keep(l.weight[2], ay.weight_hi * ax.weight_lo);
      keep(l.weight[3], ay.weight_hi * ax.weight_hi);
      keep(l.gain, lane.gain);
    });
    return l;
  }
};

template <class A, class At>
Reach reach_of(i64 n, int y, int h, int w, int padding, const At& lane_at) {
  Vector<int> lows = Vector<int>{} + h, highs = {};
  Reach reach = {h, 0};
  for_each_vector<A>(w, [&](auto v, int x) __attribute__((always_inline)) {
    const auto top = axis_at(lane_at(v, n, y, x).y, h, padding).lo;
    if constexpr (std::is_same_v<decltype(v), A>) {
      reach = {std::min(reach.first, top), std::max(reach.last, top)};
    } else {
      lows = smaller(lows, top);
      highs = larger(highs, top);
    }
  });
  for (int i = 0; i < kLanes<int>; ++i)
    reach = {std::min(reach.first, lows[i]), std::max(reach.last, highs[i])};
  return reach;
}

template <class Op, int f>
void find_reach(const typename Op::Params& p, i64 row, Reach* reaches) {
  const auto& q = p.pair;
  if ((f ? q.grad_frame1 : q.grad_frame0).data)
    reaches[f * i64(q.n) * q.h + row] =
        reach_of<typename Op::A>(row / q.h, int(row % q.h), q.h, q.w, q.padding, lanes_of<Op, f>(p));
}

template <class Op, int f>
void scatter_frame(const typename Op::Params& p, const Reach* reaches, i64 unit,
                   Buffer<typename Op::A>& sums) {
  const auto& q = p.pair;
  const auto& target = f ? q.grad_frame1 : q.grad_frame0;
  if (!target.data) return;
  const Scatter<typename Op::Image> s = {target, q.grad_out, reaches + f * i64(q.n) * q.h, q.c, q.h,
                                         q.w,    q.repeat};
  const auto lane_at = lanes_of<Op, f>(p);
  scatter(s, unit, unit + 1, sums,
          LocatorAt<typename Op::A, decltype(lane_at)>(q.h, q.w, q.padding, lane_at));
}

template <class Op>
void pair_reaches(const typename Op::Params& p, Reach* reaches, i64 begin, i64 end) {
  for (i64 row = begin; row < end; ++row) {
    find_reach<Op, 0>(p, row, reaches);
    find_reach<Op, 1>(p, row, reaches);
  }
}

template <class Op>
void pair_backward_frames(const typename Op::Params& p, const Reach* reaches, i64 begin, i64 end) {
  Buffer<typename Op::A> sums;
  for (i64 unit = begin; unit < end; ++unit)
    if (unit % 2)
      scatter_frame<Op, 1>(p, reaches, unit / 2, sums);
    else
      scatter_frame<Op, 0>(p, reaches, unit / 2, sums);
}

template <class F, class A>
void backwarp_reaches(const BackwarpParams<F, A>& p, Reach* reaches, i64 begin, i64 end) {
  for (i64 row = begin; row < end; ++row)
    reaches[row] = reach_of<A>(row / p.h, int(row % p.h), p.h, p.w, p.padding, lanes_of(p));
}

template <class F, class A>
void backwarp_backward_image(const BackwarpParams<F, A>& p, int k, const Reach* reaches, i64 begin, i64 end) {
  const BackwarpImage<A>& image = p.images[k];
  const auto lane_at = lanes_of(p);
  const LocatorAt<A, decltype(lane_at)> locator(p.h, p.w, p.padding, lane_at);
  Buffer<A> sums;
  with_image_type<A>(image.dtype, [&](auto type) {
    using T = decltype(type);
    const Scatter<T> s = {image.grad_image, typed<const T>(image.grad_out), reaches, image.channels, p.h, p.w,
                          p.repeat};
    scatter(s, begin, end, sums, locator);
  });
}

#define VFI_WARP_BLEND(T, F)                                                                   \
  template void pair_reaches<WarpBlend<T, F>>(const WarpBlendParams<T, F>&, Reach*, i64, i64); \
  template void pair_backward_frames<WarpBlend<T, F>>(const WarpBlendParams<T, F>&, const Reach*, i64, i64);
VFI_FOR_EACH_FLOAT_PAIR(VFI_WARP_BLEND)

#define VFI_VOXEL_FLOW(T, F)                                                                   \
  template void pair_reaches<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, Reach*, i64, i64); \
  template void pair_backward_frames<VoxelFlow<T, F>>(const VoxelFlowParams<T, F>&, const Reach*, i64, i64);
VFI_FOR_EACH_FLOAT_PAIR(VFI_VOXEL_FLOW)

#define VFI_BACKWARP(F, A)                                                             \
  template void backwarp_reaches<F, A>(const BackwarpParams<F, A>&, Reach*, i64, i64); \
  template void backwarp_backward_image<F, A>(const BackwarpParams<F, A>&, int, const Reach*, i64, i64);
VFI_FOR_EACH_BACKWARP(VFI_BACKWARP)

}  // namespace vfi::VFI_VERSION
