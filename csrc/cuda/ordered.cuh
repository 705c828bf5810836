// The gradients of frames with sums in a fixed order, for torch.use_deterministic_algorithms: gathered, not
// scattered. The first kernel finds the rectangle of the frame that each tile of the output reads. In the
// second a warp owns a tile of the frame's gradient, and visits those tiles of the output that reach it, one
// after the other, for any flow. Serves every layout and dtype.
#pragma once
#include "../math/backwarp.h"
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
#include "portable.cuh"

namespace vfi {

constexpr int kOrderedChannels = 3;  // that a warp sums at once

// Where an output pixel reads a frame, and the factor of that sample.
template <class A>
struct Read {
  A x, y, gain;
};

// What the two operations read, and from where: PairReads and BackwarpReads have the same members. A frame is
// one of the two, or an image of the list; all images have one reach.
template <class Op>
struct PairReads {
  using A = typename Op::A;
  using Params = typename Op::Params;
  static constexpr int kReaches = 2;

  static VFI_FN const auto& shape(const Params& p) { return p.pair; }
  static VFI_FN int count(const Params&) { return 2; }
  static VFI_FN int channels(const Params& p, int) { return p.pair.c; }
  static VFI_FN const View<A>& target(const Params& p, int f) {
    return f ? p.pair.grad_frame1 : p.pair.grad_frame0;
  }
  static VFI_FN Read<A> at(const Params& p, int f, i64 n, i64 y, i64 x) {
    const auto lane = Op::lane(p, n, y, x);
    return f ? Read<A>{lane.x[1], lane.y[1], lane.gain[1]} : Read<A>{lane.x[0], lane.y[0], lane.gain[0]};
  }
  static VFI_FN A grad(const Params& p, int, i64 n, i64 c, i64 y, i64 x) {
    return number<A>(*p.pair.grad_out.at(n, c, y, x));
  }
};

template <class F, class Sum>
struct BackwarpReads {
  using A = Sum;
  using Op = Backwarp<F, A>;
  using Params = typename Op::Params;
  static constexpr int kReaches = 1;

  static VFI_FN const Params& shape(const Params& p) { return p; }
  static VFI_FN int count(const Params& p) { return p.count; }
  static VFI_FN int channels(const Params& p, int f) { return p.images[f].channels; }
  static VFI_FN const View<A>& target(const Params& p, int f) { return p.images[f].grad_image; }
  static VFI_FN Read<A> at(const Params& p, int, i64 n, i64 y, i64 x) {
    return {Op::x_at(p, n, y, x), Op::y_at(p, n, y, x), A(1)};
  }
  static VFI_FN A grad(const Params& p, int f, i64 n, i64 c, i64 y, i64 x) {
    A value = 0;
    with_image_type<A>(p.images[f].dtype, [&](auto type) {
      value = number<A>(*typed<const decltype(type)>(p.images[f].grad_out).at(n, c, y, x));
    });
    return value;
  }
};

// A rectangle of pixels, ends included.
struct Box {
  int left, top, right, bottom;
};
VFI_FN bool meet(const Box& a, const Box& b) {
  return a.left <= b.right && b.left <= a.right && a.top <= b.bottom && b.top <= a.bottom;
}

// The tiles of an image, counted row by row.
struct Tiling {
  int h, w, columns, count;

  VFI_FN Tiling(int height, int width)
      : h(height),
        w(width),
        columns((width + kOrderedWidth - 1) / kOrderedWidth),
        count(columns * ((height + kOrderedHeight - 1) / kOrderedHeight)) {}
  VFI_FN Box operator[](int tile) const {
    const int left = tile % columns * kOrderedWidth, top = tile / columns * kOrderedHeight;
    return {left, top, smaller(left + kOrderedWidth, w) - 1, smaller(top + kOrderedHeight, h) - 1};
  }
};

// body(i) for every i below count, each by one warp.
template <class Body>
__device__ __forceinline__ void for_each_by_warp(i64 count, const Body& body) {
  const i64 step = i64(gridDim.x) * kWarps;
  for (i64 i = i64(blockIdx.x) * kWarps + threadIdx.x / 32; i < count; i += step) body(i);
}

// Fills shape(p).reach: Box [kReaches, n, tiles].
template <class Reads>
__global__ void __launch_bounds__(kThreads, kMinBlocks) frame_reach(const typename Reads::Params p) {
  const auto& q = Reads::shape(p);
  const Tiling tiles(q.h, q.w);
  for_each_by_warp(i64(Reads::kReaches) * q.n * tiles.count, [&](i64 i) {
    const Box out = tiles[int(i % tiles.count)];
    const i64 n = i / tiles.count % q.n;
    const int f = int(i / tiles.count / q.n), x = min(out.left + int(threadIdx.x % 32), out.right);
    Box reach = {q.w, q.h, 0, 0};
    for (int y = out.top; y <= out.bottom; ++y) {
      const auto at = Reads::at(p, f, n, y, x);
      const auto ax = axis_at(at.x, q.w, q.padding), ay = axis_at(at.y, q.h, q.padding);
      reach = {min(reach.left, ax.lo), min(reach.top, ay.lo), max(reach.right, ax.hi),
               max(reach.bottom, ay.hi)};
    }
    for (int lanes = 16; lanes; lanes /= 2) {
      reach.left = min(reach.left, __shfl_xor_sync(kAllLanes, reach.left, lanes));
      reach.top = min(reach.top, __shfl_xor_sync(kAllLanes, reach.top, lanes));
      reach.right = max(reach.right, __shfl_xor_sync(kAllLanes, reach.right, lanes));
      reach.bottom = max(reach.bottom, __shfl_xor_sync(kAllLanes, reach.bottom, lanes));
    }
    if (threadIdx.x % 32 == 0) reinterpret_cast<Box*>(q.reach)[i] = reach;
  });
}

// A warp's sums for the pixels of a tile and some channels.
template <class A>
using Sums = A[kOrderedChannels][kOrderedHeight][kOrderedWidth];

// Adds the row of 32 output pixels that begins at (n, y, left), as far as it reads the tile. Pixels that read
// the same place take turns by their order; then no two lanes ever add to one sum at the same time.
template <class Reads, class A>
__device__ __forceinline__ void add_row(const typename Reads::Params& p, int f, int c, const Box& tile, i64 n,
                                        int y, int left, Sums<A>& sums) {
  const auto& q = Reads::shape(p);
  const int lane = threadIdx.x % 32, x = min(left + lane, q.w - 1);
  const Read<A> at = Reads::at(p, f, n, y, x);
  const Axis<A> ax = axis_at(at.x, q.w, q.padding), ay = axis_at(at.y, q.h, q.padding);
  const bool reads = left + lane < q.w && meet(tile, {ax.lo, ay.lo, ax.hi, ay.hi});
  if (!__any_sync(kAllLanes, reads)) return;
  const int place = reads ? (ay.lo - tile.top + 1) * 64 + (ax.lo - tile.left + 1) : -1;
  const u32 before = __match_any_sync(kAllLanes, place) & ((1u << lane) - 1);
  const int turn = reads ? __popc(before) : -1;
  A grad[kOrderedChannels] = {};
  if (reads)
    for (int k = 0; k < kOrderedChannels && c + k < Reads::channels(p, f); ++k)
      grad[k] = at.gain * Reads::grad(p, f, n, c + k, y, x);
  for (int now = 0; __any_sync(kAllLanes, turn >= now); ++now)
#pragma unroll
    for (int tap = 0; tap < 4; ++tap) {
      const int column = (tap % 2 ? ax.hi : ax.lo) - tile.left, row = (tap / 2 ? ay.hi : ay.lo) - tile.top;
      const A weight = (tap / 2 ? ay.weight_hi : ay.weight_lo) * (tap % 2 ? ax.weight_hi : ax.weight_lo);
      const bool inside = column >= 0 && column < kOrderedWidth && row >= 0 && row < kOrderedHeight;
      if (turn == now && inside && weight != 0)
        for (int k = 0; k < kOrderedChannels; ++k) sums[k][row][column] += weight * grad[k];
      __syncwarp();
    }
}

// blockIdx.y: the first kOrderedChannels channels; a block strides over the others. Writes the gradient of
// every pixel.
template <class Reads>
__global__ void __launch_bounds__(kThreads, kBlocksOf<typename Reads::A>)
    frame_gather(const typename Reads::Params p) {
  using A = typename Reads::A;
  VFI_SHARED(Sums<A>, all_sums, [kWarps]);
  Sums<A>& sums = all_sums[threadIdx.x / 32];
  const auto& q = Reads::shape(p);
  const Tiling tiles(q.h, q.w);
  const int lane = threadIdx.x % 32, step = gridDim.y * kOrderedChannels;
  for_each_by_warp(i64(Reads::count(p)) * (q.n / q.repeat) * tiles.count, [&](i64 i) {
    const Box tile = tiles[int(i % tiles.count)];
    const i64 frame = i / tiles.count % (q.n / q.repeat);
    const int f = int(i / tiles.count / (q.n / q.repeat));
    const View<A>& target = Reads::target(p, f);
    if (!target.data) return;
    for (int c = blockIdx.y * kOrderedChannels; c < Reads::channels(p, f); c += step) {
      for (int k = 0; k < kOrderedChannels; ++k)
        for (int row = 0; row < kOrderedHeight; ++row) sums[k][row][lane] = 0;
      __syncwarp();
      for (i64 n = frame * q.repeat; n < (frame + 1) * q.repeat; ++n) {
        const Box* reaches =
            reinterpret_cast<const Box*>(q.reach) + (f % Reads::kReaches * i64(q.n) + n) * tiles.count;
        for (int first = 0; first < tiles.count; first += 32) {
          const bool reached = first + lane < tiles.count && meet(tile, reaches[first + lane]);
          for (u32 left = __ballot_sync(kAllLanes, reached); left; left &= left - 1) {
            const Box out = tiles[first + __ffs(int(left)) - 1];
            for (int y = out.top; y <= out.bottom; ++y) add_row<Reads>(p, f, c, tile, n, y, out.left, sums);
          }
        }
      }
      const int channels = min(Reads::channels(p, f) - c, kOrderedChannels);
      for (int row = 0; row <= tile.bottom - tile.top; ++row)
        if (tile.left + lane <= tile.right)
          for (int k = 0; k < channels; ++k)
            *target.at(frame, c + k, tile.top + row, tile.left + lane) = sums[k][row][lane];
      __syncwarp();  // before the next channels or tile take the sums
    }
  });
}

}  // namespace vfi
