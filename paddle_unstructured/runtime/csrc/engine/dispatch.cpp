// SPDX-License-Identifier: Apache-2.0
#include "dispatch.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "error.h"
#include "processor.h"

namespace paddle_unstructured {
namespace {

enum class Width { kPortable, k128, k256, k512 };

template <typename Table>
struct Candidate {
  const Table* table;
  Width width;
  bool is_here;
  bool (*is_permitted)() = nullptr;  // asked only if it would run

  bool may_run() const { return is_here && (is_permitted == nullptr || is_permitted()); }
};

int8::KernelTable with_tiles(const char* name, int8::KernelTable table, const int8::TileTable& tiles, bool only_tiles) {
  table.name = name;
  table.tiles = &tiles;
  table.only_tiles = only_tiles;
  return table;
}

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The first candidate that is named and here; without a name, the first that is here and not wider than allowed.
template <typename Table>
const Table& select(const std::vector<Candidate<Table>>& fastest_first, const std::string& named, Width widest,
                    const char* variable_name) {
  std::string names;
  for (const Candidate<Table>& each : fastest_first) {
    const bool fits = named.empty() ? each.width <= widest : named == each.table->name;
    if (fits && each.may_run()) return *each.table;
    names += (names.empty() ? "" : &each == &fastest_first.back() ? " or " : ", ") + std::string(each.table->name);
  }
  fail(variable_name, " must be ", names, ", and one that this processor has, got ", named);
}

}  // namespace

Kernels select_kernels() {
  const Processor here = detect_processor();
  const std::vector<Candidate<f32::KernelTable>> f32_tables{
#if defined(__x86_64__)
      {&f32::kAvx512, Width::k512, here.avx512},
      {&f32::kAvx2, Width::k256, here.avx2},
#elif defined(__aarch64__)
      {&f32::kNeon, Width::k128, true},
#endif
      {&f32::kPortable, Width::kPortable, true},
  };
#ifdef PU_HAS_AMX
  static const int8::KernelTable amx = with_tiles("amx", int8::kAvx512Vbmi, int8::kAmxTiles, false);
  static const int8::KernelTable amx_only = with_tiles("amx_only", int8::kAvx512Vbmi, int8::kAmxTiles, true);
#endif
  static const int8::KernelTable plain_tiles = with_tiles("plain_tiles", int8::kPortable, int8::kPlainTiles, true);
  const std::vector<Candidate<int8::KernelTable>> int8_tables{
#if defined(__x86_64__)
#ifdef PU_HAS_AMX
      {&amx, Width::k512, here.amx, may_use_tiles},
#endif
      {&int8::kAvx512Vbmi, Width::k512, here.avx512_vbmi},
      {&int8::kAvx512Vnni, Width::k512, here.avx512_vnni},
#ifdef PU_HAS_AVX_VNNI
      {&int8::kAvxVnni, Width::k256, here.avx_vnni},
#endif
      {&int8::kAvx2, Width::k256, here.avx2},
#elif defined(__aarch64__)
#ifdef PU_HAS_NEON_I8MM
      {&int8::kNeonI8mm, Width::k128, here.i8mm},
#endif
#ifdef PU_HAS_NEON_DOTPROD
      {&int8::kNeonDotprod, Width::k128, here.dotprod},
#endif
      {&int8::kNeon, Width::k128, true},
#endif
      {&int8::kPortable, Width::kPortable, true},
  // By name only, for tests: every layer on tiles, and the same algorithm in plain C++.
#ifdef PU_HAS_AMX
      {&amx_only, Width::kPortable, here.amx, may_use_tiles},
#endif
      {&plain_tiles, Width::kPortable, true},
  };
  const std::vector<Candidate<bf16::KernelTable>> bf16_tables{
#if defined(__x86_64__)
#ifdef PU_HAS_AMX_BF16
      {&bf16::kAmx, Width::k512, here.amx_bf16, may_use_tiles},
#endif
      {&bf16::kAvx512, Width::k512, here.avx512_vnni},
      {&bf16::kAvx2, Width::k256, here.avx2},
#endif
      {&bf16::kPortable, Width::kPortable, true},
  };
  const std::string isa = variable("PADDLE_UNSTRUCTURED_ISA");
  std::string isa_int8 = variable("PADDLE_UNSTRUCTURED_ISA_INT8");
  if (isa_int8.empty()) isa_int8 = variable("PADDLE_UNSTRUCTURED_ISA8");  // its name before version 2 of the plan
  const Width allowed = isa == "portable" ? Width::kPortable : isa == "avx2" ? Width::k256 : Width::k512;
  return {select(f32_tables, isa, Width::k512, "PADDLE_UNSTRUCTURED_ISA"),
          select(int8_tables, isa_int8, allowed, "PADDLE_UNSTRUCTURED_ISA_INT8"),
          select(bf16_tables, variable("PADDLE_UNSTRUCTURED_ISA_BF16"), allowed, "PADDLE_UNSTRUCTURED_ISA_BF16")};
}

}  // namespace paddle_unstructured
