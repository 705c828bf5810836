// The tensor core and what feeds it: mma.sync, ldmatrix and cp.async, for the wrapper mma.cuh of the kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "machine.h"
#include "shared.h"
#include "warp.h"

namespace cuemu {

// What the tensor core is believed to do with 16 products and an addend: all are cut, not rounded, this many
// bits below the last place that float32 has beside the largest of them, and so is their sum. Published
// measurements: one bit on sm_80, two on sm_90. Kernels that pass here are not spoilt by round-to-nearest.
inline constexpr int kExtraBits = 1;

// c + x . y
CUEMU_UNCHECKED inline float dot16(const float* x, const float* y, float c) {
  double terms[17], largest = 0, plain = 0;
  for (int k = 0; k < 17; ++k) {
    terms[k] = k < 16 ? double(x[k]) * y[k] : double(c);
    plain += terms[k];
    largest = std::max(largest, std::fabs(terms[k]));
  }
  if (!(std::fabs(plain) <= 1e300) || largest == 0) return float(plain);  // Inf, NaN, zero
  const double unit = std::ldexp(1.0, std::ilogb(largest) - 23 - kExtraBits);
  double sum = 0;
  for (const double term : terms) sum += std::trunc(term / unit);  // exact: at most 30 bits
  sum *= unit;
  const float nearest = float(sum);
  return std::fabs(double(nearest)) > std::fabs(sum) ? std::nextafter(nearest, 0.0f) : nearest;
}

CUEMU_UNCHECKED inline float half_at(uint32_t pair, int upper) {
  const uint32_t bits = upper ? pair >> 16 : pair & 0xffff;
  const int exponent = int(bits >> 10 & 31), fraction = int(bits & 1023);
  const float magnitude = exponent == 31  ? (fraction ? NAN : INFINITY)
                          : exponent == 0 ? std::ldexp(float(fraction), -24)
                                          : std::ldexp(float(1024 + fraction), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

struct MmaOperands {
  uint32_t a[4], b[2];
  float c[4];
};

// d = a b + c for float16 a [16, 16], b [16, 8] and float32 c, d [16, 8], each in the warp's registers as the
// PTX manual lays out m16n8k16. With lane = 4 g + t: a[r] is row g + 8 (r & 1), columns 2t + 8 (r >> 1) and
// the next; b[r] rows 2t + 8r and the next, column g; c[r] row g + 8 (r >> 1), column 2t + (r & 1).
CUEMU_UNCHECKED inline void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                        Site site = "mma.sync") {
  MmaOperands mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  std::memcpy(mine.c, d, sizeof d);
  if (!arrive(~0u, &mine, d, site)) return yield();
  const Thread* lanes = machine.threads + (machine.current - lane_id());
  float rows[16][16], columns[8][16];
  for (int l = 0; l < kWarpLanes; ++l) {
    const auto& in = *static_cast<const MmaOperands*>(lanes[l].mine);
    const int g = l / 4, k = l % 4 * 2;
    for (int e = 0; e < 2; ++e) {
      for (int r = 0; r < 4; ++r) rows[g + 8 * (r & 1)][k + 8 * (r >> 1) + e] = half_at(in.a[r], e);
      for (int r = 0; r < 2; ++r) columns[g][k + 8 * r + e] = half_at(in.b[r], e);
    }
  }
  for (int l = 0; l < kWarpLanes; ++l) {
    const auto& in = *static_cast<const MmaOperands*>(lanes[l].mine);
    auto* out = static_cast<float*>(lanes[l].all);
    for (int r = 0; r < 4; ++r)
      out[r] = dot16(rows[l / 4 + 8 * (r >> 1)], columns[l % 4 * 2 + (r & 1)], in.c[r]);
  }
  release_lanes(~0u);
}

// ldmatrix .x4: lane l names row l % 8, 16 bytes, of matrix l / 8. Lane 4 g + t gets of every matrix the
// elements 2t and 2t + 1 of row g, or, transposed, of column g. The lane itself reads them, so that the
// sanitizers see an access by the thread that needs it to be safe.
template <bool kTransposed>
void load_matrices(uint32_t (&r)[4], const char* row, Site site = "ldmatrix") {
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("a row that is not aligned to 16 bytes", site);
  const char* rows[kWarpLanes];
  exchange(~0u, row, rows, site);
  const int g = lane_id() / 4, t = lane_id() % 4;
  for (int m = 0; m < 4; ++m) {
    uint16_t pair[2];
    for (int e = 0; e < 2; ++e) {
      const int from = kTransposed ? 2 * t + e : g, element = kTransposed ? g : 2 * t + e;
      pair[e] = *reinterpret_cast<const uint16_t*>(rows[8 * m + from] + 2 * element);
    }
    r[m] = pair[0] | uint32_t(pair[1]) << 16;
  }
}

// The copies that a thread has started and not yet waited for. They happen as late as they may, in the wait;
// until then the destination is all ones (NaN), so that a missing wait shows.
inline constexpr int kMaxCopies = 256;
struct Copy {
  unsigned char* to;
  const unsigned char* from;
  int bytes;
};
struct Copies {
  Copy copies[kMaxCopies];
  int count;
  uint64_t block;  // a serial number; a thread may end with copies under way that nobody will read
};
inline Copies copies_of[kMaxThreads];

CUEMU_UNCHECKED inline Copies& my_copies() {
  Copies& mine = copies_of[machine.current];
  if (mine.block != shared.serial) mine.count = 0;
  mine.block = shared.serial;
  return mine;
}

CUEMU_UNCHECKED inline void add_copy(const Copy& copy, const Site& site) {
  Copies& mine = my_copies();
  if (mine.count == kMaxCopies) fail("too many copies under way for the emulator", site);
  mine.copies[mine.count++] = copy;
}

CUEMU_UNCHECKED inline bool take_copy(Copy& copy) {
  Copies& mine = my_copies();
  if (mine.count == 0) return false;
  copy = mine.copies[--mine.count];
  return true;
}

// cp.async of `total` bytes, of which `bytes` are read and the rest is zero.
inline void copy_async(void* to, const void* from, int total, int bytes, Site site = "cp.async") {
  if (reinterpret_cast<uintptr_t>(to) % unsigned(total) ||
      reinterpret_cast<uintptr_t>(from) % unsigned(total))
    fail("an address that is not aligned to the size of the copy", site);
  auto* destination = static_cast<unsigned char*>(to);
  for (int i = 0; i < total; ++i) destination[i] = i < bytes ? 0xFF : 0;
  add_copy({destination, static_cast<const unsigned char*>(from), bytes}, site);
}

inline void wait_for_copies() {
  for (Copy copy; take_copy(copy);)
    for (int i = 0; i < copy.bytes; ++i) copy.to[i] = copy.from[i];
}

}  // namespace cuemu
