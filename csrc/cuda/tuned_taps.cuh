// How the tuned kernels address and sample. They serve float32 sums, images of at least 2 x 2 pixels, and
// three layouts: pixels side by side in planes (kStep 1), three channels side by side (kStep 3), and wide
// pixels, 16 bytes of channels at a time. In the first two the four taps of a position are one offset and
// constants from there. Offsets within a plane have 32 bits; what all threads share has 64.
#pragma once
#include "../math/sample.h"
#include "portable.cuh"

namespace vfi {

// The output pixels of a block: warps one above the other, each with kColumns pieces of 32 pixels in a row
// and kRows rows. A piece is what a warp loads at once: with neighbouring pixels in one thread instead, a
// warp's taps would spread over several times as many cache lines. Rows are in one block because they share
// taps, which the L1 cache then holds.
constexpr int kColumns = 2, kRows = 4;
// backwarp reads one frame where the others read two, so it takes twice as many pieces at once.
constexpr int kBackwarpColumns = 2 * kColumns, kBackwarpRows = kRows / 2;
using u64 = unsigned long long;
constexpr int kTileWidth = 32 * kColumns, kTileHeight = kRows * kWarps;
// Of a tuned kernel of two frames on a multiprocessor: leaves a thread 80 registers for loads in flight, or
// 96 where it would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kTunedBlocks = 5;
#else
constexpr int kTunedBlocks = 6;
#endif

__device__ __forceinline__ int tile_x() { return int(blockIdx.x * kTileWidth + threadIdx.x % 32); }
__device__ __forceinline__ int tile_y() { return int(blockIdx.y * kTileHeight + threadIdx.x / 32); }
// Whether all columns of the block are inside. Where not, its threads take their pixels one by one.
__device__ __forceinline__ bool is_whole(int w) { return int((blockIdx.x + 1) * kTileWidth) <= w; }

// A view of one entry of the batch, where n doesn't matter any more. All threads of a block share it.
template <class T>
__device__ __forceinline__ View<T> entry_of(const View<T>& v, int n) {
  T* data = v.data + n * v.n;
  keep(data);
  return {data, 0, v.c, v.y, v.x};
}

// A view of one pixel of an entry: y and x don't matter any more. kFlat: the pixels of a row are side by
// side. right: of the pixel at x, in constant steps, which take no address of their own.
template <bool kFlat, class T>
__device__ __forceinline__ View<T> pixel_of(const View<T>& v, int n, int y, int x, int right = 0) {
  const u32 offset = u32(y) * u32(v.y) + u32(x) * (kFlat ? 1 : u32(v.x));
  return {v.data + n * v.n + offset + right * (kFlat ? 1 : int(v.x)), 0, v.c, 0, 0};
}

// kChannels channels of an image, where its rows begin.
template <int kStep, int kChannels, class T>
struct Planes {
  static constexpr int kCount = kStep == 1 ? kChannels : 1;
  const T *top[kCount], *bottom[kCount];  // a row, and the one below it

  __device__ __forceinline__ Planes(const View<const T>& image, i64 n, int c) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      top[k] = image.at(n, c + k, 0, 0);
      bottom[k] = top[k] + int(image.y);
      keep(top[k]);
      keep(bottom[k]);
    }
  }
};

// Numbers side by side that are loaded at once.
template <int kWords>
struct alignas(4 * kWords) Words {
  u32 word[kWords];
};

VFI_FN Words<4> fetched(const Words<4>* p) {
#if defined(__CUDA_ARCH__)
  const uint4 v = __ldg(reinterpret_cast<const uint4*>(p));
  return {{v.x, v.y, v.z, v.w}};
#else
  return *p;
#endif
}
VFI_FN Words<2> fetched(const Words<2>* p) {
#if defined(__CUDA_ARCH__)
  const uint2 v = __ldg(reinterpret_cast<const uint2*>(p));
  return {{v.x, v.y}};
#else
  return *p;
#endif
}

// A position in an image: the offset of its top left pixel, and the weights of its four pixels.
struct Spot {
  u32 offset;
  float weight[4];
};

// Whether a weight is 0: its pixel must not count even if it is Inf.
VFI_FN bool needs_exact(const Spot& s) {
  return smaller(smaller(s.weight[0], s.weight[1]), smaller(s.weight[2], s.weight[3])) == 0;
}

// Bytes are not converted to float: taken as the bits of one, each is itself times 2^-149. The weights make
// up for most of that and the gain for the rest, and as powers of two they change no rounding.
template <class T>
constexpr float kWeightScale = sizeof(T) == 1 ? 0x1p127f : 1.0f;
template <class T>
constexpr float kGainScale = sizeof(T) == 1 ? 0x1p22f : 1.0f;

VFI_FN float tap_at(const u8* p) { return float_of(fetched(p)); }
template <class T>
VFI_FN float tap_at(const T* p) {
  return number<float>(fetched(p));
}

template <int kPadding>
VFI_FN Axis<float> tuned_axis_at(float coordinate, int size) {
#if defined(__CUDA_ARCH__)
  __builtin_assume(size > 1);
#endif
  if constexpr (kPadding == kBorder) return border_axis_at(coordinate, size);
  return axis_at(coordinate, size, kPadding);
}

// Where two axes meet; scale: of the weights. The offset is for whoever knows the strides.
VFI_FN Spot spot_of(const Axis<float>& ax, const Axis<float>& ay, float scale = 1) {
  const float top = scale * ay.weight_lo, bottom = scale * ay.weight_hi;
  return {0, {top * ax.weight_lo, top * ax.weight_hi, bottom * ax.weight_lo, bottom * ax.weight_hi}};
}

template <int kPadding>
VFI_FN Spot spot_at(float x, float y, int h, int w, float scale, i64 stride_y, i64 stride_x) {
  const Axis<float> ax = tuned_axis_at<kPadding>(x, w), ay = tuned_axis_at<kPadding>(y, h);
  Spot s = spot_of(ax, ay, scale);
  s.offset = u32(ay.lo) * u32(stride_y) + u32(ax.lo) * u32(stride_x);
  return s;
}

// The low word of two that are shifted right.
VFI_FN u32 shifted(u32 low, u32 high, u32 bits) {
#if defined(__CUDA_ARCH__)
  return __funnelshift_r(low, high, bits);
#else
  return u32((u64(high) << 32 | low) >> bits);
#endif
}
VFI_FN void unpack(u32 pair, f16, float& first, float& second) {
#if defined(__CUDA_ARCH__)
  asm("{.reg .b16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b;}"
      : "=f"(first), "=f"(second)
      : "r"(pair));
#else
  first = to_float(f16{static_cast<unsigned short>(pair)});
  second = to_float(f16{static_cast<unsigned short>(pair >> 16)});
#endif
}
VFI_FN void unpack(u32 pair, bf16, float& first, float& second) {
  first = float_of(pair << 16);
  second = float_of(pair & 0xffff0000u);
}

// Two neighbouring pixels of three channels, read in pairs of numbers, four loads instead of six: the load
// unit takes as long for a pair of each lane as for one number. Pairs are aligned, so the first may begin a
// number early; that one is there too, because memory begins at a multiple of a pair.
VFI_FN void pixels_at(const f32* p, float (&tap)[6]) {
  const bool odd = u32(reinterpret_cast<u64>(p)) & 4;
  const Words<2>* pair = reinterpret_cast<const Words<2>*>(reinterpret_cast<u64>(p) & ~7ull);
  const Words<2> w[3] = {fetched(pair), fetched(pair + 1), fetched(pair + 2)};
  const float last = odd ? fetched(p + 5) : 0;
  for (int i = 0; i < 6; ++i) {
    const float next = i < 5 ? float_of(w[(i + 1) / 2].word[(i + 1) % 2]) : last;
    tap[i] = odd ? next : float_of(w[i / 2].word[i % 2]);
  }
}
template <class T>
VFI_FN void pixels_at(const T* p, float (&tap)[6]) {
  const u32 odd = u32(reinterpret_cast<u64>(p)) & 2;
  const u32* pair = reinterpret_cast<const u32*>(reinterpret_cast<u64>(p) & ~3ull);
  const u32 w[4] = {fetched(pair), fetched(pair + 1), fetched(pair + 2), odd ? fetched(p + 5).bits : 0u};
  for (int i = 0; i < 3; ++i) unpack(shifted(w[i], w[i + 1], 8 * odd), T{}, tap[2 * i], tap[2 * i + 1]);
}
template <bool kExact>
VFI_FN float sum_of(const Spot& spot, float top_left, float top_right, float bottom_left,
                    float bottom_right) {
  const float tap[4] = {top_left, top_right, bottom_left, bottom_right};
  float sum = kExact ? empty_sum(spot.weight) : -0.0f;
  for (int i = 0; i < 4; ++i) sum += kExact ? weighted(spot.weight[i], tap[i]) : spot.weight[i] * tap[i];
  return sum;
}

// The channels of a sample.
template <bool kExact, int kStep, int kChannels, class T>
__device__ __forceinline__ void sample(const Planes<kStep, kChannels, T>& planes, const Spot& spot,
                                       float (&sum)[kChannels]) {
  if constexpr (kStep == 3 && kChannels == 3 && sizeof(T) > 1) {
    float top[6], bottom[6];
    pixels_at(planes.top[0] + spot.offset, top);
    pixels_at(planes.bottom[0] + spot.offset, bottom);
    for (int k = 0; k < 3; ++k) sum[k] = sum_of<kExact>(spot, top[k], top[k + 3], bottom[k], bottom[k + 3]);
  } else {
#pragma unroll
    for (int k = 0; k < kChannels; ++k) {
      const int plane = kStep == 1 ? k : 0, channel = kStep == 1 ? 0 : k;
      const T *top = planes.top[plane] + spot.offset + channel,
              *bottom = planes.bottom[plane] + spot.offset + channel;
      sum[k] = sum_of<kExact>(spot, tap_at(top), tap_at(top + kStep), tap_at(bottom), tap_at(bottom + kStep));
    }
  }
}

using Chunk = Words<4>;  // what one load takes at most

template <int kWords>
VFI_FN float number_in(const Words<kWords>& words, int i, f32) {
  return float_of(words.word[i]);
}
// As tap_at reads it.
template <int kWords>
VFI_FN float number_in(const Words<kWords>& words, int i, u8) {
  return float_of(words.word[i / 4] >> (i % 4 * 8) & 255);
}
template <int kWords, class T>
VFI_FN float number_in(const Words<kWords>& words, int i, T) {
  return to_float(T{static_cast<unsigned short>(words.word[i / 2] >> (i % 2 * 16))});
}
VFI_FN void put_in(Chunk& chunk, int i, float v, f32) { chunk.word[i] = bits_of(v); }
VFI_FN void put_in(Chunk& chunk, int i, float v, u8) {
  u8 byte;
  store(&byte, v);
  chunk.word[i / 4] |= u32(byte) << (i % 4 * 8);
}
template <class T>
VFI_FN void put_in(Chunk& chunk, int i, float v, T) {
  T half;
  store(&half, v);
  chunk.word[i / 2] |= u32(half.bits) << (i % 2 * 16);
}

// The lanes that share a pixel of so many chunks: up to a cache line, and none of them idle.
__device__ __forceinline__ int lanes_of(int chunks) { return min(chunks & -chunks, 8); }

// The pixels that a warp computes, 32 side by side or several times that; only the first `inside` exist.
struct Piece {
  int n, frame, y, x, inside, lane;
};

}  // namespace vfi
