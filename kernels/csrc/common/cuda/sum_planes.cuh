// Sums of partial results, always in the same order.
#pragma once
#include "warp.cuh"

namespace tinyvim {

constexpr int kSumWarps = 8;  // of a block

template <typename Out>
struct SumPlanes {
  using Args = SumArgs<Out>;
  static constexpr int kMaxThreads = kSumWarps * TINYVIM_WARP;
  static constexpr bool kMeets = false;

  const Args& a;
  int64_t index;  // of 32 neighboring elements

  TINYVIM_DEVICE SumPlanes(const Args& args, uint32_t block, int warp, float*)
      : a(args), index(int64_t{block} * kSumWarps + warp) {}

  TINYVIM_DEVICE int pieces() const { return 0; }
  TINYVIM_DEVICE void stage_positions(int) {}
  TINYVIM_DEVICE void stage_rows(int) {}
  TINYVIM_DEVICE void walk(int) {}
  TINYVIM_DEVICE void finish() {
    const int64_t tiles = (a.inner + TINYVIM_WARP - 1) / TINYVIM_WARP;
    const int64_t o = index / tiles, i = index % tiles * TINYVIM_WARP;
    if (o >= a.outer) return;
    const Columns columns(a.inner - i);
    const float* in = columns.at(a.in + o * a.outer_stride + i);
    Float sum(0.0f);
    for (int64_t p = 0; p < a.p_count; ++p) {
      TINYVIM_UNROLL_4
      for (int64_t q = 0; q < a.q_count; ++q) {
        sum = sum + columns.load(in + p * a.p_stride + q * a.q_stride);
      }
    }
    columns.store(columns.at(a.out + o * a.inner + i), sum);
  }
};

}  // namespace tinyvim
