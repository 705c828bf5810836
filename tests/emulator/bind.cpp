// The Python face of an emulator module: launches the kernels of the table by name. Compiled without
// sanitizers and once for all variants; the kernels, and the emulator with them, are in the other objects of
// the module.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuemu/table.h"

namespace py = pybind11;

namespace {

// Memory as a kernel would get it from the device: one heap allocation, not a byte longer than asked for, so
// that AddressSanitizer guards both of its ends.
class HostBuffer {
 public:
  explicit HostBuffer(const py::buffer& source) {
    const py::buffer_info info = source.request();
    if (info.ndim != 1 || info.itemsize != 1 || (info.size > 1 && info.strides[0] != 1)) {
      throw py::value_error("HostBuffer: expected a contiguous 1-D array of bytes");
    }
    size_ = std::size_t(info.size);
    data_.reset(new unsigned char[size_]);
    std::memcpy(data_.get(), info.ptr, size_);
  }

  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(data_.get()); }
  py::bytes contents() const { return py::bytes(reinterpret_cast<const char*>(data_.get()), size_); }

 private:
  std::size_t size_;
  std::unique_ptr<unsigned char[]> data_;
};

const cuemu::Entry& find(const std::string& name) {
  const auto found = cuemu::kernels().find(name);
  if (found != cuemu::kernels().end()) return found->second;
  std::string known;
  for (const auto& [other, entry] : cuemu::kernels()) known += (known.empty() ? "" : ", ") + other;
  throw py::value_error("unknown kernel '" + name + "'; this module has " + known);
}

using Size3 = std::array<unsigned, 3>;

void launch(const std::string& kernel, const Size3& grid, const Size3& block, std::size_t smem,
            const py::bytes& params, const std::string& order) {
  const cuemu::Entry& entry = find(kernel);
  const std::string bytes = params;
  if (bytes.size() != entry.params_size) {
    throw py::value_error(kernel + ": params must be " + std::to_string(entry.params_size) + " bytes; got " +
                          std::to_string(bytes.size()));
  }
  entry.run(dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), smem, bytes.data(), order);
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : cuemu::kernels()) names.push_back(name);
  return names;
}

}  // namespace

PYBIND11_MODULE(CUEMU_MODULE, m) {
  py::class_<HostBuffer>(m, "HostBuffer",
                         "A copy of a 1-D array of bytes in a heap block of exactly its size.")
      .def(py::init<const py::buffer&>())
      .def_property_readonly("address", &HostBuffer::address)
      .def("contents", &HostBuffer::contents);
  m.def("launch", &launch, py::arg("kernel"), py::arg("grid"), py::arg("block"), py::arg("smem"),
        py::arg("params"), py::arg("order") = "",
        "Run a kernel to its end. `params` holds the bytes of its parameter struct, pointers to host memory "
        "included.\n"
        "`order` of blocks and threads: fwd, rev or a seed; empty means CUEMU_ORDER from the environment, or "
        "fwd.\n"
        "Raises RuntimeError, with block and thread, where the kernel breaks a rule; ValueError for bad "
        "arguments.");
  m.def("kernels", &kernel_names, "The names that launch() knows.");
  m.def(
      "sizeof_params", [](const std::string& kernel) { return find(kernel).params_size; }, py::arg("kernel"),
      "Size in bytes of a kernel's parameter struct.");
}
