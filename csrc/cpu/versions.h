// The instruction sets that hot loops are compiled for, and how: a file NAME_v3.cpp defines VFI_LEVEL 3 and
// includes NAME.cpp.
//
//   base  x86-64, aarch64 and everything else: vectors of 16 bytes
//   v3    x86-64-v3: AVX2, FMA
//   v4    x86-64-v4: AVX-512
//
// Everything that is not ours is included before the pragma below: an inline function of the standard library
// must not be compiled for AVX-512 here and then be the one that the linker keeps for all. math/ comes after
// it: its functions are always inlined, and GCC cuts vectors of AVX into smaller ones in a function that was
// declared without it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)  // clang has another pragma for it
#define VFI_HAS_VERSIONS
#endif

#ifndef VFI_LEVEL
#define VFI_LEVEL 1
#endif

#if defined(VFI_HAS_VERSIONS)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 finds it in its own avx512fintrin.h
#endif

#if VFI_LEVEL == 4 && defined(VFI_HAS_VERSIONS)
#define VFI_VERSION v4
#define VFI_VECTOR_BYTES 64
#pragma GCC target( \
    "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2,lzcnt,movbe,prefer-vector-width=512")
#elif VFI_LEVEL == 3 && defined(VFI_HAS_VERSIONS)
#define VFI_VERSION v3
#define VFI_VECTOR_BYTES 32
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,movbe")
#else
#define VFI_VERSION base
#define VFI_VECTOR_BYTES 16
#endif

#include "../math/backwarp.h"
#include "../math/sepconv.h"
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"
