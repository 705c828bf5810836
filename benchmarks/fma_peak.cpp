// Prints how many float32 operations a second, in 1e9, the processor does in chains of multiply-adds that
// touch no memory. Usage: fma_peak THREADS
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX__)
constexpr int kBytes = 32;  // wider vectors are no faster everywhere, and may lower the clock
#else
constexpr int kBytes = 16;
#endif
using Vector = float __attribute__((vector_size(kBytes)));
constexpr int kChains = 12;  // more than latency times units of any processor so far
constexpr long kSteps = 4000000;
constexpr int kRuns = 9;

void multiply_add(float* result) {
  const Vector factor = Vector{} + 0.999f, addend = Vector{} + 1e-7f;
  Vector chain[kChains];
  for (int k = 0; k < kChains; ++k)
    chain[k] = Vector{} + float(k);  // all different, or the compiler keeps one
  for (long i = 0; i < kSteps; ++i)
#pragma GCC unroll 12
    for (Vector& c : chain) c = c * factor + addend;
  Vector sum = {};
  for (const Vector& c : chain) sum += c;
  *result = sum[0];
}

double seconds(int count) {
  std::vector<float> results(count);
  std::vector<std::thread> threads;
  const auto begin = std::chrono::steady_clock::now();
  for (float& result : results) threads.emplace_back(multiply_add, &result);
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  return results[0] > 0 ? taken.count() : 1e9;  // the chains must be computed
}

}  // namespace

int main(int, char** arguments) {
  const int threads = std::max(1, std::atoi(arguments[1]));
  double best = 1e9;
  for (int run = 0; run < kRuns; ++run) best = std::min(best, seconds(threads));
  std::printf("%.1f\n", 2.0 * kSteps * kChains * (kBytes / sizeof(float)) * threads / best / 1e9);
}
