// With CUEMU_FEW_TYPES a table holds one kernel for each kind of arithmetic instead of one for each pair of
// types: enough for the sanitizers, whose builds are slow.
#pragma once
#include "../math/backwarp.h"  // has the lists that are replaced here, as seen from csrc/cuda

#ifdef CUEMU_FEW_TYPES
#undef VFI_FOR_EACH_PAIR
#undef VFI_FOR_EACH_SINGLE_PAIR
#undef VFI_FOR_EACH_FLOAT_PAIR
#undef VFI_FOR_EACH_BACKWARP
#undef VFI_FOR_EACH_BAND
#undef VFI_FOR_EACH_FLOAT_BAND
#define VFI_FOR_EACH_SINGLE_PAIR(X) X(f32, f32)
#define VFI_FOR_EACH_FLOAT_PAIR(X) X(f32, f32) X(f16, f32)
#define VFI_FOR_EACH_PAIR(X) VFI_FOR_EACH_FLOAT_PAIR(X) X(u8, f32)
#define VFI_FOR_EACH_BACKWARP(X) X(f32, f32)
#define VFI_FOR_EACH_FLOAT_BAND(X) X(f32, f32, false) X(f16, f32, false) X(f16, f16, false)
#define VFI_FOR_EACH_BAND(X) VFI_FOR_EACH_FLOAT_BAND(X) X(u8, f32, false)
#endif
