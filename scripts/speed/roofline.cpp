// The limits of one core: what nothing that multiplies 16 floats at a time can exceed. Best of many short runs.
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace {

constexpr int kRepeat = 4000, kRuns = 200;
alignas(64) float panel[16 * 256];  // 16 KB: half of the first-level cache
alignas(64) float weights[64];

template <typename Body>
double best_seconds(const Body& body) {
  double best = 1e9;
  for (int run = 0; run < kRuns; ++run) {
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < kRepeat; ++i) body(i);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    best = std::min(best, took.count() / kRepeat);
  }
  return best;
}

// One after another without a loop, so that every accumulator is a register.
template <int... I, typename Body>
inline __attribute__((always_inline)) void each(std::integer_sequence<int, I...>, const Body& body) {
  (body(std::integral_constant<int, I>{}), ...);
}

// One entry of a sparse row: `Vectors` vectors of pixels for `Block` outputs.
template <int Vectors, int Block>
double entry_rate() {
  __m512 sums[Block * Vectors] = {};
  const double seconds = best_seconds([&](int i) {
    const float* const pixels = panel + i * 7 % 32 * 16 * Vectors % (16 * 240);
    __m512 weight[Block];
    each(std::make_integer_sequence<int, Block>{}, [&](auto m) {
      __asm__ volatile("vbroadcastss %1, %0" : "=v"(weight[m]) : "m"(weights[i % 16 * Block + m]));
    });
    each(std::make_integer_sequence<int, Vectors>{}, [&](auto v) {
      __m512 x;
      __asm__ volatile("vmovaps %1, %0" : "=v"(x) : "m"(*reinterpret_cast<const __m512*>(pixels + 16 * v)));
      each(std::make_integer_sequence<int, Block>{}, [&](auto m) {
        __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(sums[m * Vectors + v]) : "v"(x), "v"(weight[m]));
      });
    });
  });
  return Vectors * Block * 16e-9 / seconds;
}

}  // namespace

extern "C" {

double fma() {
  __m512 sums[12] = {};
  const __m512 x = _mm512_setzero_ps();
  const double seconds = best_seconds([&](int) {
    each(std::make_integer_sequence<int, 12>{},
         [&](auto v) { __asm__ volatile("vfmadd231ps %1, %1, %0" : "+v"(sums[v]) : "v"(x)); });
  });
  return 12 * 16e-9 / seconds;
}

double load() {
  const double seconds = best_seconds([&](int i) {
    const float* const from = panel + i % 16 * 256;
    each(std::make_integer_sequence<int, 16>{}, [&](auto v) {
      __m512 x;
      __asm__ volatile("vmovaps %1, %0" : "=v"(x) : "m"(*reinterpret_cast<const __m512*>(from + 16 * v)));
    });
  });
  return 16 * 64 / seconds;
}

double entry1() { return entry_rate<7, 1>(); }
double entry2() { return entry_rate<5, 2>(); }
double entry4() { return entry_rate<4, 4>(); }

}
