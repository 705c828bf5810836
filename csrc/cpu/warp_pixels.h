// The same for pixels whose channels lie side by side (channels_last), taken one by one with a vector along
// the channels.
#pragma once
#include "warp_spans.h"

namespace vfi::VFI_VERSION {

// At least N channels. The last N overlap those before.
template <int N, class T, int K>
u32 sample_pixels(const Row<K>& whole, const Span<K>& span) {
  using V = Vector<float, N>;
  using I = Vector<int, N>;
  constexpr int kLine = 64 / sizeof(T);
  const Row<K> row = whole;
  const Sources<T, K> sources(row);
  u32 again = 0;
  for (int v = 0; v < span.count; ++v) {
    const Located<K>& located = span.vectors[v];
    I doubt = {};
    for (int i = 0; i < kPixels; ++i) {
      T* out = static_cast<T*>(row.out) + (located.x + i) * row.pixel;
      const T* in[K];
      for (int k = 0; k < K; ++k) {
        in[k] = sources.in[k].data + located.offsets[k].lane[i];
        for (int c = 0; c < row.channels; c += kLine)
          __builtin_prefetch(in[k] + i64(kRowsAhead) * sources.in[k].row + c);
      }
      for (int begin = 0; begin < row.channels; begin += N) {
        const int c = std::min(begin, row.channels - N);
        V sum = {};
        I signs = {};
#pragma GCC unroll 2
        for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
          for (int tap = 0; tap < 4; ++tap) {
            const int offset = tap / 2 * sources.in[k].row + tap % 2 * sources.in[k].pixel;
            const V value = load_as<float, N>(in[k] + offset + c);
            sum = fma(all<V>(located.spots[k].weight[tap][i]), value, sum);
            if constexpr (!std::is_same_v<T, u8>) signs |= same_bits<I>(value);
          }
        doubt |= doubtful(sum, signs);
        if (row.channel == 1) {
          save_as(out + c, sum);
        } else {
          T numbers[N];
          save_as(numbers, sum);
          for (int j = 0; j < N; ++j) out[(c + j) * row.channel] = numbers[j];
        }
      }
    }
    again |= u32(sign_bits(doubt) != 0) << v;
  }
  return again;
}

}  // namespace vfi::VFI_VERSION
