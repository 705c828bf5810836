// Launches of the CUDA kernels, as the torch side sees them: no CUDA header, no torch. stream is a
// cudaStream_t. The result is null, or the reason why the launch failed.
#pragma once
#include "../math/backwarp.h"
#include "../math/sepconv.h"
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"

namespace vfi::cuda {

template <class Op>
const char* pair_forward(const typename Op::Params& p, void* stream);
template <class Op>
const char* pair_backward(const typename Op::Params& p, void* stream);

template <class F, class A>
const char* backwarp_forward(const BackwarpParams<F, A>& p, void* stream);
template <class F, class A>
const char* backwarp_backward(const BackwarpParams<F, A>& p, void* stream);

template <class T, class F>
const char* sepconv_forward(const SepconvParams<T, F>& p, void* stream);
template <class T, class F>
const char* sepconv_backward(const SepconvParams<T, F>& p, void* stream);

}  // namespace vfi::cuda
