// The CPU kernels: plain functions over a range of independent units, which the caller may spread over
// threads.
#pragma once
#include "versions.h"

namespace vfi {

// Pixels of a row are taken in blocks: positions and weights once for all channels, kept in cache between
// them.
constexpr int kBlock = 64;

// Calls body(n, y, x0, count) for the blocks of rows [begin, end) of n * h rows.
template <class Body>
inline void for_each_block(i64 begin, i64 end, int h, int w, const Body& body) {
  for (i64 row = begin; row < end; ++row)
    for (int x = 0; x < w; x += kBlock) body(row / h, int(row % h), x, std::min(kBlock, w - x));
}

// Output pixels x0 .. x0 + count - 1 of a row, count <= kBlock, for every layout and dtype.
template <class Op>
void pair_forward_block(const typename Op::Params& p, i64 n, int y, int x0, int count);
template <class Op>
void pair_backward_inputs_block(const typename Op::Params& p, i64 n, int y, int x0, int count);
template <class F, class A>
void backwarp_forward_block(const BackwarpParams<F, A>& p, int image, i64 n, int y, int x0, int count);
template <class F, class A>
void backwarp_backward_flow_block(const BackwarpParams<F, A>& p, i64 n, int y, int x0, int count);

// Gradients of images are summed in bands of their rows, of which each has one owner. It must know who adds
// to it: a row of the output reads the rows first .. last of an image, and the one after.
struct Reach {
  int first, last;
};
constexpr VFI_FN int bands_of(int h, int rows) { return (h - 1) / rows + 1; }
// As many rows as a buffer for a band may have: the fewer bands, the less is looked at twice. Fewer where so
// many planes of h rows would not keep all threads busy.
constexpr VFI_FN int band_rows(int h, int w, i64 planes, int threads) {
  constexpr int kMost = 1 << 17, kLeast = 1 << 14;  // pixels
  int rows = std::max(1, std::min(64, kMost / w));
  while (rows > 8 && rows / 2 * w >= kLeast && planes * bands_of(h, rows) < 2 * threads) rows /= 2;
  return rows;
}

// The instruction sets that hot loops exist for (versions.h), and the one that runs: the best of this
// processor, or what the environment variable VFI_CPU=base|v3|v4 asks for.
enum class Level { kBase, kV3, kV4 };
Level cpu_level();
const char* name_of(Level level);

// sepconv's output is cut into tiles of columns, as equal as whole cache lines allow: with 51 taps the pieces
// of two images that a tile of 16 rows reads take 0.5 MB.
constexpr VFI_FN int tile_columns(int w) {
  const int tiles = (w + 255) / 256;
  return ((w + tiles - 1) / tiles + 15) / 16 * 16;
}
constexpr VFI_FN int tiles_of(int w) { return (w - 1) / tile_columns(w) + 1; }

// Columns of sepconv's image whose gradient is a unit of work.
constexpr int kUnitColumns = 16;
constexpr VFI_FN int column_units(int width) { return (width + kUnitColumns - 1) / kUnitColumns; }

// VFI_KERNEL(template, name, arguments, call) declares a kernel for every instruction set, and a function
// that calls the one for this processor.
#define VFI_OP template <class Op>
#define VFI_TYPES template <class F, class A>
#ifdef VFI_HAS_VERSIONS
#define VFI_KERNEL(TEMPLATE, NAME, ARGUMENTS, ...) \
  namespace base {                                 \
  TEMPLATE void NAME ARGUMENTS;                    \
  }                                                \
  namespace v3 {                                   \
  TEMPLATE void NAME ARGUMENTS;                    \
  }                                                \
  namespace v4 {                                   \
  TEMPLATE void NAME ARGUMENTS;                    \
  }                                                \
  TEMPLATE void NAME ARGUMENTS {                   \
    switch (cpu_level()) {                         \
      case Level::kV4:                             \
        return v4::__VA_ARGS__;                    \
      case Level::kV3:                             \
        return v3::__VA_ARGS__;                    \
      case Level::kBase:                           \
        return base::__VA_ARGS__;                  \
    }                                              \
  }
#else
#define VFI_KERNEL(TEMPLATE, NAME, ARGUMENTS, ...) \
  namespace base {                                 \
  TEMPLATE void NAME ARGUMENTS;                    \
  }                                                \
  TEMPLATE void NAME ARGUMENTS { return base::__VA_ARGS__; }
#endif

// Units are rows of the output (n * h).
VFI_KERNEL(VFI_OP, pair_forward, (const typename Op::Params& p, i64 begin, i64 end),
           pair_forward<Op>(p, begin, end))
VFI_KERNEL(VFI_OP, pair_backward_inputs, (const typename Op::Params& p, i64 begin, i64 end),
           pair_backward_inputs<Op>(p, begin, end))
VFI_KERNEL(VFI_TYPES, backwarp_forward, (const BackwarpParams<F, A>& p, i64 begin, i64 end),
           backwarp_forward(p, begin, end))
VFI_KERNEL(VFI_TYPES, backwarp_backward_flow, (const BackwarpParams<F, A>& p, i64 begin, i64 end),
           backwarp_backward_flow(p, begin, end))

// The same; finds the reaches [n * h] of an image, or those of frame 0 and then of frame 1.
VFI_KERNEL(VFI_OP, pair_reaches, (const typename Op::Params& p, Reach* reaches, i64 begin, i64 end),
           pair_reaches<Op>(p, reaches, begin, end))
VFI_KERNEL(VFI_TYPES, backwarp_reaches, (const BackwarpParams<F, A>& p, Reach* reaches, i64 begin, i64 end),
           backwarp_reaches(p, reaches, begin, end))

// Units are bands of so many rows: of both frames (n / repeat * bands_of(h, rows) * 2), or of image k (n /
// repeat * bands_of(h, rows)).
VFI_KERNEL(VFI_OP, pair_backward_frames,
           (const typename Op::Params& p, const Reach* reaches, int rows, i64 begin, i64 end),
           pair_backward_frames<Op>(p, reaches, rows, begin, end))
VFI_KERNEL(VFI_TYPES, backwarp_backward_image,
           (const BackwarpParams<F, A>& p, int k, const Reach* reaches, int rows, i64 begin, i64 end),
           backwarp_backward_image(p, k, reaches, rows, begin, end))

// Units are rows of tiles, down one tile and then the next (n * tiles_of(w) * h).
VFI_KERNEL(VFI_TYPES, sepconv_forward, (const SepconvParams<F, A>& p, i64 begin, i64 end),
           sepconv_forward(p, begin, end))
VFI_KERNEL(VFI_TYPES, sepconv_backward_taps, (const SepconvParams<F, A>& p, i64 begin, i64 end),
           sepconv_backward_taps(p, begin, end))

// Units are pieces of kUnitColumns columns of the selected term's image (n * column_units(image_w)).
VFI_KERNEL(VFI_TYPES, sepconv_backward_image, (const SepconvParams<F, A>& p, i64 begin, i64 end),
           sepconv_backward_image(p, begin, end))

#undef VFI_KERNEL
#undef VFI_TYPES
#undef VFI_OP

}  // namespace vfi
