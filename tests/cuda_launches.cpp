// The launches of the kernels as a library for a host compiler, on a CUDA runtime that only writes down what
// it is asked to launch.
#include <cxxabi.h>
#include <dlfcn.h>

#include <functional>
#include <map>
#include <string>

#include "few_types.h"
// Of those types only.
#include "backwarp.cu"
#include "voxel_flow.cu"
#undef VFI_FORWARD
#undef VFI_BACKWARD
#include "sepconv.cu"
#undef VFI_FORWARD
#undef VFI_BACKWARD
#include "warp_blend.cu"
#undef VFI_FORWARD
#undef VFI_BACKWARD

namespace {

using namespace vfi;

// Lines of a kernel, its grid and its bytes of shared memory.
std::string written;

template <class Op>
auto forward() {
  return [](const void* p) { cuda::pair_forward<Op>(*static_cast<const typename Op::Params*>(p), nullptr); };
}
template <class Op>
auto backward() {
  return [](const void* p) { cuda::pair_backward<Op>(*static_cast<const typename Op::Params*>(p), nullptr); };
}

template <class T, class F>
void sepconv_forward(const void* p) {
  cuda::sepconv_forward(*static_cast<const SepconvParams<T, F>*>(p), nullptr);
}
template <class T, class F>
void sepconv_backward(const void* p) {
  cuda::sepconv_backward(*static_cast<const SepconvParams<T, F>*>(p), nullptr);
}

#define VFI_FORWARD(T, F)                                                \
  {"forward WarpBlend<" #T ", " #F ">", forward<WarpBlend<T, F>>()},     \
      {"forward VoxelFlow<" #T ", " #F ">", forward<VoxelFlow<T, F>>()}, \
      {"forward Sepconv<" #T ", " #F ">", sepconv_forward<T, F>},
#define VFI_BACKWARD(T, F)                                                 \
  {"backward WarpBlend<" #T ", " #F ">", backward<WarpBlend<T, F>>()},     \
      {"backward VoxelFlow<" #T ", " #F ">", backward<VoxelFlow<T, F>>()}, \
      {"backward Sepconv<" #T ", " #F ">", sepconv_backward<T, F>},

const std::map<std::string, std::function<void(const void*)>> calls = {
    VFI_FOR_EACH_PAIR(VFI_FORWARD) VFI_FOR_EACH_FLOAT_PAIR(VFI_BACKWARD)  //
    {"forward Backwarp<f32, f32>",
     [](const void* p) {
       cuda::backwarp_forward(*static_cast<const BackwarpParams<f32, f32>*>(p), nullptr);
     }},
    {"backward Backwarp<f32, f32>",
     [](const void* p) {
       cuda::backwarp_backward(*static_cast<const BackwarpParams<f32, f32>*>(p), nullptr);
     }},
};

}  // namespace

cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3, void**, std::size_t bytes, cudaStream_t) {
  Dl_info symbol;
  dladdr(kernel, &symbol);
  int status;
  char* name = abi::__cxa_demangle(symbol.dli_sname, nullptr, nullptr, &status);
  written += name;
  for (std::size_t number : {std::size_t(grid.x), std::size_t(grid.y), std::size_t(grid.z), bytes})
    written += " " + std::to_string(number);
  written += "\n";
  std::free(name);
  return cudaSuccess;
}

extern "C" const char* launches(const char* call, const void* params) {
  written.clear();
  calls.at(call)(params);
  return written.c_str();
}
