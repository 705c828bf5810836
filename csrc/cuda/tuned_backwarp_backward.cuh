// The tuned gradients of backwarp; which calls they serve, choice.cuh says. A warp has kRows rows of 32
// pixels. It computes their positions and the gradient of the flow row by row, over all images and channels.
// Then it adds to the gradients of the images, a few channels at a time, marching down the rows.
#pragma once
#include "tuned_backwarp.cuh"
#include "tuned_channels.cuh"

namespace vfi {

struct Position {
  float x, y;
};

// Every grad_image must be zero before.
template <class F, int kPadding>
__global__ void __launch_bounds__(kThreads, kChannelBlocks)
    backwarp_backward_tuned(const BackwarpParams<F, f32> p) {
  using Op = Backwarp<F, f32>;
  VFI_SHARED(SamplePlace, all_places, [kWarps][kRows][32]);
  VFI_SHARED(Position, all_positions, [kWarps][kRows][32]);
  SamplePlace(*places)[32] = all_places[threadIdx.x / 32];
  auto& positions = all_positions[threadIdx.x / 32];
  const int n = blockIdx.z, lane = threadIdx.x % 32;
  const int y = int(blockIdx.y * kTileHeight + threadIdx.x / 32 * kRows), rows = min(kRows, p.h - y);
#pragma unroll 1
  for (int i = 0; i < kColumns; ++i) {
    const int x = int(blockIdx.x * kTileWidth + 32 * i), inside = p.w - x;
    if (inside <= 0 || rows <= 0) return;
    const int xi = x + min(lane, inside - 1);  // all lanes stay, for the shuffles
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const int yi = min(y + row, p.h - 1);
      const struct {
        View<const F> flow;
      } here = {pixel_of<false>(p.flow, n, yi, xi)};
      positions[row][lane] = {Op::x_at(here, n, yi, xi), Op::y_at(here, n, yi, xi)};
    }
    Piece piece = {n, p.repeat == 1 ? n : n / p.repeat, y, x, inside, lane};
#pragma unroll 1
    for (int row = 0; row < rows; ++row, ++piece.y) {
      const Position at = positions[row][lane];
      const Axis<float> ax = tuned_axis_at<kPadding>(at.x, p.w), ay = tuned_axis_at<kPadding>(at.y, p.h);
      const Spot spot = spot_of(ax, ay);
      places[row][lane] = {ax.lo, ay.lo, {spot.weight[0], spot.weight[1], spot.weight[2], spot.weight[3]}};
      __syncwarp();
      if (!p.grad_flow.data) continue;
      const bool exact = __any_sync(kAllLanes, needs_exact(spot));
      float tap[4] = {};
#pragma unroll 1
      for (int k = 0; k < p.count; ++k)
        with_image_type<float>(p.images[k].dtype, [&](auto type) {
          using T = decltype(type);
          const View<const T> in = typed<const T>(p.images[k].image),
                              grad_out = typed<const T>(p.images[k].grad_out);
          if (exact)
            image_products<true>(in, grad_out, p.images[k].channels, places[row], piece, tap);
          else
            image_products<false>(in, grad_out, p.images[k].channels, places[row], piece, tap);
        });
      if (lane >= inside) continue;
      const Slope<float> s = slopes_of(ax, ay, tap);
      const View<F> grad_flow = pixel_of<false>(p.grad_flow, n, piece.y, xi);
      store(grad_flow.data, s.dx);
      store(grad_flow.at(0, 1, 0, 0), s.dy);
    }
    piece.y = y;
#pragma unroll 1
    for (int k = 0; k < p.count; ++k)
      if (p.images[k].grad_image.data)
        with_image_type<float>(p.images[k].dtype, [&](auto type) {
          const BackwarpImage<float>& image = p.images[k];
          scatter_image(image.image.x, image.grad_image, typed<const decltype(type)>(image.grad_out),
                        image.channels, places, rows, piece);
        });
    __syncwarp();  // before the next pixels take these places
  }
}

}  // namespace vfi
