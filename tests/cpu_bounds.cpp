// Calls the CPU warps of one instruction set (VFI_LEVEL) within bounds. Prints a sum.
#include "cpu_bounds.h"

#undef VFI_FOR_EACH_BACKWARP
#define VFI_FOR_EACH_BACKWARP(X) X(f32, f32) X(f16, f32)

#include "../csrc/cpu/backwarp.cpp"
#undef VFI_INSTANTIATE
#include "../csrc/cpu/warp.cpp"
#undef VFI_WARP_BLEND
#undef VFI_VOXEL_FLOW
#undef VFI_BACKWARP
#include "../csrc/cpu/warp_frames.cpp"
#include "../csrc/cpu/warp_slopes.cpp"

namespace {

// Positions of every kind: side by side, two pieces, scattered, far outside, at the last pixel.
template <class F>
std::vector<F> flow(int kind, int channels, int h, int w) {
  std::vector<F> v = numbers<F>(i64(channels) * h * w, kind == 0 ? 1.f : -30.f, kind == 0 ? 1.f : 30.f);
  if (kind == 1)
    for (i64 i = 0; i < i64(v.size()); ++i) store(&v[i], float(i % w) / 9 - 2);
  if (kind == 2)
    for (F& x : v) store(&x, 1e4f);
  return v;
}

template <class T, class F>
double check(int kind, bool interleaved, int c, int h, int w, int padding) {
  const auto a = numbers<T>(i64(c) * h * w, 0, 200), b = numbers<T>(i64(c) * h * w, 0, 200);
  const auto flow0 = flow<F>(kind, 3, h, w), flow1 = flow<F>(kind, 2, h, w), mask = flow<F>(1, 1, h, w);
  std::vector<T> out(i64(c) * h * w);
  const auto grad = numbers<T>(i64(c) * h * w, -1, 1);
  std::vector<float> grad_frame(i64(c) * h * w);
  std::vector<Reach> reaches(2 * h);
  const int rows = band_rows(h, w, 1, 1), bands = bands_of(h, rows);
  std::vector<F> slopes(i64(5) * h * w);
  double sum = 0;
  const auto add = [&] {
    for (const T& x : out) sum += number<sum_t<T>>(x);
    for (const float x : grad_frame) sum += x;
    for (const F& x : slopes) sum += number<sum_t<F>>(x);
  };
  FramePair<T> pair = {};
  pair.frame0 = view(a.data(), interleaved, c, h, w);
  pair.frame1 = view(b.data(), interleaved, c, h, w);
  pair.out = view(out.data(), interleaved, c, h, w);
  pair.grad_out = view(grad.data(), interleaved, c, h, w);
  pair.grad_frame0 = pair.grad_frame1 = view(grad_frame.data(), interleaved, c, h, w);
  pair.n = pair.repeat = 1;
  pair.c = c;
  pair.h = h;
  pair.w = w;
  pair.padding = padding;
  WarpBlendParams<T, F> blend = {};
  blend.pair = pair;
  blend.flow0 = view(flow0.data(), false, 2, h, w);
  blend.flow1 = view(flow1.data(), false, 2, h, w);
  blend.mask = view(mask.data(), false, 1, h, w);
  VFI_VERSION::pair_forward<WarpBlend<T, F>>(blend, 0, h);
  if constexpr (!std::is_same_v<T, u8>) {
    VFI_VERSION::pair_reaches<WarpBlend<T, F>>(blend, reaches.data(), 0, h);
    VFI_VERSION::pair_backward_frames<WarpBlend<T, F>>(blend, reaches.data(), rows, 0, 2 * bands);
  }
  add();
  VoxelFlowParams<T, F> voxels = {};
  voxels.pair = pair;
  voxels.flow = view(flow0.data(), false, 3, h, w);
  VFI_VERSION::pair_forward<VoxelFlow<T, F>>(voxels, 0, h);
  add();
  if constexpr (!std::is_same_v<T, u8>) {
    BackwarpParams<F, float> warp = {};
    warp.images[0].image = {a.data(), pair.frame0.n, pair.frame0.c, pair.frame0.y, pair.frame0.x};
    warp.images[0].out = {out.data(), pair.out.n, pair.out.c, pair.out.y, pair.out.x};
    warp.images[0].grad_out = {grad.data(), pair.grad_out.n, pair.grad_out.c, pair.grad_out.y,
                               pair.grad_out.x};
    warp.images[0].grad_image = pair.grad_frame0;
    warp.images[0].channels = c;
    warp.images[0].dtype = std::is_same_v<T, f32> ? kF32 : kF16;
    warp.flow = view(flow1.data(), false, 2, h, w);
    warp.count = warp.n = warp.repeat = 1;
    warp.h = h;
    warp.w = w;
    warp.padding = padding;
    VFI_VERSION::backwarp_forward(warp, 0, h);
    VFI_VERSION::backwarp_reaches(warp, reaches.data(), 0, h);
    VFI_VERSION::backwarp_backward_image(warp, 0, reaches.data(), rows, 0, bands);
    add();
    blend.grad_flow0 = view(slopes.data(), interleaved, 2, h, w);
    blend.grad_flow1 = view(slopes.data() + i64(2) * h * w, interleaved, 2, h, w);
    blend.grad_mask = view(slopes.data() + i64(4) * h * w, false, 1, h, w);
    VFI_VERSION::pair_backward_inputs<WarpBlend<T, F>>(blend, 0, h);
    add();
    voxels.grad_flow = view(slopes.data() + i64(2) * h * w, interleaved, 3, h, w);
    VFI_VERSION::pair_backward_inputs<VoxelFlow<T, F>>(voxels, 0, h);
    add();
    warp.grad_flow = view(slopes.data() + i64(3) * h * w, interleaved, 2, h, w);
    VFI_VERSION::backwarp_backward_flow(warp, 0, h);
    add();
  }
  return sum;
}

}  // namespace

int main() {
  double sum = 0;
  for (int kind = 0; kind < 4; ++kind)
    for (int c : {1, 3, 4, 9, 17})
      for (int h : {1, 2, 9, 70})
        for (int w : {1, 8, 16, 17, 40})
          for (int padding : {kBorder, kZeros})
            for (bool interleaved : {false, true}) {
#define VFI_CHECK(T, F) sum += check<T, F>(kind, interleaved, c, h, w, padding);
              VFI_FOR_EACH_PAIR(VFI_CHECK)
            }
  std::printf("%g\n", sum);
}
