// Warp intrinsics. The lanes that a mask names wait for each other and exchange one value each.
//
// Stricter than hardware, so that a kernel which passes is right on every device: all lanes of the mask must
// take part, none may have returned, none may be missing because the block is not a multiple of 32 threads.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "machine.h"
#include "shared.h"

namespace cuemu {

inline int lane_id() { return machine.current % kWarpLanes; }

// Joins the calling lane to `mask` at `site`. Returns true for the last lane to come, which has to serve all
// of them and then release them; the others must yield. A lane that waits with another mask is no error yet:
// half a warp may be through with its own intrinsics and already wait for the other half. If the masks really
// disagree, the scheduler ends up with a deadlock.
CUEMU_UNCHECKED inline bool arrive(uint32_t mask, const void* mine, void* all, const Site& site) {
  const int lane = lane_id(), base = machine.current - lane;
  Thread* lanes = machine.threads + base;
  if (!(mask >> lane & 1)) fail("the calling lane is not in its own mask", site);
  bool complete = true;
  for (int l = 0; l < kWarpLanes; ++l) {
    if (l == lane || !(mask >> l & 1)) continue;
    const bool waits = base + l < machine.count && lanes[l].state == State::kAtWarp && lanes[l].mask == mask;
    if (waits && !same_site(site, lanes[l].site)) {
      fail("lanes of one warp wait at different intrinsics", site, lanes[l].site);
    }
    complete = complete && waits;
  }
  Thread& me = lanes[lane];
  me.mask = mask;
  me.mine = mine;
  me.all = all;
  me.site = site;
  me.state = State::kAtWarp;
  return complete;
}

CUEMU_UNCHECKED inline void release_lanes(uint32_t mask) {
  const int base = machine.current - lane_id();
  for (int l = 0; l < kWarpLanes; ++l) {
    if (mask >> l & 1) machine.threads[base + l].state = State::kReady;
  }
}

// Gives `mine` to every lane in `mask` and gets theirs in `all`, an array on the caller's own stack: a fast
// lane may be at its next exchange before a slow one has looked at this one. Lanes outside of the mask leave
// 0xFF bytes (NaN).
template <class T>
CUEMU_UNCHECKED void exchange(uint32_t mask, const T& mine, T (&all)[kWarpLanes], const Site& site) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memset(static_cast<void*>(all), 0xFF, sizeof all);
  if (!arrive(mask, &mine, all, site)) return yield();
  const Thread* lanes = machine.threads + (machine.current - lane_id());
  for (int to = 0; to < kWarpLanes; ++to) {
    if (!(mask >> to & 1)) continue;
    for (int from = 0; from < kWarpLanes; ++from) {
      if (mask >> from & 1) static_cast<T*>(lanes[to].all)[from] = *static_cast<const T*>(lanes[from].mine);
    }
  }
  release_lanes(mask);
}

// The value of lane `source` of the warp. What a lane outside of the mask has is undefined: NaN, or all bits
// set.
template <class T>
CUEMU_UNCHECKED T shuffle(uint32_t mask, T value, int source, const Site& site) {
  static_assert(std::is_arithmetic_v<T>, "CUDA shuffles numbers only");
  T all[kWarpLanes];
  exchange(mask, value, all, site);
  return all[source];
}

// The first lane of the caller's group of `width` lanes.
CUEMU_UNCHECKED inline int group_start(int width, const Site& site) {
  if (width < 1 || width > kWarpLanes || (width & (width - 1))) {
    fail("width must be a power of two up to 32", site);
  }
  return lane_id() & ~(width - 1);
}

CUEMU_UNCHECKED inline uint32_t ballot(uint32_t mask, bool predicate, const Site& site) {
  unsigned char all[kWarpLanes];
  exchange(mask, static_cast<unsigned char>(predicate), all, site);
  uint32_t result = 0;
  for (int l = 0; l < kWarpLanes; ++l) {
    if (mask >> l & 1) result |= uint32_t(all[l]) << l;
  }
  return result;
}

// The one warp intrinsic that orders memory: for ThreadSanitizer the others synchronise nothing.
CUEMU_UNCHECKED inline void sync_warp(uint32_t mask, const Site& site) {
  Warp& warp = machine.warps[machine.current / kWarpLanes];
  char* const fence = warp.fence.at(shared.serial, warp.fences);
  sanitizer::release(fence);
  if (arrive(mask, nullptr, nullptr, site)) {
    ++warp.fences;
    release_lanes(mask);
  } else {
    yield();
  }
  sanitizer::acquire(fence);
}

}  // namespace cuemu

inline void __syncwarp(uint32_t mask = ~0u, cuemu::Site site = "__syncwarp") { cuemu::sync_warp(mask, site); }

template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = warpSize, cuemu::Site site = "__shfl_sync") {
  const int start = cuemu::group_start(width, site);
  return cuemu::shuffle(mask, value, start + (source & (width - 1)), site);
}

// In the other shuffles a source beyond the group means the lane's own value. As in CUDA, __shfl_xor_sync may
// reach an earlier group but not a later one.
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = warpSize,
                 cuemu::Site site = "__shfl_up_sync") {
  const int lane = cuemu::lane_id(), start = cuemu::group_start(width, site);
  return cuemu::shuffle(mask, value, delta <= unsigned(lane - start) ? lane - int(delta) : lane, site);
}

template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = warpSize,
                   cuemu::Site site = "__shfl_down_sync") {
  const int lane = cuemu::lane_id(), end = cuemu::group_start(width, site) + width;
  return cuemu::shuffle(mask, value, delta < unsigned(end - lane) ? lane + int(delta) : lane, site);
}

template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask, int width = warpSize,
                  cuemu::Site site = "__shfl_xor_sync") {
  const int lane = cuemu::lane_id(), end = cuemu::group_start(width, site) + width;
  const int source = lane ^ (lane_mask & (warpSize - 1));
  return cuemu::shuffle(mask, value, source < end ? source : lane, site);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, cuemu::Site site = "__ballot_sync") {
  return cuemu::ballot(mask, predicate != 0, site);
}

inline int __any_sync(uint32_t mask, int predicate, cuemu::Site site = "__any_sync") {
  return cuemu::ballot(mask, predicate != 0, site) != 0;
}

inline int __all_sync(uint32_t mask, int predicate, cuemu::Site site = "__all_sync") {
  return cuemu::ballot(mask, predicate != 0, site) == mask;
}

// Which lanes have the caller's value.
template <class T>
uint32_t __match_any_sync(uint32_t mask, T value, cuemu::Site site = "__match_any_sync") {
  T all[cuemu::kWarpLanes];
  cuemu::exchange(mask, value, all, site);
  uint32_t result = 0;
  for (int l = 0; l < cuemu::kWarpLanes; ++l) result |= uint32_t(mask >> l & 1 && all[l] == value) << l;
  return result;
}
