// Vectors of one instruction set. A file of the hot loops is compiled once for each (versions.h); what differs between them is
// here and nowhere else.
#pragma once
#include "versions.h"

namespace vfi::VFI_VERSION {

template <class A> struct VectorOf {
  typedef A type __attribute__((vector_size(VFI_VECTOR_BYTES), aligned(sizeof(A)), may_alias));
};
template <class A> using Vector = typename VectorOf<A>::type;
template <class A> constexpr int kLanes = VFI_VECTOR_BYTES / sizeof(A);

template <class A> VFI_FN Vector<A> load(const A* p) { return *reinterpret_cast<const Vector<A>*>(p); }
template <class A> VFI_FN void save(A* p, Vector<A> v) { *reinterpret_cast<Vector<A>*>(p) = v; }

// A vector of numbers that lie side by side in any stored type. Through a local array, which the compiler knows nothing else
// points into.
template <class A, class T> VFI_FN Vector<A> load_as(const T* p) {
  alignas(VFI_VECTOR_BYTES) A lanes[kLanes<A>];
  for (int i = 0; i < kLanes<A>; ++i) lanes[i] = number<A>(p[i]);
  return load(lanes);
}

// An array whose start is aligned for vectors: one that crosses two cache lines is loaded at half the speed.
template <class A> class Buffer {
 public:
  explicit Buffer(i64 size = 0) { resize(size); }
  void resize(i64 size) { storage_.resize(size + kLine / sizeof(A)); }
  A* data() {
    const size_t past = reinterpret_cast<size_t>(storage_.data()) % kLine;
    return storage_.data() + (past ? (kLine - past) / sizeof(A) : 0);
  }

 private:
  static constexpr size_t kLine = 64;
  std::vector<A> storage_;
};

// a * b + c, in one rounding where the instruction set can.
#if VFI_VECTOR_BYTES == 64
VFI_FN Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm512_fmadd_ps(a, b, c); }
VFI_FN Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif VFI_VECTOR_BYTES == 32
VFI_FN Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm256_fmadd_ps(a, b, c); }
VFI_FN Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm256_fmadd_pd(a, b, c); }
#else
VFI_FN Vector<float> fma(Vector<float> a, Vector<float> b, Vector<float> c) { return a * b + c; }
VFI_FN Vector<double> fma(Vector<double> a, Vector<double> b, Vector<double> c) { return a * b + c; }
#endif

}  // namespace vfi::VFI_VERSION
