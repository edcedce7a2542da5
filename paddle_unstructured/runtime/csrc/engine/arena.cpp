// SPDX-License-Identifier: Apache-2.0
#include "arena.h"

#include <algorithm>

#include "error.h"
#include "value.h"

namespace paddle_unstructured {
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 38;
constexpr int64_t kAlign = kPlaneAlign * kPixelBytes;

struct Piece {
  int64_t first, last;  // steps
  int64_t begin, end;   // bytes
};

// The lowest place of `bytes` bytes that is free from step `first` to step `last`; `pieces` is sorted by place.
int64_t find_place(const std::vector<Piece>& pieces, int64_t first, int64_t last, int64_t bytes) {
  int64_t begin = kGuardBytes;
  for (const Piece& piece : pieces) {
    if (piece.last < first || last < piece.first) continue;
    if (begin + bytes <= piece.begin) break;
    begin = std::max(begin, piece.end);
  }
  return begin;
}

// The last use of each place: a value's own, or that of the last one which takes its place.
std::vector<int64_t> last_uses(const Lifetimes& lifetimes) {
  std::vector<int64_t> last = lifetimes.last_use;
  for (size_t value = last.size(); value-- > 0;)
    if (const int64_t before = lifetimes.takes_place_of[value]; before != Lifetimes::kNobody)
      last[static_cast<size_t>(before)] = last[value];
  return last;
}

}  // namespace

// Each value is followed by a guard that nobody writes; the arena begins with one. Larger values choose first.
Layout lay_out(const std::vector<int64_t>& sizes, const Lifetimes& lifetimes) {
  std::vector<size_t> order(sizes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  Layout layout{std::vector<int64_t>(sizes.size()), kGuardBytes};
  std::vector<Piece> pieces;
  const std::vector<int64_t> last_use = last_uses(lifetimes);
  for (const size_t value : order) {
    if (last_use[value] == Lifetimes::kNever || lifetimes.takes_place_of[value] != Lifetimes::kNobody) continue;
    const int64_t bytes = round_up(sizes[value], kAlign) + kGuardBytes;
    const auto first = static_cast<int64_t>(value);
    const int64_t last = last_use[value];
    const int64_t begin = find_place(pieces, first, last, bytes);
    layout.offset[value] = begin;
    layout.bytes = std::max(layout.bytes, begin + bytes);
    const Piece piece{first, last, begin, begin + bytes};
    pieces.insert(std::upper_bound(pieces.begin(), pieces.end(), piece,
                                   [](const Piece& a, const Piece& b) { return a.begin < b.begin; }),
                  piece);
  }
  for (size_t value = 0; value < sizes.size(); ++value)
    if (const int64_t before = lifetimes.takes_place_of[value]; before != Lifetimes::kNobody)
      layout.offset[value] = layout.offset[static_cast<size_t>(before)];
  require(layout.bytes <= kMostBytes, "the input is too large for this model; give a smaller one");
  return layout;
}

void Arena::reserve(int64_t bytes) {
  if (bytes <= bytes_) return;
  memory_ = AlignedArray<uint8_t>();
  bytes_ = 0;
  memory_ = AlignedArray<uint8_t>(bytes);
  bytes_ = bytes;
}

}  // namespace paddle_unstructured
