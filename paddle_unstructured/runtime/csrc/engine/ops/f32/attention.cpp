// SPDX-License-Identifier: Apache-2.0
// A whole attention: softmax(factor * Q'K + mask) V, for some queries of one head at a time, so that the scores never
// leave the cache. Scores are kept with one row per key, so that every step runs over vectors of queries:
//
//             queries                 queries
//   keys | scores = K' Q |  ->  exp(scores - max) ->  output = V * that / its sum
//
// Head h of q, k and v is channels [at + h * step, at + h * step + size) of the value that is read, so that one layer
// may make all three. `windows` cuts the plane into runs of pixels that attend to themselves only.

#include <algorithm>

#include "../../error.h"
#include "../../memory.h"
#include "../../operation.h"

namespace paddle_unstructured::f32 {
namespace {

constexpr int32_t kMostQueries = 64;  // of a task: their scores stay in the second-level cache

class Attention : public Operation {
 public:
  explicit Attention(const Node& node)
      : heads_(node.integer("heads", 1, kLargest)),
        windows_(node.has("windows") ? node.integer("windows", 1, kLargest) : 1),
        size_(node.integers("size", 3, 1, kLargest)),
        at_(node.integers("at", 3, 0, kLargest)),
        step_(node.integers("step", 3, 0, kLargest)),
        factor_(node.number("factor")),
        causal_(node.has("causal") && node.integer("causal", 0, 1) == 1),
        mask_(node.has("mask") && node.integer("mask", 0, 1) == 1) {
    if (size_[0] != size_[1]) node.refuse("has queries and keys of different sizes");
    if (node.integers("from").size() != size_t{mask_ ? 4u : 3u})
      node.refuse("reads another number of values than it says");
    if (mask_ && windows_ != 1) node.refuse("has a mask for windows");
    if (!node.has("bias")) return;
    bias_ = node.integers("bias", 4, 1, kLargest);
    if ((bias_[0] != 1 && bias_[0] != windows_) || (bias_[1] != 1 && bias_[1] != heads_))
      node.refuse("has a bias for other windows or heads");
    if (int64_t{bias_[0]} * bias_[1] * bias_[2] * bias_[3] > (int64_t{1} << 32)) node.refuse("has too large a bias");
  }

  // Of the word `bias`: windows (or 1), heads (or 1), keys, queries.
  void load(const Node& node, const LoadContext& context) override {
    if (bias_.empty()) return;
    const int64_t rows = int64_t{bias_[0]} * bias_[1] * bias_[2], queries = bias_[3], pitch = bias_pitch();
    const float* from = context.parameters.floats(node, 0, rows * queries);
    added_ = AlignedArray<float>(rows * pitch + kGuard);
    for (int64_t row = 0; row < rows; ++row, from += queries)
      std::copy(from, from + queries, added_.data() + row * pitch);
  }

  Shape output_shape(const std::vector<Shape>& inputs) const override {
    for (size_t i = 0; i < 3; ++i) {
      const int64_t last = at_[i] + int64_t{heads_ - 1} * step_[i] + size_[i];
      require(inputs[i].channels == kUnknown || inputs[i].channels >= last, "an attention of ", last, " channels got ",
              inputs[i].channels);
      const int64_t pixels = plane(inputs[i]);
      require(pixels == kUnknown || pixels % windows_ == 0, "an attention in ", windows_, " windows of ", pixels,
              " pixels; give an input of the size that the model was made for");
    }
    const int64_t queries = plane(inputs[0]), keys = plane(inputs[1]);
    require(may_equal(keys, plane(inputs[2])), "an attention of ", keys, " keys and ", plane(inputs[2]), " values");
    check_mask(inputs, queries, keys);
    return {int64_t{heads_} * size_[2], inputs[0].height, inputs[0].width};
  }

  int64_t scratch_bytes(const std::vector<Shape>& inputs) const override {
    const int64_t keys = inputs[1].pixels() / windows_;
    return (2 * keys + 1) * kMostQueries * int64_t{sizeof(float)} + kGuardBytes;
  }

  void run(const Context& context) const override {
    const int64_t queries = context.inputs[0].shape.pixels() / windows_;
    const int64_t tiles = (queries + kMostQueries - 1) / kMostQueries;
    const int64_t vectors = (queries + kPlaneAlign - 1) / kPlaneAlign;
    context.share(int64_t{heads_} * windows_ * tiles, [&](int64_t task, int worker) {
      const int64_t tile = task % tiles, window = task / tiles % windows_, head = task / tiles / windows_;
      const int64_t first = vectors * tile / tiles * kPlaneAlign;
      const int64_t last = std::min(queries, vectors * (tile + 1) / tiles * kPlaneAlign);
      run_tile(context, {head, window, first, last - first}, context.scratch<float>(worker));
    });
  }

 private:
  struct Part {
    int64_t head, window;
    int64_t query, queries;  // of the window
  };

  static int64_t plane(const Shape& shape) {
    return shape.height == kUnknown || shape.width == kUnknown ? kUnknown : shape.pixels();
  }
  int64_t bias_pitch() const { return round_up(bias_[3], kPlaneAlign); }

  void check_mask(const std::vector<Shape>& inputs, int64_t queries, int64_t keys) const {
    if (!bias_.empty())
      require(
          (queries == kUnknown || queries / windows_ == bias_[3]) && (keys == kUnknown || keys / windows_ == bias_[2]),
          "an attention whose bias is for ", bias_[3], " queries and ", bias_[2],
          " keys; give an input of the size that the model was made for");
    if (!mask_) return;
    const Shape& mask = inputs[3];
    require(may_equal(plane(mask), keys) && (queries == kUnknown || mask.channels == kUnknown || mask.channels == 1 ||
                                             mask.channels == queries || mask.channels == heads_ * queries),
            "an attention of ", queries, " queries and ", keys, " keys got a mask of ", mask.channels, " x ",
            plane(mask));
  }

  void run_tile(const Context& context, const Part& part, float* scratch) const {
    const Value &q = context.inputs[0], &k = context.inputs[1], &v = context.inputs[2];
    const KernelTable& kernels = context.kernels.f32;
    const int64_t all = q.shape.pixels() / windows_, keys = k.shape.pixels() / windows_;
    const int64_t pitch = round_up(part.queries, kPlaneAlign);
    // With causal, query i sees keys up to i + keys - all.
    const int64_t seen = causal_ ? std::clamp<int64_t>(part.query + part.queries + keys - all, 1, keys) : keys;
    float *const scores = scratch, *const inverse = scores + keys * pitch, *const turned = inverse + pitch;
    Product product{};
    product.a = k.channel(at_[1] + part.head * step_[1]) + part.window * keys;
    product.a_row = 1;
    product.a_depth = k.pitch();
    product.b = q.channel(at_[0] + part.head * step_[0]) + part.window * all + part.query;
    product.b_pitch = q.pitch();
    product.output = scores;
    product.output_pitch = pitch;
    product.rows = static_cast<int32_t>(seen);
    product.depth = size_[0];
    product.pixels = part.queries;
    kernels.product(product);
    weigh(context, part, seen, scores, inverse, turned);
    product.a = v.channel(at_[2] + part.head * step_[2]) + part.window * keys;
    product.a_row = v.pitch();
    product.a_depth = 1;
    product.b = scores;
    product.b_pitch = pitch;
    product.output = context.output.channel(part.head * size_[2]) + part.window * all + part.query;
    product.output_pitch = context.output.pitch();
    product.rows = size_[2];
    product.depth = static_cast<int32_t>(seen);
    product.factors = inverse;
    kernels.product(product);
  }

  // From scores to exp(score - largest), and to 1 / the sum of these.
  void weigh(const Context& context, const Part& part, int64_t seen, float* scores, float* inverse,
             float* turned) const {
    const int64_t all = context.inputs[0].shape.pixels() / windows_, keys = context.inputs[1].shape.pixels() / windows_;
    const int64_t pitch = round_up(part.queries, kPlaneAlign);
    SoftmaxRows rows{};
    rows.input = rows.output = scores;
    rows.input_pitch = rows.output_pitch = pitch;
    rows.rows = static_cast<int32_t>(seen);
    rows.pixels = part.queries;
    rows.factor = factor_;
    rows.last_row = causal_ ? part.query + keys - all : keys;
    rows.output = scores;
    rows.inverse = inverse;
    if (!bias_.empty()) {
      const int64_t which = (bias_[0] == 1 ? 0 : part.window) * bias_[1] + (bias_[1] == 1 ? 0 : part.head);
      rows.added[0] = added_.data() + which * keys * bias_pitch() + part.query;
      rows.added_pitch[0] = bias_pitch();
    }
    if (mask_) {
      const Value& mask = context.inputs[3];
      if (mask.shape.channels == 1) {
        rows.row_shift = mask.floats();
      } else {
        const int64_t row = (mask.shape.channels == all ? 0 : part.head * all) + part.query;
        context.kernels.f32.transpose(mask.channel(row), mask.pitch(), turned, pitch, part.queries, seen);
        rows.added[1] = turned;
        rows.added_pitch[1] = pitch;
      }
    }
    context.kernels.f32.softmax_rows(rows);
  }

  int32_t heads_, windows_;
  std::vector<int32_t> size_, at_, step_;  // of q, k and v
  float factor_;
  bool causal_;
  bool mask_;  // added: (1 | keys), (queries | keys) or (heads, queries | keys)
  std::vector<int32_t> bias_;
  AlignedArray<float> added_;
};

}  // namespace

std::unique_ptr<Operation> make_attention(const Node& node) { return std::make_unique<Attention>(node); }

}  // namespace paddle_unstructured::f32
