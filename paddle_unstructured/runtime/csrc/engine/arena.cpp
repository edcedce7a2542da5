#include "arena.h"

#include <algorithm>

#include "error.h"

namespace paddle_unstructured {
namespace {

constexpr int64_t kMostFloats = int64_t{1} << 36;

struct Piece {
  int64_t first, last;       // steps
  int64_t begin, end;        // floats
};

// The lowest place of `floats` floats that is free from step `first` to step `last`; `pieces` is sorted by place.
int64_t find_place(const std::vector<Piece>& pieces, int64_t first, int64_t last, int64_t floats) {
  int64_t begin = kGuard;
  for (const Piece& piece : pieces) {
    if (piece.last < first || last < piece.first) continue;
    if (begin + floats <= piece.begin) break;
    begin = std::max(begin, piece.end);
  }
  return begin;
}

}  // namespace

// Each value is followed by a guard that nobody writes; the arena begins with one. Larger values choose first.
Layout lay_out(const std::vector<Shape>& shapes, const Lifetimes& lifetimes) {
  std::vector<size_t> order(shapes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return shapes[a].floats() > shapes[b].floats(); });
  Layout layout{std::vector<int64_t>(shapes.size()), kGuard};
  std::vector<Piece> pieces;
  for (const size_t value : order) {
    if (lifetimes.last_use[value] == Lifetimes::kNever) continue;
    const int64_t floats = round_up(shapes[value].floats(), kPlaneAlign) + kGuard;
    const auto first = static_cast<int64_t>(value);
    const int64_t last = lifetimes.last_use[value];
    const int64_t begin = find_place(pieces, first, last, floats);
    layout.offset[value] = begin;
    layout.floats = std::max(layout.floats, begin + floats);
    const Piece piece{first, last, begin, begin + floats};
    pieces.insert(std::upper_bound(pieces.begin(), pieces.end(), piece,
                                   [](const Piece& a, const Piece& b) { return a.begin < b.begin; }),
                  piece);
  }
  require(layout.floats <= kMostFloats, "the input is too large for this model; give a smaller one");
  return layout;
}

void Arena::reserve(int64_t floats) {
  if (floats <= floats_) return;
  memory_ = AlignedFloats();
  floats_ = 0;
  memory_ = AlignedFloats(floats);
  floats_ = floats;
}

}  // namespace paddle_unstructured
