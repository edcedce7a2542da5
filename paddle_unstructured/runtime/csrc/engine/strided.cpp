// SPDX-License-Identifier: Apache-2.0
#include "strided.h"

#include <algorithm>
#include <cstring>

namespace paddle_unstructured {
namespace {

typedef uint32_t __attribute__((may_alias)) Word;

constexpr int64_t kBlock = 16;        // words: a cache line
constexpr int64_t kTaskWords = 4096;  // worth a task of their own

// Without axes of one place, outer ones of the target first; neighbours that lie alike on both sides become one.
std::vector<Stride> merged(std::vector<Stride> axes) {
  axes.erase(std::remove_if(axes.begin(), axes.end(), [](const Stride& axis) { return axis.extent == 1; }), axes.end());
  std::stable_sort(axes.begin(), axes.end(), [](const Stride& a, const Stride& b) { return a.to > b.to; });
  std::vector<Stride> made;
  for (const Stride& axis : axes) {
    if (!made.empty() && made.back().to == axis.extent * axis.to && made.back().from == axis.extent * axis.from)
      made.back() = {made.back().extent * axis.extent, axis.from, axis.to};
    else
      made.push_back(axis);
  }
  if (made.empty()) made.push_back({1, 1, 1});
  return made;
}

void copy_row(const Stride& row, const Word* from, Word* to) {
  if (row.from == 1 && row.to == 1) {
    std::memcpy(to, from, static_cast<size_t>(row.extent) * sizeof *to);
  } else if (row.to == 1 && row.from == 2) {
    for (int64_t i = 0; i < row.extent; ++i) to[i] = from[2 * i];
  } else if (row.to == 1 && row.from == -1) {
    for (int64_t i = 0; i < row.extent; ++i) to[i] = from[-i];
  } else {
    for (int64_t i = 0; i < row.extent; ++i) to[i * row.to] = from[i * row.from];
  }
}

// `row` is dense in the target, `column` in the source, of kBlock places or less: blocks of cache lines on both sides.
void transpose(const Context& context, const Stride& row, const Stride& column, const Word* from, Word* to) {
  if (column.extent == kBlock)  // of whole vectors the kernel reads nothing that is not there
    return context.kernels.f32.transpose(reinterpret_cast<const float*>(from), row.from, reinterpret_cast<float*>(to),
                                         column.to, row.extent, kBlock);
  for (int64_t r = 0; r < row.extent; r += kBlock) {
    const int64_t rows = std::min(kBlock, row.extent - r);
    const Word* const source = from + r * row.from;
    for (int64_t j = 0; j < column.extent; ++j)
      for (int64_t i = 0; i < rows; ++i) to[j * column.to + r + i] = source[i * row.from + j];
  }
}

// Two rows of every other word each, woven into one.
void weave(int64_t count, const Word* even, const Word* odd, Word* to) {
  for (int64_t i = 0; i < count; ++i) {
    to[2 * i] = even[i];
    to[2 * i + 1] = odd[i];
  }
}

class Copy {
 public:
  Copy(const Context& context, std::vector<Stride> axes, const Word* from, Word* to)
      : context_(context),
        outer_(merged(std::move(axes))),
        from_(from),
        to_(to) {
    row_ = outer_.back();
    outer_.pop_back();
    if (row_.to != 1 || row_.from == 1 || row_.from == 0) return;
    for (size_t i = 0; i < outer_.size(); ++i) {
      if (outer_[i].from != 1) continue;
      column_ = outer_[i];
      outer_.erase(outer_.begin() + static_cast<ptrdiff_t>(i));
      kind_ = row_.extent == 2 && column_.to == 2 ? kWoven : kTransposed;
      if (kind_ == kTransposed) outer_.push_back({blocks(), kBlock, kBlock * column_.to});
      return;
    }
  }

  int64_t places() const {
    int64_t count = 1;
    for (const Stride& axis : outer_) count *= axis.extent;
    return count;
  }

  int64_t words_of_place() const {
    return row_.extent * (kind_ == kTransposed ? std::min(kBlock, column_.extent) : column_.extent);
  }

  void run(int64_t first, int64_t last) const {
    std::vector<int64_t> at(outer_.size());
    int64_t rest = first, from = 0, to = 0;
    for (size_t i = outer_.size(); i-- > 0;) {
      at[i] = rest % outer_[i].extent;
      rest /= outer_[i].extent;
      from += at[i] * outer_[i].from;
      to += at[i] * outer_[i].to;
    }
    for (int64_t place = first; place < last; ++place) {
      one(place, from_ + from, to_ + to);
      for (size_t i = outer_.size(); i-- > 0;) {
        from += outer_[i].from;
        to += outer_[i].to;
        if (++at[i] < outer_[i].extent) break;
        from -= outer_[i].extent * outer_[i].from;
        to -= outer_[i].extent * outer_[i].to;
        at[i] = 0;
      }
    }
  }

 private:
  int64_t blocks() const { return (column_.extent + kBlock - 1) / kBlock; }  // of a transposition

  void one(int64_t place, const Word* from, Word* to) const {
    if (kind_ == kWoven) return weave(column_.extent, from, from + row_.from, to);
    if (kind_ == kRows) return copy_row(row_, from, to);
    const int64_t left = column_.extent - place % blocks() * kBlock;
    transpose(context_, row_, {std::min(kBlock, left), column_.from, column_.to}, from, to);
  }

  enum { kRows, kTransposed, kWoven } kind_ = kRows;
  const Context& context_;
  std::vector<Stride> outer_;
  Stride row_{1, 1, 1}, column_{1, 1, 1};
  const Word* from_;
  Word* to_;
};

// The longest run of neighbours that stay neighbours.
struct Run {
  int64_t first = 0, last = 0;
};

Run longest_run(const std::vector<int32_t>& places) {
  Run best;
  for (int64_t first = 0, count = static_cast<int64_t>(places.size()); first < count;) {
    int64_t last = first + 1;
    const auto at = [&](int64_t i) { return places[static_cast<size_t>(i)]; };
    while (last < count && at(first) >= 0 && at(last) == at(last - 1) + 1) ++last;
    if (at(first) >= 0 && last - first > best.last - best.first) best = {first, last};
    first = last;
  }
  return best;
}

bool are_doubled(const std::vector<int32_t>& places) {
  for (size_t i = 0; i < places.size(); ++i)
    if (places[i] != static_cast<int32_t>(i / 2)) return false;
  return places.size() % 2 == 0;
}

class Columns {
 public:
  explicit Columns(const Remap& task)
      : task_(task),
        run_(longest_run(task.columns)),
        doubled_(are_doubled(task.columns)),
        width_(static_cast<int64_t>(task.columns.size())) {}

  void row(const Word* from, Word* to) const {
    if (doubled_) {
      for (int64_t i = 0; i < width_ / 2; ++i) to[2 * i] = to[2 * i + 1] = from[i];
      return;
    }
    single(from, to, 0, run_.first);
    if (run_.last > run_.first)
      std::memcpy(to + run_.first, from + task_.columns[static_cast<size_t>(run_.first)],
                  static_cast<size_t>(run_.last - run_.first) * sizeof *to);
    single(from, to, run_.last, width_);
  }

  int64_t width() const { return width_; }

 private:
  void single(const Word* from, Word* to, int64_t first, int64_t last) const {
    for (int64_t x = first; x < last; ++x) {
      const int32_t place = task_.columns[static_cast<size_t>(x)];
      to[x] = place < 0 ? task_.fill : from[place];
    }
  }

  const Remap& task_;
  Run run_;
  bool doubled_;
  int64_t width_;
};

}  // namespace

void remap(const Context& context, const Remap& task, const void* from, void* to) {
  const Columns columns(task);
  const auto height = static_cast<int64_t>(task.rows.size()), width = columns.width();
  const int64_t rows = task.planes * height;
  context.share_range(rows, kTaskWords / width + 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const int64_t plane = row / height, y = row % height;
      const int32_t place = task.rows[static_cast<size_t>(y)];
      Word* const target = static_cast<Word*>(to) + plane * task.to_pitch + y * width;
      if (place < 0) {
        std::fill(target, target + width, task.fill);
      } else if (row > first && y > 0 && task.rows[static_cast<size_t>(y - 1)] == place) {
        std::memcpy(target, target - width, static_cast<size_t>(width) * sizeof *target);
      } else {
        columns.row(static_cast<const Word*>(from) + plane * task.from_pitch + place * task.from_width, target);
      }
    }
  });
}

void copy_strided(const Context& context, std::vector<Stride> axes, const void* from, void* to) {
  const Copy copy(context, std::move(axes), static_cast<const Word*>(from), static_cast<Word*>(to));
  context.share_range(copy.places(), kTaskWords / copy.words_of_place() + 1,
                      [&](int64_t first, int64_t last) { copy.run(first, last); });
}

}  // namespace paddle_unstructured
