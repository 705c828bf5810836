// The tuned gradients of backwarp; which calls they serve, choice.cuh says. A warp has kRows rows of 32
// pixels. It computes their positions and the gradient of the flow row by row, over all images and channels.
// Then it adds to the gradients of the images, a few channels at a time, marching down the rows.
#pragma once
#include "tuned_backwarp.cuh"
#include "tuned_gradients.cuh"

namespace vfi {

struct Position {
  float x, y;
};

// Where a pixel reads: its top left tap and the weights of all four.
struct Place {
  int x, y;
  float weight[4];
};
using Places = Place[32];  // of a row

template <class V>
__device__ __forceinline__ Spot spot_in(const View<V>& image, const Place& place) {
  Spot spot = {u32(place.y) * u32(image.y) + u32(place.x) * u32(image.x), {}};
  for (int k = 0; k < 4; ++k) spot.weight[k] = place.weight[k];
  return spot;
}

// Of the lane's output pixel; beyond the row, of its last pixel.
template <int kStep, int kChannels, class T>
__device__ __forceinline__ void read_grad(const View<const T>& grad_out, int c, const Piece& piece,
                                          T (&grad)[kChannels]) {
  const int x = piece.x + min(piece.lane, piece.inside - 1);
  const View<const T> pixel = pixel_of<kStep == 1>(grad_out, piece.n, piece.y, x);
  for (int k = 0; k < kChannels; ++k) grad[k] = fetched(pixel.at(0, c + k, 0, 0));
}

template <bool kExact, int kStep, int kChannels, class T>
__device__ __forceinline__ void narrow_products(const View<const T>& in, const View<const T>& grad_out, int c,
                                                const Spot& spot, const Piece& piece, float (&tap)[4]) {
  T stored[kChannels];
  read_grad<kStep>(grad_out, c, piece, stored);
  float grad[kChannels];
  for (int k = 0; k < kChannels; ++k) grad[k] = number<float>(stored[k]);
  add_products<kExact>(Planes<kStep, kChannels, T>(in, piece.frame, c), spot, grad, tap);
}

template <bool kExact, int kStep, class T>
__device__ __forceinline__ void narrow_products(const View<const T>& in, const View<const T>& grad_out,
                                                int channels, const Place& place, const Piece& piece,
                                                float (&tap)[4]) {
  const Spot spot = spot_in(in, place);
  int c = 0;
#pragma unroll 1
  for (; c + 3 <= channels; c += 3) narrow_products<kExact, kStep, 3>(in, grad_out, c, spot, piece, tap);
#pragma unroll 1
  for (; c < channels; ++c) narrow_products<kExact, kStep, 1>(in, grad_out, c, spot, piece, tap);
}

// Lanes are channels: a pixel's sums are collected from its lanes and brought to the lane whose pixel it is.
template <bool kExact, class T>
__device__ __forceinline__ void wide_products(const View<const T>& in, const View<const T>& grad_out,
                                              int channels, const Places& places, const Piece& piece,
                                              float (&tap)[4]) {
  constexpr int kNumbers = 16 / sizeof(T);
  const int chunks = channels / kNumbers, group = lanes_of(chunks), pixels = 32 / group;
  const T* image = in.data + piece.frame * in.n;
  const T* row = grad_out.data + piece.n * grad_out.n + u32(piece.y) * u32(grad_out.y);
#pragma unroll 1
  for (int first = 0; first < 32; first += pixels) {
    const int pixel = first + piece.lane / group;
    const Spot spot = spot_in(in, places[pixel]);
    const u32 to = u32(piece.x + min(pixel, piece.inside - 1)) * u32(grad_out.x);
    float part[4] = {};
#pragma unroll 1
    for (int chunk = piece.lane % group; chunk < chunks; chunk += group) {
      const auto at = [&](const T* plane, u32 offset) {
        return fetched(reinterpret_cast<const Chunk*>(plane + offset) + chunk);
      };
      const u32 top = spot.offset, bottom = top + u32(in.y), right = u32(in.x);
      const Chunk grad = at(row, to), value[4] = {at(image, top), at(image, top + right), at(image, bottom),
                                                  at(image, bottom + right)};
#pragma unroll
      for (int k = 0; k < 4; ++k)
        for (int j = 0; j < kNumbers; ++j) {
          const float v = number_in(value[k], j, T{});
          part[k] += number_in(grad, j, T{}) * (kExact ? counted(spot.weight[k], v) : v);
        }
    }
    for (int k = 0; k < 4; ++k) {
      for (int lanes = group / 2; lanes; lanes /= 2) part[k] += __shfl_xor_sync(kAllLanes, part[k], lanes);
      const float sum = __shfl_sync(kAllLanes, part[k], (piece.lane - first) * group);
      if (piece.lane >= first && piece.lane < first + pixels) tap[k] += sum;
    }
  }
}

template <bool kExact, class T>
__device__ __forceinline__ void image_products(const BackwarpImage<float>& image, const Places& places,
                                               const Piece& piece, float (&tap)[4]) {
  const View<const T> in = typed<const T>(image.image), grad_out = typed<const T>(image.grad_out);
  const Place& place = places[piece.lane];
  if (in.x == 1)
    narrow_products<kExact, 1>(in, grad_out, image.channels, place, piece, tap);
  else if (in.x == 3)
    narrow_products<kExact, 3>(in, grad_out, image.channels, place, piece, tap);
  else
    wide_products<kExact>(in, grad_out, image.channels, places, piece, tap);
}

template <int kStep, int kChannels, class T>
__device__ __forceinline__ void narrow_scatter(const BackwarpImage<float>& image, int c, const Places* places,
                                               int rows, Piece piece) {
  const View<float>& target = image.grad_image;
  const View<const T> grad_out = typed<const T>(image.grad_out);
  Scatter<kStep, kChannels> scatter(target, piece.frame, c);
  T stored[kChannels];
  read_grad<kStep>(grad_out, c, piece, stored);
#pragma unroll 1
  for (int row = 0; row < rows; ++row) {
    float grad[kChannels];
    for (int k = 0; k < kChannels; ++k) grad[k] = piece.lane < piece.inside ? number<float>(stored[k]) : 0;
    if (row + 1 < rows) {  // before this row's atomics, which nothing is loaded across
      ++piece.y;
      read_grad<kStep>(grad_out, c, piece, stored);
    }
    scatter.pixel(spot_in(target, places[row][piece.lane]), grad);
  }
  scatter.finish();
}

template <class T>
__device__ __forceinline__ void wide_scatter(const BackwarpImage<float>& image, const Places* places,
                                             int rows, const Piece& piece) {
  using Grads = Words<sizeof(T)>;  // four numbers
  const View<float>& target = image.grad_image;
  const View<const T> grad_out = typed<const T>(image.grad_out);
  const int chunks = image.channels / 4, group = lanes_of(chunks), pixels = 32 / group;
#pragma unroll 1
  for (int first = 0; first < 32; first += pixels) {
    const int pixel = first + piece.lane / group, x = piece.x + min(pixel, piece.inside - 1);
    const T* from = pixel_of<false>(grad_out, piece.n, piece.y, x).data;
#pragma unroll 1
    for (int chunk = piece.lane % group; chunk < chunks; chunk += group) {
      Scatter<0, 4> scatter(target, piece.frame, 4 * chunk, group);
      const auto read = [&](int row) {
        return fetched(reinterpret_cast<const Grads*>(from + row * grad_out.y) + chunk);
      };
      Grads stored = read(0);
#pragma unroll 1
      for (int row = 0; row < rows; ++row) {
        float grad[4];
        for (int j = 0; j < 4; ++j) grad[j] = pixel < piece.inside ? number_in(stored, j, T{}) : 0;
        if (row + 1 < rows) stored = read(row + 1);
        scatter.pixel(spot_in(target, places[row][pixel]), grad);
      }
      scatter.finish();
    }
  }
}

// piece: of the first row.
template <class T>
__device__ __forceinline__ void scatter_image(const BackwarpImage<float>& image, const Places* places,
                                              int rows, const Piece& piece) {
  if (image.image.x == 3) return narrow_scatter<3, 3, T>(image, 0, places, rows, piece);
  if (image.image.x != 1) return wide_scatter<T>(image, places, rows, piece);
  int c = 0;
#pragma unroll 1
  for (; c + 3 <= image.channels; c += 3) narrow_scatter<1, 3, T>(image, c, places, rows, piece);
#pragma unroll 1
  for (; c < image.channels; ++c) narrow_scatter<1, 1, T>(image, c, places, rows, piece);
}

// Every grad_image must be zero before.
template <class F, int kPadding>
__global__ void __launch_bounds__(kThreads, kBackwardBlocks)
    backwarp_backward_tuned(const BackwarpParams<F, f32> p) {
  using Op = Backwarp<F, f32>;
  VFI_SHARED(Places, all_places, [kWarps][kRows]);
  VFI_SHARED(Position, all_positions, [kWarps][kRows][32]);
  Places* places = all_places[threadIdx.x / 32];
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
          if (exact)
            image_products<true, decltype(type)>(p.images[k], places[row], piece, tap);
          else
            image_products<false, decltype(type)>(p.images[k], places[row], piece, tap);
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
          scatter_image<decltype(type)>(p.images[k], places, rows, piece);
        });
    __syncwarp();  // before the next pixels take these places
  }
}

}  // namespace vfi
