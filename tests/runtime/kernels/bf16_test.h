// SPDX-License-Identifier: Apache-2.0
// bfloat16 plans for the sanitizers; included by kernels_test.cpp. That the numbers are right is tested from Python,
// here every instruction set must make those of the portable kernels.
#pragma once

int16_t upper_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<int16_t>(static_cast<uint16_t>(bits >> 16));
}

// Weights of a bfloat16 convolution, dense or in blocks of 16 outputs x 2 inputs; channels that are not there have
// zeros.
std::string add_halves(Arrays& arrays, int inputs, int outputs, int taps, bool sparse) {
  const int pairs = (inputs + 1) / 2, depth = taps * pairs, rows = sparse ? (outputs + 15) / 16 * 16 : outputs;
  std::vector<int16_t> values, columns, counts;
  const auto add_pair = [&](int row, int k) {
    for (int i = 0; i < 2; ++i)
      values.push_back(row < outputs && k % pairs * 2 + i < inputs ? upper_half(numbers(1)[0]) : int16_t{0});
  };
  if (!sparse) {
    for (int row = 0; row < rows; ++row)
      for (int k = 0; k < depth; ++k) add_pair(row, k);
    return arrays.add(values);
  }
  for (int row = 0; row < rows; row += 16) {
    int16_t count = 0;
    for (int k = 0; k < depth; ++k) {
      if (pick(0, 3) != 0) continue;
      for (int m = 0; m < 16; ++m) add_pair(row + m, k);
      columns.push_back(static_cast<int16_t>(k));
      ++count;
    }
    counts.push_back(count);
  }
  const std::string first = arrays.add(values), second = arrays.add(columns);
  return first + "," + second + "," + arrays.add(counts);
}

std::string convolution_of_bf16(Arrays& arrays, const Case& c, int inputs, bool sparse) {
  const std::string weights = add_halves(arrays, inputs, c.outputs, c.kernel * c.kernel, sparse);
  return " in=" + std::to_string(inputs) + " out=" + std::to_string(c.outputs) + window_words(c) +
         (sparse ? " weights=sparse block=16" : " weights=dense") + " params=" + weights + "," +
         arrays.add(numbers(static_cast<size_t>(c.outputs)));
}

// A layer, and behind it a sum with what it made, in float32.
std::string plan_of_bf16(const Case& c, Arrays& arrays) {
  std::ostringstream lines;
  lines << "input channels=" << c.inputs << " rank=4\nbf16.round from=0\n";
  if (c.depthwise) {
    std::vector<int16_t> values;
    for (const float weight : numbers(static_cast<size_t>(c.outputs * c.kernel * c.kernel)))
      values.push_back(upper_half(weight));
    lines << "bf16.depthwise from=1 out=" << c.outputs << window_words(c) << " act=relu params=" << arrays.add(values);
    lines << "," << arrays.add(numbers(static_cast<size_t>(c.outputs)));
  } else {
    lines << "bf16.conv from=1 act=relu" << convolution_of_bf16(arrays, c, c.inputs, c.block != 0);
  }
  Case one = c;
  one.kernel = one.stride = one.dilation = 1;
  one.pad = 0;
  lines << "\nbf16.conv from=2,2 act=clamp:-1:1 to=float" << convolution_of_bf16(arrays, one, c.outputs, c.block == 0)
        << "\nbf16.widen from=2\noutput from=4 rank=4\noutput from=3 rank=4";
  return lines.str();
}

// Some of what is no ordinary number, NaNs of any payload among it.
void spoil(std::vector<float>& values) {
  for (float& value : values)
    if (pick(0, 39) == 0) {
      const uint32_t odd[] = {0x7fffffff, 0xffffffff, 0x7f800001, 0x7f800000, 0xff800000, 0x007fffff, 0x80000001};
      std::memcpy(&value, &odd[pick(0, 6)], sizeof value);
    }
}

bool are_same(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i])) && std::memcmp(&a[i], &b[i], sizeof a[i]) != 0) return false;
  return true;
}

void test_bf16() {
  const char* const variable = "PADDLE_UNSTRUCTURED_ISA_BF16";
  std::vector<const char*> here;
  for (const char* isa : {"amx_bf16", "avx512", "avx2"})
    if (is_here(variable, isa)) here.push_back(isa);
  for (int i = 0; i < 100; ++i) {
    const Case c = random_case();
    if (c.depthwise && (c.kernel == 7 || c.dilation == 2)) continue;  // no bfloat16 kernel covers these
    Arrays arrays;
    const std::string plan = signed_plan(plan_of_bf16(c, arrays), arrays);
    std::vector<float> x = numbers(static_cast<size_t>(c.batch * c.inputs * c.height * c.width));
    if (pick(0, 1) == 0) spoil(x);
    setenv(variable, "portable", 1);
    const std::vector<std::vector<float>> expected = run_plan(c, plan, arrays, x, c.results());
    for (const char* isa : here) {
      setenv(variable, isa, 1);
      const std::vector<std::vector<float>> made = run_plan(c, plan, arrays, x, c.results());
      if (!are_same(made[0], expected[0]) || !are_same(made[1], expected[1]))
        give_up(std::string("wrong bits: ") + isa + " " + c.text());
      if (isa[1] == 'm' && holds_tiles()) give_up(std::string("tiles are held: ") + isa);
    }
  }
  for (const char* isa : here) std::printf("bfloat16, %s: ok\n", isa);
  unsetenv(variable);
  for (const bool depthwise : {false, true}) {
    const Case c{5, depthwise ? 5 : 6, 3, 1, 1, 1, 6, 6, 1, 1, depthwise ? 0 : 4, depthwise};
    Arrays arrays;
    const std::string plan = plan_of_bf16(c, arrays);
    run_damaged(plan, arrays);
  }
}
