// SPDX-License-Identifier: Apache-2.0
// The limits of one core: what no kernel that multiplies 16 floats at a time can exceed. Best of many short runs.
#include <immintrin.h>

#include <algorithm>
#include <chrono>

namespace {

constexpr int kRepeat = 20000, kRuns = 60;
alignas(64) float panel[16 * 256];  // 16 KB: half of the first-level cache
alignas(64) float weights[64];
alignas(64) float sink[16];

template <typename Body>
double best_seconds(const Body& body) {
  double best = 1e9;
  for (int run = 0; run < kRuns; ++run) {
    const auto begun = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    best = std::min(best, took.count() / kRepeat);
  }
  return best;
}

// Entries of a sparse row, one after another: a broadcast for each output, a load for each vector of pixels, and their
// products. Without `Load` the pixels stay in registers, without `Multiply` the loads stand alone.
template <int Vectors, int Block, bool Load, bool Multiply>
void entries() {
  __m512 sums[Block][Vectors], x[Vectors], weight[Block];
#pragma GCC unroll 16
  for (int v = 0; v < Vectors; ++v) x[v] = _mm512_load_ps(panel);
#pragma GCC unroll 4
  for (int m = 0; m < Block; ++m) {
    weight[m] = _mm512_set1_ps(weights[m]);
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) sums[m][v] = _mm512_setzero_ps();
  }
  for (int i = 0; i < kRepeat; ++i) {
    const float* const pixels = panel + i * 5 % 16 * 16 * Vectors;
    if (Load && Multiply)
#pragma GCC unroll 4
      for (int m = 0; m < Block; ++m)
        __asm__ volatile("vbroadcastss %1, %0" : "=v"(weight[m]) : "m"(weights[i % 16 * Block + m]));
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) {
      if (Load)
        __asm__ volatile("vmovaps %1, %0" : "=v"(x[v]) : "m"(*reinterpret_cast<const __m512*>(pixels + 16 * v)));
#pragma GCC unroll 4
      for (int m = 0; m < Block; ++m)
        if (Multiply) __asm__ volatile("vfmadd231ps %1, %2, %0" : "+v"(sums[m][v]) : "v"(x[v]), "v"(weight[m]));
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < Block; ++m)
#pragma GCC unroll 16
    for (int v = 0; v < Vectors; ++v) _mm512_store_ps(sink, sums[m][v]);
}

}  // namespace

extern "C" {

// 1e9 multiply-adds per second; `load`: bytes per second.
double fma_rate() { return 12 * 16e-9 / best_seconds(entries<12, 1, false, true>); }
double load_rate() { return 12 * 64 / best_seconds(entries<12, 1, true, false>); }
double entry1_rate() { return 7 * 16e-9 / best_seconds(entries<7, 1, true, true>); }
double entry2_rate() { return 10 * 16e-9 / best_seconds(entries<5, 2, true, true>); }
double entry4_rate() { return 16 * 16e-9 / best_seconds(entries<4, 4, true, true>); }
}
