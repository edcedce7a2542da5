// SPDX-License-Identifier: Apache-2.0
// Eight tiles of 16 rows and what can be done with them: by AMX, or by plain C++ that makes the same bits.
//
//   TileUnit::begin(), end()         between them tiles may be used; afterwards the thread has none that are alive
//   zero<T>()                        tile T
//   load_weights<T>(from)            16 rows of 16 words (one output each), 1 KB, past the first-level cache
//   load_pixels<T>(from, pitch)      16 rows of kLanes words (one panel row each)
//   store<T>(to)                     16 rows of kLanes sums, one after the other
//   multiply<To, Weights, Pixels>()  To[m][n] += the four products of Weights[m][k] and Pixels[k][n], for each k
//
// A row of weights is always 16 words; one of pixels and sums has the width of a vector, so that the plain unit is
// tested with vectors of its own.
#pragma once

#include "int8.h"

// Where tiles are plain C++, what is done with them takes so long that a call is nothing; the code is then there once.
#if PU_TILES == 1
#define PU_TILE_WORK PU_INLINE
#else
#define PU_TILE_WORK __attribute__((noinline))
#endif

namespace paddle_unstructured::int8 {
namespace {

constexpr int kTileSize = 16;  // rows; words in a row of weights
constexpr int kTileCount = 8;
constexpr int kPixelRow = kLanes * kGroup;  // bytes

#if PU_TILES == 1
static_assert(kLanes == kTileSize, "a vector is a row of a tile");

// In assembly, because the compilers' functions do not say which memory they read and write.
struct TileUnit {
  // What `ldtilecfg` reads: all eight tiles are 16 rows of 64 bytes.
  struct alignas(64) Configuration {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};

    constexpr Configuration() {
      for (int i = 0; i < kTileCount; ++i) {
        row_bytes[i] = 64;
        rows[i] = kTileSize;
      }
    }
  };

  static PU_INLINE void begin() {
    static constexpr Configuration kAll;
    asm volatile("ldtilecfg %0" : : "m"(kAll) : "memory");
  }
  static PU_INLINE void end() { asm volatile("tilerelease" : : : "memory"); }

  template <int T>
  static PU_INLINE void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(T));
  }
  template <int T>
  static PU_INLINE void load_weights(const void* from) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(ptrdiff_t{64}), "i"(T) : "memory");
  }
  template <int T>
  static PU_INLINE void load_pixels(const void* from, ptrdiff_t pitch) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(pitch), "i"(T) : "memory");
  }
  template <int T>
  static PU_INLINE void store(void* to) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(ptrdiff_t{64}), "i"(T) : "memory");
  }
  template <int To, int Weights, int Pixels>
  static PU_INLINE void multiply() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(To), "i"(Weights), "i"(Pixels));
  }
};
#else
struct TileUnit {
  struct Tile {
    int32_t row[kTileSize][kTileSize];
  };
  static Tile* tiles() {
    static thread_local Tile all[kTileCount];
    return all;
  }

  static void begin() {}
  static void end() {}

  template <int T>
  static void zero() {
    tiles()[T] = {};
  }
  template <int T>
  static void load_weights(const void* from) {
    std::memcpy(tiles()[T].row, from, sizeof(Tile));
  }
  template <int T>
  static void load_pixels(const void* from, ptrdiff_t pitch) {
    for (int k = 0; k < kTileSize; ++k)
      std::memcpy(tiles()[T].row[k], static_cast<const char*>(from) + k * pitch, kPixelRow);
  }
  template <int T>
  static void store(void* to) {
    for (int m = 0; m < kTileSize; ++m)
      std::memcpy(static_cast<char*>(to) + m * kPixelRow, tiles()[T].row[m], kPixelRow);
  }
  template <int To, int Weights, int Pixels>
  static PU_INLINE void multiply() {
    add_products(tiles()[Weights], tiles()[Pixels], &tiles()[To]);
  }

 private:
  static PU_TILE_WORK void add_products(const Tile& by, const Tile& panel, Tile* to) {
    for (int m = 0; m < kTileSize; ++m) {
      IntVec sums = load_ints(to->row[m]);
      for (int k = 0; k < kTileSize; ++k)
        sums = dot(sums, pixels(load_ints(panel.row[k])), weights(broadcast_int(by.row[m][k])));
      store_ints(to->row[m], sums);
    }
  }
};
#endif

}  // namespace
}  // namespace paddle_unstructured::int8
