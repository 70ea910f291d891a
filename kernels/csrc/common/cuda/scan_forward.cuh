// The selective scan, forward. Per channel and state, with dt = softplus(raw step + bias):
//   h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,   y_t = sum_n C_t h_t + D x_t.
#pragma once
#include "scan_block.cuh"

namespace tinyvim {

// What a forward kernel makes of a walk.
enum class Output {
  kFused,    // y, all paths of a block summed in shared memory
  kPlanes,   // y of each path and slice
  kDirect,   // y, where there is but one plane
  kState,    // no y: where chunks end, or checkpoints alone
};

// Blocks run: for each piece stage_positions, stage_rows, walk, then finish, and all warps
// of a block have done one before any does the next.
template <typename T, int NS, Output kOutput>
struct Forward : BlockScan<T, NS> {
  using Args = ForwardArgs<T>;
  using Base = BlockScan<T, NS>;
  static constexpr int kMaxThreads =
      (kOutput == Output::kFused ? kMaxWarps : kMaxWarps / 2) * TINYVIM_WARP;
  static constexpr bool kMeets = kOutput == Output::kFused;

  const Args& args;
  Float h[NS], dt_sum;
  float* plane;  // at the lane, of the warp in shared memory or in planes
  T* y;

  TINYVIM_DEVICE Forward(const Args& arguments, uint32_t block, int warp, float* shared)
      : Base(arguments.scan, arguments.division, block, warp, shared), args(arguments) {
    const auto& a = this->a;
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) h[n] = Float(0.0f);
    dt_sum = Float(0.0f);
    plane = nullptr;
    y = nullptr;
    if (kOutput == Output::kFused) {
      plane = at_lane(shared + this->own_at);
    } else if (kOutput == Output::kPlanes) {
      const int64_t index = int64_t{this->slice} * a.batch * a.paths + this->batch_path();
      plane = this->columns.at(args.planes + index * a.length * a.channels + this->channel);
    } else if (kOutput == Output::kDirect) {
      const int64_t index = a.sum_paths ? this->batch : this->batch_path();
      y = this->columns.at(args.y + index * a.length * a.channels + this->channel);
    }
    if (!ends() && this->active && this->chunk > 0) {
      this->carry(args.chunk_ends, 0, this->chunk, 1, h);
    }
  }

  // Nobody starts from where the last chunk ends.
  TINYVIM_DEVICE int pieces() const {
    return ends() && this->chunk + 1 == this->d.chunks ? 0 : Base::pieces();
  }

  TINYVIM_DEVICE void walk(int piece) {
    if (!this->active) return;
    const int first = this->piece_begin(piece), count = this->piece_end(piece) - first;
    int i = 0;
    if (count >= kGroup) {
      Times<kGroup> now, next;
      this->fetch(0, next);
      for (; i + kGroup <= count; i += kGroup) {
        now = next;
        // The last group reads itself once more, which costs less than a branch.
        this->fetch(i + 2 * kGroup <= count ? i + kGroup : i, next);
        group(first, i, now);
      }
    }
    for (; i < count; ++i) {
      Times<1> now;
      this->fetch(i, now);
      group(first, i, now);
    }
  }

  TINYVIM_DEVICE void finish() {
    if (!this->active) return;
    const auto& a = this->a;
    if (ends()) {
      if (this->chunk + 1 < this->d.chunks) {
        this->leave(args.chunk_ends, h, dt_sum);
      }
      return;
    }
    if (args.last_state != nullptr && this->chunk + 1 == this->d.chunks) {
      this->store_states(args.last_state, this->batch_path(), h);
    }
    if (kOutput == Output::kFused) merge();
  }

 private:
  TINYVIM_DEVICE bool ends() const { return kOutput == Output::kState && args.ends; }

  template <int G>
  TINYVIM_DEVICE void group(int first, int i, const Times<G>& t) {
    const auto& a = this->a;
    if (!ends() && args.checkpoints != nullptr &&
        (first + i) % kCheckpoint == 0) {
      const int64_t all = (a.length + kCheckpoint - 1) / kCheckpoint;
      this->store_states(args.checkpoints, this->batch_path() * all + (first + i) / kCheckpoint,
                         h);
    }
    Float dt[G];
    this->steps(i, t, dt);
    const float* B = this->coefficients(i);
    TINYVIM_UNROLL_ALL
    for (int g = 0; g < G; ++g, B += this->d.row_floats) {
      this->advance(h, dt[g], t.x[g], B);
      if (kOutput == Output::kState) {
        dt_sum = dt_sum + dt[g];
        continue;
      }
      float c[NS];
      broadcast<NS>(B + NS, c);
      Float sum = this->D * t.x[g];
      TINYVIM_UNROLL_ALL
      for (int n = 0; n < NS; ++n) sum = fma(h[n], Float(c[n]), sum);
      if (kOutput == Output::kFused) {
        store_shared(plane + t.position[g] * TINYVIM_WARP, sum);
      } else if (kOutput == Output::kPlanes) {
        this->columns.store(row_of(plane, t.position[g], this->state_bytes()), sum);
      } else {
        const int bytes = static_cast<int>(a.channels * sizeof(T));
        this->columns.store(row_of(y, t.position[g], bytes), sum);
      }
    }
  }

  // The planes of a tile, which its warps divide, are summed in order.
  TINYVIM_DEVICE void merge() {
    const auto& a = this->a;
    const auto& d = this->d;
    const int planes = d.paths * d.slices, mine = this->local * d.slices + this->slice;
    const int first = this->member - this->slice;  // unit of the tile in a block
    T* to = this->columns.at(args.y + this->batch * a.length * a.channels + this->channel);
    const int to_next = d.units * d.own_floats;  // path
    const int bytes = static_cast<int>(a.channels * sizeof(T));
    for (int p = mine; p < a.length; p += planes) {
      Float sum(0.0f);
      for (int n = 0; n < d.slices; ++n) {
        int from = this->own_of(0) + (first + n) * d.own_floats + p * TINYVIM_WARP;
        TINYVIM_UNROLL_4
        for (int k = 0; k < d.paths; ++k, from += to_next) {
          sum = sum + load_shared(at_lane(this->shared + from));
        }
      }
      this->columns.store(row_of(to, p, bytes), sum);
    }
  }
};

}  // namespace tinyvim
