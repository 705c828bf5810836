// What launch.cuh asks of the CUDA runtime, answered by a device that is made up.
#include "launch.cuh"

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  if (holds) return;
  std::printf("%s\n", what);
  ++failures;
}

}  // namespace

int main() {
  using vfi::cuda::has_room;
  const int most = 99 << 10;
  fake = {};
  expect(has_room(&fake, most) && fake.allowed == most, "all the shared memory that a block may have");
  expect(fake.carveout == cudaSharedmemCarveoutMaxShared, "room for two blocks");
  fake.settings = 0;
  expect(has_room(&fake, 1) && fake.settings == 0, "set once");
  expect(!has_room(&fake, most + 1), "too much for the device");

  fake = {};
  fake.ptx = 75;
  expect(!has_room(&fake, 1) && fake.error == cudaSuccess, "PTX of an older device is empty");

  fake = {};
  fake.fails = cudaFuncAttributeMaxDynamicSharedMemorySize;
  expect(!has_room(&fake, 1) && fake.error == cudaSuccess, "a failure stays for the next launch");

  fake = {};
  fake.fails = cudaFuncAttributePreferredSharedMemoryCarveout;
  expect(has_room(&fake, 1) && fake.error == cudaSuccess, "the hint fails, which does not matter");

  fake = {};
  fake.error = cudaErrorInvalidValue;
  expect(has_room(&fake, 1) && fake.error == cudaErrorInvalidValue, "the error of a launch before is kept");
  return failures;
}
