// SPDX-License-Identifier: Apache-2.0
// Int8 plans for the sanitizers; included by kernels_test.cpp. That the numbers are right is tested from Python,
// here every instruction set must make those of the portable kernels.
#pragma once

std::vector<int8_t> small_weights(size_t count) {
  std::vector<int8_t> values(count);
  for (int8_t& value : values) value = static_cast<int8_t>(pick(-127, 127));
  return values;
}

std::string window_words(const Case& c) {
  std::ostringstream s;
  s << " kernel=" << c.kernel << "," << c.kernel << " stride=" << c.stride << "," << c.stride << " pad=" << c.pad << ","
    << c.pad << "," << c.pad << "," << c.pad << " dilation=" << c.dilation << "," << c.dilation;
  return s.str();
}

// Some blocks of 4 inputs x c.block outputs; channels that are not there have zeros.
std::string add_sparse_bytes(Arrays& arrays, const Case& c) {
  const int groups = (c.inputs + 3) / 4, depth = c.kernel * c.kernel * groups;
  std::vector<int8_t> values;
  std::vector<int16_t> columns, counts;
  for (int row = 0; row < c.outputs; row += c.block) {
    int16_t count = 0;
    for (int k = 0; k < depth; ++k) {
      if (pick(0, 3) != 0) continue;
      for (int m = 0; m < c.block; ++m)
        for (int lane = 0; lane < 4; ++lane)
          values.push_back(k % groups * 4 + lane < c.inputs ? static_cast<int8_t>(pick(-127, 127)) : int8_t{0});
      columns.push_back(static_cast<int16_t>(k));
      ++count;
    }
    counts.push_back(count);
  }
  const std::string first = arrays.add(values), second = arrays.add(columns);
  return first + "," + second + "," + arrays.add(counts);
}

std::string layer_of_int8(const Case& c, Arrays& arrays) {
  std::ostringstream line;
  const auto outputs = static_cast<size_t>(c.outputs), taps = static_cast<size_t>(c.kernel * c.kernel);
  std::string params;
  if (c.depthwise) {
    line << "int8.depthwise from=1 out=" << c.outputs;
    params = arrays.add(small_weights(outputs * taps));
  } else {
    line << "int8.conv from=1 in=" << c.inputs << " out=" << c.outputs;
    if (c.block == 0)
      line << " weights=dense";
    else
      line << " weights=sparse block=" << c.block;
    if (c.block == 0) {
      const auto inputs = static_cast<size_t>(c.inputs), lanes = (inputs + 3) / 4 * 4;
      std::vector<int8_t> values = small_weights(outputs * taps * lanes);
      for (size_t i = 0; i < values.size(); ++i) values[i] = i % lanes < inputs ? values[i] : int8_t{0};
      params = arrays.add(values);
    } else {
      params = add_sparse_bytes(arrays, c);
    }
  }
  params += "," + arrays.add(std::vector<float>(outputs, 0.001f)) + "," + arrays.add(numbers(outputs));
  line << window_words(c) << " act=relu scale=0.5 zero=7 params=" << params;
  return line.str();
}

// Behind the layer everything else that reads bytes.
std::string plan_of_int8(const Case& c, Arrays& arrays) {
  const std::string layer = layer_of_int8(c, arrays);
  std::vector<int16_t> table;
  for (int i = 0; i < 256; ++i) table.push_back(static_cast<int16_t>(pick(0, 255)));
  const std::string lookup = arrays.add(table);
  return "input channels=" + std::to_string(c.inputs) + " rank=4\nquantize from=0 scale=0.02 zero=120\n" + layer +
         "\nint8.pool from=2 type=max kernel=3,3 stride=1,1 pad=1,1,1,1 dilation=1,1 ceil=0 exclusive=1"
         "\nint8.pool from=2 type=avg kernel=2,2 stride=1,1 pad=1,0,1,0 dilation=1,1 ceil=0 exclusive=0 scale=0.5 "
         "zero=7"
         "\nint8.add from=2,3 act=none scale=0.6 zero=9\nint8.global_pool from=5 scale=0.5 zero=3"
         "\nint8.multiply from=4,6 act=relu6 scale=0.1 zero=0\nint8.lookup from=7 scale=0.5 zero=7 params=" +
         lookup +
         "\nint8.concat from=8,2\nint8.flatten from=9\ndequantize from=9\ndequantize from=10"
         "\noutput from=11 rank=4\noutput from=12 rank=2";
}

std::vector<float> run_bytes(const Case& c, const std::string& plan, const Arrays& arrays,
                             const std::vector<float>& x) {
  const std::vector<std::vector<float>> made = run_plan(c, plan, arrays, x, 2 * c.results());
  if (made[0] != made[1]) give_up("flattened bytes differ: " + c.text());
  return made[0];
}

bool is_here(const char* variable, const char* isa) {
  setenv(variable, isa, 1);
  char error[512] = "";
  pu_model_create("paddle_unstructured plan 2\ncontents digest=0\ninput channels=1 rank=4\noutput from=0 rank=4",
                  nullptr, 0, 1, error, sizeof error);
  return std::string(error).find("this processor has") == std::string::npos;
}

// Whether this thread has tiles in use, which the system would have to save at every switch.
bool holds_tiles() {
#if defined(__x86_64__)
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
  return (low >> 18 & 1) != 0;
#else
  return false;
#endif
}

// The numbers that a convolution makes, twice.
std::string plan_of_real(const Case& c, Arrays& arrays) {
  std::string layer = layer_of_int8(c, arrays);
  const std::string bytes = "scale=0.5 zero=7";
  layer.replace(layer.find(bytes), bytes.size(), "to=float");
  return "input channels=" + std::to_string(c.inputs) + " rank=4\nquantize from=0 scale=0.02 zero=120\n" + layer +
         "\noutput from=2 rank=4\noutput from=2 rank=4";
}

// On every instruction set those of the portable kernels.
template <typename Run>
void require_same_bits(const Case& c, const std::vector<const char*>& here, const Run& run) {
  const std::vector<float> x = numbers(static_cast<size_t>(c.batch * c.inputs * c.height * c.width));
  setenv("PADDLE_UNSTRUCTURED_ISA_INT8", "portable", 1);
  const std::vector<float> expected = run(x);
  for (const char* isa : here) {
    setenv("PADDLE_UNSTRUCTURED_ISA_INT8", isa, 1);
    if (run(x) != expected) give_up(std::string("wrong bytes: ") + isa + " " + c.text());
    if (isa[0] == 'a' && isa[1] == 'm' && holds_tiles()) give_up(std::string("tiles are held: ") + isa);
  }
}

void test_layer_of_int8(const Case& c, const std::vector<const char*>& here) {
  Arrays arrays;
  const std::string plan = signed_plan(plan_of_int8(c, arrays), arrays);
  require_same_bits(c, here, [&](const std::vector<float>& x) { return run_bytes(c, plan, arrays, x); });
}

void test_real_layer_of_int8(const Case& c, const std::vector<const char*>& here) {
  Arrays arrays;
  const std::string plan = signed_plan(plan_of_real(c, arrays), arrays);
  require_same_bits(c, here, [&](const std::vector<float>& x) { return run_plan(c, plan, arrays, x, c.results())[0]; });
}

void test_int8() {
  std::vector<const char*> here;
  for (const char* isa : {"amx", "amx_only", "plain_tiles", "avx512_vbmi", "avx512_vnni", "avx_vnni", "avx2",
                          "neon_i8mm", "neon_dotprod", "neon"})
    if (is_here("PADDLE_UNSTRUCTURED_ISA_INT8", isa)) here.push_back(isa);
  for (int i = 0; i < 100; ++i) {
    Case c = random_case();
    if (c.block == 4) c.block = 4 << pick(0, 3);
    if (c.block == 8) c.block = 16;
    test_layer_of_int8(c, here);
  }
  // The widest tile, where a first-level cache of 48 KB holds more of its panel than was cut for.
  for (const int stride : {1, 2}) {
    const Case c{50, 69, 3, stride, 1, 1, 11 * stride, 11 * stride, 1, 1, 1, false};
    test_layer_of_int8(c, here);
    test_real_layer_of_int8(c, here);
  }
  for (const int block : {0, 1, 2, 4, 16}) {
    test_layer_of_int8({37, 7, 1, 1, 0, 1, 1, 1, 1, 1, block, false}, here);  // the last weights, four at a time
    test_layer_of_int8({5, 6, 5, 1, 8, 4, 8, 60, 1, 1, block, false}, here);  // windows that reach beyond all guards
  }
  for (const char* isa : here) std::printf("bytes, %s: ok\n", isa);
}

// As `test_damaged_plans`, for an int8 plan.
void test_damaged_plans_of_int8() {
  const Case c{5, 6, 3, 1, 1, 1, 6, 6, 1, 1, 2, false};
  Arrays arrays;
  const std::string plan = plan_of_int8(c, arrays);
  run_damaged(plan, arrays);
}
