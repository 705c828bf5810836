// The table of the sepconv kernels of csrc/cuda.
#include "entry.h"
#include "few_types.h"
#include "sepconv.cuh"
#include "sepconv_tiled_backward.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_FORWARD(T, F)                                          \
  entry("sepconv_forward<" #T ", " #F ">", sepconv_forward<T, F>), \
      entry("sepconv_tiled_forward<" #T ", " #F ">", sepconv_tiled_forward<T, F>),
#define VFI_BACKWARD(T, F)                                                                     \
  entry("sepconv_tiled_taps<true, " #T ", " #F ">", sepconv_tiled_taps<true, T, F>),           \
      entry("sepconv_tiled_taps<false, " #T ", " #F ">", sepconv_tiled_taps<false, T, F>),     \
      entry("sepconv_tiled_image<" #T ", " #F ">", sepconv_tiled_image<T, F>),                 \
      entry("sepconv_backward_vertical<" #T ", " #F ">", sepconv_backward_vertical<T, F>),     \
      entry("sepconv_backward_horizontal<" #T ", " #F ">", sepconv_backward_horizontal<T, F>), \
      entry("sepconv_backward_image<" #T ", " #F ">", sepconv_backward_image<T, F>),

static const bool added =
    cuemu::add_kernels({VFI_FOR_EACH_PAIR(VFI_FORWARD) VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)});
