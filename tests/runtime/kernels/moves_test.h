// SPDX-License-Identifier: Apache-2.0
// Kinds that look at places, sizes and steps, whole and with damaged words; included by kernels_test.cpp.
#pragma once

// Values 0 and 1 are the inputs, those of the lines follow.
const char kMoves[] =
    "input name=a dtype=float32 axes=n,c,h,w dims=-1,6,-1,-1\n"
    "input name=b dtype=float32 axes=n,w,c dims=-1,36,4\n"
    "place from=0 type=max kernel=2,2 stride=2,2 pad=0,0,0,0 dilation=1,1 ceil=0 exclusive=1\n"
    "pool from=0 type=max kernel=2,2 stride=2,2 pad=0,0,0,0 dilation=1,1 ceil=0 exclusive=1\n"
    "unpool from=3,2 size=6,6\n"
    "conv from=4 in=6 out=4 kernel=3,3 stride=2,2 pad=0,0,0,0 same=1 dilation=1,1 weights=dense params=0,1\n"
    "conv from=0 in=3 out=2 kernel=1,1 stride=1,1 pad=0,0,0,0 dilation=1,1 step=3 weights=dense params=2,4\n"
    "shaped from=1,6\n"
    "reduce from=7 type=max over=width\n"
    "expand from=8,7\n"
    "permute from=9 channels=2,2 height=6 width=6 to_channels=0,2 to_height=1 to_width=3\n"
    "lags from=10 groups=2 out=3 reach=11 ends=0 params=3\n"
    "resize from=9 mode=linear align_corners=0 half_pixel=1 size=3,5\n"
    "pad from=12 before=0,1,1 after=0,2,0 mode=reflect value=0\n"
    "slice from=13 axis=width start=1 step=2 count=2\n"
    "repeat from=14 axis=channels times=2\n"
    "concat from=15,14\n"
    "arg from=16 type=max over=channels\n"
    "running_sum from=16\n"
    "triangle from=10 groups=2 upper=1 diagonal=-1\n"
    "recurrent from=7 in=1 out=4 kernel=1,1 stride=1,1 pad=0,0,0,0 dilation=1,1 linear=1 mode=lstm reverse=1 initial=0 "
    "length=0 states=1 weights=dense params=1,1\n"
    "unpool from=3,3 size=5,7\n"
    "output from=5 dims=n,w,h,c dtype=float32\noutput from=11 dims=n,c,h,w dtype=float32\n"
    "output from=17 dims=n,h,w dtype=int64\noutput from=18 dims=n,c,h,w dtype=float32\n"
    "output from=19 dims=n,h,c,w dtype=float32\noutput from=20 dims=n,c,h,w dtype=float32\n"
    "output from=21 dims=n,h,w,c dtype=float16";

void test_moves() {
  Arrays arrays;
  for (const size_t count : {size_t{216}, size_t{4}, size_t{6}, size_t{69}, size_t{2}}) arrays.add(numbers(count));
  char error[512] = "";
  pu_model* const model = pu_model_create(signed_plan(kMoves, arrays).c_str(), arrays.described.data(),
                                          static_cast<int32_t>(arrays.described.size()), 2, error, sizeof error);
  if (model == nullptr) give_up(error);
  if (!run_small(model)) give_up("kinds that move numbers");
  pu_model_free(model);
  run_damaged(kMoves, arrays);
}
