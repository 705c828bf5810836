// Tuned gradients over any number of channels, of an image in planes, in RGB pixels or in wide ones, whose
// lanes are then channels. Positions were computed once for all channels and lie in shared memory.
#pragma once
#include "tuned_gradients.cuh"

namespace vfi {

// Gradients over any number of channels: on 8.x as well 96 registers would be 8 bytes too few.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kChannelBlocks = 4;
#else
constexpr int kChannelBlocks = kBackwardBlocks;
#endif

// Where a pixel reads: its top left tap and the weights of all four.
struct SamplePlace {
  int x, y;
  float weight[4];
};
// Of a sample that is multiplied with something.
struct GainedPlace : SamplePlace {
  float gain;
};
VFI_FN float gained(const SamplePlace&, float grad) { return grad; }
VFI_FN float gained(const GainedPlace& place, float grad) { return place.gain * grad; }

template <class V>
__device__ __forceinline__ Spot spot_in(const View<V>& image, const SamplePlace& place) {
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
                                                int channels, const SamplePlace& place, const Piece& piece,
                                                float (&tap)[4]) {
  const Spot spot = spot_in(in, place);
  int c = 0;
#pragma unroll 1
  for (; c + 3 <= channels; c += 3) narrow_products<kExact, kStep, 3>(in, grad_out, c, spot, piece, tap);
#pragma unroll 1
  for (; c < channels; ++c) narrow_products<kExact, kStep, 1>(in, grad_out, c, spot, piece, tap);
}

// Lanes are channels: a pixel's sums are collected from its lanes and brought to the lane whose pixel it is.
template <bool kExact, class T, class P>
__device__ __forceinline__ void wide_products(const View<const T>& in, const View<const T>& grad_out,
                                              int channels, const P (&places)[32], const Piece& piece,
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

// Adds the products of grad_out and the pixels that a row of places reads, over all channels.
template <bool kExact, class T, class P>
__device__ __forceinline__ void image_products(const View<const T>& in, const View<const T>& grad_out,
                                               int channels, const P (&places)[32], const Piece& piece,
                                               float (&tap)[4]) {
  if (in.x == 1)
    narrow_products<kExact, 1>(in, grad_out, channels, places[piece.lane], piece, tap);
  else if (in.x == 3)
    narrow_products<kExact, 3>(in, grad_out, channels, places[piece.lane], piece, tap);
  else
    wide_products<kExact>(in, grad_out, channels, places, piece, tap);
}

template <int kStep, int kChannels, class T, class P>
__device__ __forceinline__ void narrow_scatter(const View<float>& target, const View<const T>& grad_out,
                                               int c, const P (*places)[32], int rows, Piece piece) {
  Scatter<kStep, kChannels> scatter(target, piece.frame, c);
  T stored[kChannels];
  read_grad<kStep>(grad_out, c, piece, stored);
#pragma unroll 1
  for (int row = 0; row < rows; ++row) {
    const P& place = places[row][piece.lane];
    float grad[kChannels];
    for (int k = 0; k < kChannels; ++k)
      grad[k] = piece.lane < piece.inside ? gained(place, number<float>(stored[k])) : 0;
    if (row + 1 < rows) {  // before this row's atomics, which nothing is loaded across
      ++piece.y;
      read_grad<kStep>(grad_out, c, piece, stored);
    }
    scatter.pixel(spot_in(target, place), grad);
  }
  scatter.finish();
}

template <class T, class P>
__device__ __forceinline__ void wide_scatter(const View<float>& target, const View<const T>& grad_out,
                                             int channels, const P (*places)[32], int rows,
                                             const Piece& piece) {
  using Grads = Words<sizeof(T)>;  // four numbers
  const int chunks = channels / 4, group = lanes_of(chunks), pixels = 32 / group;
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
        const P& place = places[row][pixel];
        float grad[4];
        for (int j = 0; j < 4; ++j)
          grad[j] = pixel < piece.inside ? gained(place, number_in(stored, j, T{})) : 0;
        if (row + 1 < rows) stored = read(row + 1);
        scatter.pixel(spot_in(target, place), grad);
      }
      scatter.finish();
    }
  }
}

// Adds to the gradient of an image whose pixels are `step` apart. piece: of the first row.
template <class T, class P>
__device__ __forceinline__ void scatter_image(i64 step, const View<float>& target,
                                              const View<const T>& grad_out, int channels,
                                              const P (*places)[32], int rows, const Piece& piece) {
  if (step == 3) return narrow_scatter<3, 3>(target, grad_out, 0, places, rows, piece);
  if (step != 1) return wide_scatter(target, grad_out, channels, places, rows, piece);
  int c = 0;
#pragma unroll 1
  for (; c + 3 <= channels; c += 3) narrow_scatter<1, 3>(target, grad_out, c, places, rows, piece);
#pragma unroll 1
  for (; c < channels; ++c) narrow_scatter<1, 1>(target, grad_out, c, places, rows, piece);
}

}  // namespace vfi
