// The CPU kernels: plain functions over a range of independent units, which the caller may spread over threads.
#pragma once
#include "../math/backwarp.h"
#include "../math/sepconv.h"
#include "../math/voxel_flow.h"
#include "../math/warp_blend.h"

namespace vfi {

// Units are the rows of the output (n * h), for backward_frames the planes of both frames (2 * n / repeat * c).
template <class Op> void pair_forward(const typename Op::Params& p, i64 begin, i64 end);
template <class Op> void pair_backward_inputs(const typename Op::Params& p, i64 begin, i64 end);
template <class Op> void pair_backward_frames(const typename Op::Params& p, i64 begin, i64 end);

// Units are rows of the output (n * h); for backward_image the planes of image i (n / repeat * channels).
template <class F, class A> void backwarp_forward(const BackwarpParams<F, A>& p, i64 begin, i64 end);
template <class F, class A> void backwarp_backward_flow(const BackwarpParams<F, A>& p, i64 begin, i64 end);
template <class F, class A> void backwarp_backward_image(const BackwarpParams<F, A>& p, int i, i64 begin, i64 end);

// Units are rows of the output (n * h); for backward_image the planes of the selected term's image (n * c).
template <class T, class F> void sepconv_forward(const SepconvParams<T, F>& p, i64 begin, i64 end);
template <class T, class F> void sepconv_backward_taps(const SepconvParams<T, F>& p, i64 begin, i64 end);
template <class T, class F> void sepconv_backward_image(const SepconvParams<T, F>& p, i64 begin, i64 end);

}  // namespace vfi
