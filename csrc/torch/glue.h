// From torch tensors to kernel parameters, through the stable ABI only: one binary serves every torch
// >= 2.10, with CUDA or without. Python has checked the arguments with clear messages; what is checked here
// again keeps a direct call of torch.ops from reading out of bounds.
#pragma once
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <array>
#include <climits>
#include <optional>
#include <string_view>
#include <vector>

#include "../cpu/kernels.h"

// In libtorch_cuda; null in a torch without CUDA, which never calls it.
extern "C" __attribute__((weak)) int32_t aoti_torch_get_current_cuda_stream(int32_t device, void** stream);

namespace vfi {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Sizes = std::array<i64, 4>;

inline Sizes sizes_of(const Tensor& t) {
  STD_TORCH_CHECK(t.dim() == 4, "vfi_kernels: expected a tensor of 4 dimensions; got ", t.dim());
  return {t.size(0), t.size(1), t.size(2), t.size(3)};
}

// A size as the kernels hold it.
inline int int_of(i64 size) {
  STD_TORCH_CHECK(size <= INT_MAX, "vfi_kernels: sizes must be below 2^31; got ", size);
  return static_cast<int>(size);
}

inline void check_like(const char* name, const Tensor& t, const Sizes& sizes, const Tensor& first) {
  STD_TORCH_CHECK(t.dim() == 4, "vfi_kernels: ", name, " must have 4 dimensions; got ", t.dim());
  for (int d = 0; d < 4; ++d)
    STD_TORCH_CHECK(t.size(d) == sizes[d], "vfi_kernels: ", name, " must have size ", sizes[d],
                    " in dimension ", d, "; got ", t.size(d));
  STD_TORCH_CHECK(t.device() == first.device(), "vfi_kernels: ", name,
                  " must be on the device of the first tensor");
}

// How many entries of a batch share one frame.
inline int repeat_of(i64 entries, i64 frames) {
  STD_TORCH_CHECK(frames > 0 ? entries % frames == 0 : entries == 0, "vfi_kernels: a batch of ", entries,
                  " entries can't share ", frames, " frames");
  return frames > 0 ? int_of(entries / frames) : 1;
}

inline int padding_of(std::string_view padding) {
  STD_TORCH_CHECK(padding == "border" || padding == "zeros", "vfi_kernels: padding must be border or zeros");
  return padding == "zeros" ? kZeros : kBorder;
}

template <class T>
View<T> view(const Tensor& t) {
  T* data;
  if constexpr (std::is_const_v<T>)
    data = static_cast<T*>(t.const_data_ptr());
  else
    data = static_cast<T*>(t.mutable_data_ptr());
  return {data, t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

// The view of a result, absent where the result was not asked for.
template <class T>
View<T> view(const std::optional<Tensor>& t) {
  return t ? view<T>(*t) : View<T>{};
}

// Whether results that follow t are channels_last: only if t is, and is not contiguous as well.
inline bool follows_channels_last(const Tensor& t) {
  if (t.is_contiguous()) return false;
  i64 expected = 1;
  for (int d : {1, 3, 2, 0}) {
    if (t.size(d) == 1) continue;
    if (t.stride(d) != expected) return false;
    expected *= t.size(d);
  }
  return true;
}

// An uninitialised tensor on the device of `like` and in its layout.
inline Tensor empty(const Tensor& like, const Sizes& s, ScalarType dtype) {
  const Sizes planar = {s[1] * s[2] * s[3], s[2] * s[3], s[3], 1};
  const Sizes interleaved = {s[1] * s[2] * s[3], 1, s[3] * s[1], s[1]};
  const Sizes& strides = follows_channels_last(like) ? interleaved : planar;
  int32_t type, device_type, device;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(like.get(), &device));
  type = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle handle;
  const std::array<int64_t, 4> sizes{s[0], s[1], s[2], s[3]},
      steps{strides[0], strides[1], strides[2], strides[3]};
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(4, sizes.data(), steps.data(), type, device_type, device, &handle));
  return Tensor(handle);
}

inline bool is_empty(const Tensor& t) { return t.numel() == 0; }

// The gradients of an operation's inputs, of which `needs` asks for some: bit i for input i.
class Gradients {
 public:
  explicit Gradients(int64_t needs) : needs_(needs) {}

  // The gradient of the next input: like that input, or absent. `zeroed` for those that a CUDA kernel adds
  // to.
  std::optional<Tensor> next(const Tensor& input, ScalarType dtype, bool zeroed = false) {
    return next(input, sizes_of(input), dtype, zeroed);
  }
  std::optional<Tensor> next(const Tensor& input, const Sizes& sizes, ScalarType dtype, bool zeroed) {
    const bool wanted = needs_ >> results_.size() & 1;
    results_.push_back(wanted ? empty(input, sizes, dtype)
                              : torch::stable::new_empty(input, {0}, std::make_optional(dtype)));
    if (!wanted) return std::nullopt;
    if (zeroed) torch::stable::fill_(results_.back(), 0);
    return results_.back();
  }
  bool wanted(int first, int count) const { return needs_ >> first & ((int64_t(1) << count) - 1); }
  const std::vector<Tensor>& results() const { return results_; }

 private:
  int64_t needs_;
  std::vector<Tensor> results_;
};

template <class T>
struct Type {
  using type = T;
};

// The dtype of the sums for images of a dtype, as a tensor's.
inline ScalarType sum_dtype(ScalarType image) {
  return image == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// Calls f(Type<T>, Type<F>) for the image type and the type of flow, mask or taps.
template <class Fn>
void with_types(ScalarType image, ScalarType input, const Fn& f) {
  const auto pair = [&](ScalarType a, ScalarType b) { return image == a && input == b; };
  if (pair(ScalarType::Float, ScalarType::Float)) return f(Type<f32>{}, Type<f32>{});
  if (pair(ScalarType::Half, ScalarType::Float)) return f(Type<f16>{}, Type<f32>{});
  if (pair(ScalarType::Half, ScalarType::Half)) return f(Type<f16>{}, Type<f16>{});
  if (pair(ScalarType::BFloat16, ScalarType::Float)) return f(Type<bf16>{}, Type<f32>{});
  if (pair(ScalarType::BFloat16, ScalarType::BFloat16)) return f(Type<bf16>{}, Type<bf16>{});
  if (pair(ScalarType::Double, ScalarType::Double)) return f(Type<f64>{}, Type<f64>{});
  if (pair(ScalarType::Double, ScalarType::Float)) return f(Type<f64>{}, Type<f32>{});
  if (pair(ScalarType::Byte, ScalarType::Float)) return f(Type<u8>{}, Type<f32>{});
  STD_TORCH_CHECK(false, "vfi_kernels: these dtypes don't go together");
}

// Of so many pixels the reach is found in the time that one takes to be read and weighed.
constexpr i64 kReachesAPixel = 16;

// The cost of pixels with so many channels, in pixels of three.
inline i64 cost_of(i64 pixels, i64 channels) { return pixels * std::max<i64>(channels, 3) / 3; }

// Spreads the units of a CPU kernel over torch's threads. work: rough cost of a unit in pixels; small calls
// stay on one thread. So do calls from inside of a parallel region: parallel_for sees to that.
template <class Body>
void on_cpu(i64 units, i64 work, const Body& body) {
  constexpr i64 kPixelsAThread = 16384;
  cpu_level();  // a wrong VFI_CPU is told here: what parallel_for throws loses its message
  const i64 grain = std::max<i64>(1, kPixelsAThread / std::max<i64>(1, work));
  torch::stable::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) { body(begin, end); });
}

// Launches on the device and the current stream of a tensor. launch(stream) returns null or an error message.
template <class Launch>
void on_cuda(const Tensor& t, const Launch& launch) {
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, "vfi_kernels: this torch has no CUDA");
  const torch::stable::accelerator::DeviceGuard guard(t.get_device_index());
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
  const char* error = launch(stream);
  STD_TORCH_CHECK(error == nullptr, "vfi_kernels: CUDA launch failed: ", error);
}

}  // namespace vfi
