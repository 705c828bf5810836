// The table of sepconv's tensor-core kernels.
#include "entry.h"
#include "few_types.h"
#include "sepconv_band_backward.cuh"
#include "sepconv_band_forward.cuh"
#include "sepconv_band_image.cuh"

using namespace vfi;
using cuemu::entry;

#define VFI_FORWARD(T, F, COARSE) \
  entry("sepconv_band_forward<" #T ", " #F ", " #COARSE ">", sepconv_band_forward<T, F, COARSE>),

#define VFI_BACKWARD(T, F, COARSE)                                                                          \
  entry("sepconv_band_vertical<" #T ", " #F ", " #COARSE ">", sepconv_band_vertical<T, F, COARSE>),         \
      entry("sepconv_band_horizontal<" #T ", " #F ", " #COARSE ">", sepconv_band_horizontal<T, F, COARSE>), \
      entry("sepconv_band_image<" #T ", " #F ", " #COARSE ">", sepconv_band_image<T, F, COARSE>),

static const bool added =
    cuemu::add_kernels({VFI_FOR_EACH_BAND(VFI_FORWARD) VFI_FOR_EACH_FLOAT_BAND(VFI_BACKWARD)});
