// Sums of partial results, always in the same order.
#pragma once
#include "warp.cuh"

namespace tinyvim {

constexpr int kSumWarps = 8;  // of a block
constexpr int kSumTiles = 4;  // of 32 neighboring elements, for each warp
constexpr int kSumElements = kSumTiles * 32;

template <typename Out>
struct SumPlanes {
  using Args = SumArgs<Out>;
  static constexpr int kMaxThreads = kSumWarps * TINYVIM_WARP;
  static constexpr bool kMeets = true;

  const Args& a;
  const int warp;
  float* shared;  // of a split sum, (warp, element)
  int64_t outer;
  int64_t begin[kSumTiles];

  TINYVIM_DEVICE SumPlanes(const Args& args, uint32_t block, int warp, float* shared)
      : a(args), warp(warp), shared(shared) {
    const uint32_t together = kSumElements * (a.split ? 1 : kSumWarps);
    const uint32_t blocks = static_cast<uint32_t>((a.inner + together - 1) / together);
    outer = block / blocks;
    const int64_t first = int64_t{block % blocks} * together + (a.split ? 0 : warp * kSumElements);
    TINYVIM_UNROLL_ALL
    for (int j = 0; j < kSumTiles; ++j) begin[j] = first + j * TINYVIM_WARP;
  }

  TINYVIM_DEVICE int pieces() const { return 1; }
  TINYVIM_DEVICE void stage_positions(int) {}
  TINYVIM_DEVICE void stage_rows(int) {}

  TINYVIM_DEVICE void walk(int) {
    if (begin[0] >= a.inner) return;
    const float* in[kSumTiles];
    Columns columns[kSumTiles];
    Float sum[kSumTiles];
    TINYVIM_UNROLL_ALL
    for (int j = 0; j < kSumTiles; ++j) {
      // Beyond the end the first tile is read once more.
      const int64_t at = begin[j] < a.inner ? begin[j] : begin[0];
      columns[j] = Columns(a.inner - at);
      in[j] = columns[j].at(a.in + outer * a.outer_stride + at);
      sum[j] = Float(0.0f);
    }
    const int part = a.split ? (a.q_count + kSumWarps - 1) / kSumWarps : a.q_count;
    const int q_begin = a.split ? warp * part : 0;
    const int q_end = q_begin + part < a.q_count ? q_begin + part : a.q_count;
    for (int p = 0; p < a.p_count; ++p) {
      TINYVIM_UNROLL_4
      for (int q = q_begin; q < q_end; ++q) {
        const int64_t offset = p * a.p_stride + q * a.q_stride;
        TINYVIM_UNROLL_ALL
        for (int j = 0; j < kSumTiles; ++j) sum[j] = sum[j] + columns[j].load(in[j] + offset);
      }
    }
    TINYVIM_UNROLL_ALL
    for (int j = 0; j < kSumTiles; ++j) {
      if (a.split) {
        store_shared(at_lane(partial(warp, j)), sum[j]);
      } else {
        write(j, sum[j]);
      }
    }
  }

  TINYVIM_DEVICE void finish() {
    if (!a.split || warp != 0) return;
    TINYVIM_UNROLL_ALL
    for (int j = 0; j < kSumTiles; ++j) {
      Float sum(0.0f);
      for (int w = 0; w < kSumWarps; ++w) sum = sum + load_shared(at_lane(partial(w, j)));
      write(j, sum);
    }
  }

 private:
  TINYVIM_DEVICE float* partial(int w, int j) const {
    return shared + (w * kSumTiles + j) * TINYVIM_WARP;
  }
  TINYVIM_DEVICE void write(int j, const Float& sum) const {
    if (begin[j] >= a.inner) return;
    const Columns columns(a.inner - begin[j]);
    columns.store(columns.at(a.out + outer * a.inner + begin[j]), sum);
  }
};

}  // namespace tinyvim
