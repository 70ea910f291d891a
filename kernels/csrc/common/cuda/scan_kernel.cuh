// The selective scan on a GPU, as programs of one warp: lanes are 32 neighboring
// channels, each lane keeps its states in registers and walks along one path.
//
// Per channel and state, with dt = softplus(delta + bias):
//   h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,   y_t = sum_n C_t h_t + D x_t.
//
// Nothing here is atomic and every sum has a fixed order: results repeat bit by
// bit. Written with the types of warp.cuh, so all of it also runs on a CPU.
#pragma once
#include "../scan_path.h"
#include "warp.cuh"

namespace tinyvim {

constexpr int kMaxPaths = 8;
// Positions whose states the backward pass holds at once.
constexpr int kCudaSegment = 8;
// Largest block of the fused forward kernel: its warps hold up to 184 registers a lane.
constexpr int kFusedWarps = 8;

// Strides of a tensor with axes (batch, path, position) and contiguous last axis.
struct CudaStrides {
  int64_t batch, path, position;
};

// Pointers are to device memory. `states` is the whole N; a kernel with NS
// states in registers treats those from `first_state` on.
struct CudaScanArgs {
  int64_t batch, paths, length, channels, states;
  int height, width;      // of the map
  int codes[kMaxPaths];   // scan_path.h
  bool plain_sequence;    // position t at time t, any number of paths
  bool softplus;

  const float* x;  // (batch, [path], position, channel)
  CudaStrides x_strides;
  // Step sizes before bias and softplus: read from `delta`, or computed from
  // `dt_low` (position, rank) and `dt_weight` (path, rank, channel) if rank > 0.
  const float* delta;
  CudaStrides delta_strides;
  const float* dt_low;
  const float* dt_weight;
  int rank;
  const float* B;  // (batch, path, position, state)
  const float* C;
  CudaStrides BC_strides;  // of dt_low too
  // B, C and dt_low may be read four at a time: aligned, and whole slices of
  // register_states() values and register_rank() values exist in memory, those
  // beyond N and the rank being zero.
  bool padded;
  const float* A;     // (path, state, channel)
  const float* D;     // (path, channel) or null
  const float* bias;  // (path, channel) or null
};

// Which part of the work one warp does.
struct WarpTask {
  int64_t batch, path;
  int64_t channel;        // of lane 0
  int64_t first_state;    // a slice of NS states
  int64_t t_begin, t_end;  // a chunk of the path
};

TINYVIM_DEVICE Float softplus(Float x) {
  return select(x > Float(20.0f), x, log1p(exp(x)));
}
// d softplus / dx
TINYVIM_DEVICE Float sigmoid(Float x) { return Float(1.0f) / (Float(1.0f) + exp(Float(0.0f) - x)); }

// What a warp needs at every position; constant along the path.
template <int NS, int RANK>
struct WarpScan {
  const CudaScanArgs& a;
  const WarpTask& task;
  Int c;         // channel of each lane
  Mask inside;   // whether there is such a channel
  Float A[NS];   // times log2(e): exp(dt A) = 2^(dt A log2(e))
  Float weight[RANK > 0 ? RANK : 1];
  Float bias, D;
  int64_t BC_base, x_base, delta_base;

  TINYVIM_DEVICE WarpScan(const CudaScanArgs& args, const WarpTask& t) : a(args), task(t) {
    c = Int(task.channel) + lane_index();
    inside = c < Int(a.channels);
    const Int row = Int(task.path * a.channels) + c;
    for (int n = 0; n < NS; ++n) {
      const bool exists = task.first_state + n < a.states;
      const int64_t A_row = (task.path * a.states + task.first_state + n) * a.channels;
      A[n] = exists ? load(a.A, Int(A_row) + c, inside) * Float(1.4426950408889634f)
                    : Float(0.0f);
    }
    for (int r = 0; r < RANK; ++r) {
      weight[r] = r < a.rank
                      ? load(a.dt_weight, Int((task.path * a.rank + r) * a.channels) + c, inside)
                      : Float(0.0f);
    }
    bias = a.bias != nullptr ? load(a.bias, row, inside) : Float(0.0f);
    D = a.D != nullptr ? load(a.D, row, inside) : Float(0.0f);
    BC_base = task.batch * a.BC_strides.batch + task.path * a.BC_strides.path;
    x_base = task.batch * a.x_strides.batch + task.path * a.x_strides.path;
    delta_base = task.batch * a.delta_strides.batch + task.path * a.delta_strides.path;
  }

  TINYVIM_DEVICE int64_t position(int64_t t) const {
    if (a.plain_sequence) return t;
    return path_position(a.codes[task.path], static_cast<int>(t), a.height, a.width);
  }
  TINYVIM_DEVICE Float x(int64_t p) const {
    return load(a.x, Int(x_base + p * a.x_strides.position) + c, inside);
  }
  // delta + bias, before softplus.
  TINYVIM_DEVICE Float raw_step(int64_t p) const {
    if (RANK == 0) {
      return load(a.delta, Int(delta_base + p * a.delta_strides.position) + c, inside) + bias;
    }
    Float low[RANK > 0 ? RANK : 1];
    uniform<RANK>(a.dt_low, BC_base + p * a.BC_strides.position, a.rank, low);
    Float sum = bias;
    for (int r = 0; r < RANK; ++r) sum = fma(low[r], weight[r], sum);
    return sum;
  }
  TINYVIM_DEVICE Float step(int64_t p) const {
    const Float raw = raw_step(p);
    return a.softplus ? softplus(raw) : raw;
  }
  // B or C at a position: the same for all lanes.
  TINYVIM_DEVICE void coefficients(const float* from, int64_t p, Float out[NS]) const {
    uniform<NS>(from, BC_base + p * a.BC_strides.position + task.first_state,
                a.states - task.first_state, out);
  }
  TINYVIM_DEVICE void advance(Float h[NS], Float dt, Float x_t, int64_t p) const {
    const Float dt_x = dt * x_t;
    Float B[NS];
    coefficients(a.B, p, B);
    for (int n = 0; n < NS; ++n) h[n] = fma(exp2(dt * A[n]), h[n], dt_x * B[n]);
  }

 private:
  // COUNT values that all lanes share; those from `valid` on are zero.
  template <int COUNT>
  TINYVIM_DEVICE void uniform(const float* from, int64_t at, int64_t valid, Float* out) const {
    if (COUNT % 4 == 0 && a.padded) {
      for (int i = 0; i + 4 <= COUNT; i += 4) load4(from, at + i, out + i);
      return;
    }
    for (int i = 0; i < COUNT; ++i) {
      out[i] = i < valid ? load(from, Int(at + i)) : Float(0.0f);
    }
  }
};

// ---------------------------------------------------------------------------
// Forward
// ---------------------------------------------------------------------------

// Results of one forward warp. Each is optional.
struct ForwardOut {
  // Adds to nothing: each (path, slice of states) has a plane of its own, and
  // planes are summed in order afterwards. (position, channel of the tile).
  float* y;
  int64_t y_position_stride;
  bool y_from_tile;  // y's channel 0 is the tile's (shared memory), else channel 0
  float* state;      // (state, channel) at the end of the chunk
  float* dt_sum;     // (channel), for chunks: the product of decays is exp(A dt_sum)
};

// Walks along a chunk of a path from `h`, which ends as the state after it.
template <int NS, int RANK>
TINYVIM_DEVICE void forward_warp(const WarpScan<NS, RANK>& scan, Float h[NS],
                                 const ForwardOut& out) {
  const CudaScanArgs& a = scan.a;
  const Int channel_out = out.y_from_tile ? lane_index() : scan.c;
  Float dt_sum(0.0f);
  for (int64_t t = scan.task.t_begin; t < scan.task.t_end; ++t) {
    const int64_t p = scan.position(t);
    const Float dt = scan.step(p), x = scan.x(p);
    scan.advance(h, dt, x, p);
    dt_sum = dt_sum + dt;
    if (out.y != nullptr) {
      // The skip belongs to one slice of states only.
      Float y = scan.task.first_state == 0 ? scan.D * x : Float(0.0f);
      Float C[NS];
      scan.coefficients(a.C, p, C);
      for (int n = 0; n < NS; ++n) y = fma(h[n], C[n], y);
      store(out.y, Int(p * out.y_position_stride) + channel_out, y, scan.inside);
    }
  }
  if (out.dt_sum != nullptr) store(out.dt_sum, scan.c, dt_sum, scan.inside);
  if (out.state != nullptr) {
    for (int n = 0; n < NS; ++n) {
      if (scan.task.first_state + n < a.states) {
        store(out.state, Int((scan.task.first_state + n) * a.channels) + scan.c, h[n],
              scan.inside);
      }
    }
  }
}

// State at the start of chunk `chunk` from what the chunks before it left:
// H_i = exp(A S_i) H_{i-1} + h_i. Both arrays have one entry per chunk.
template <int NS, int RANK>
TINYVIM_DEVICE void state_before_chunk(const WarpScan<NS, RANK>& scan, int64_t chunk,
                                       const float* states, const float* dt_sums, Float h[NS]) {
  const CudaScanArgs& a = scan.a;
  for (int n = 0; n < NS; ++n) h[n] = Float(0.0f);
  for (int64_t i = 0; i < chunk; ++i) {
    const Float s = reload(dt_sums, Int(i * a.channels) + scan.c, scan.inside);
    for (int n = 0; n < NS; ++n) {
      if (scan.task.first_state + n >= a.states) continue;
      const Int at = Int((i * a.states + scan.task.first_state + n) * a.channels) + scan.c;
      h[n] = fma(exp2(s * scan.A[n]), h[n], reload(states, at, scan.inside));
    }
  }
}

// ---------------------------------------------------------------------------
// Backward
// ---------------------------------------------------------------------------

struct CudaBackwardArgs : CudaScanArgs {
  const float* grad_y;  // strides as x, but of its own
  CudaStrides grad_y_strides;
  const float* grad_last_state;  // (batch, path, state, channel) or null
  int64_t slices;                // of states
  float* checkpoints;  // (batch, path, segment, state, channel)

  // One plane per slice of states, summed in order afterwards:
  float* grad_x;      // (slice, batch, path, position, channel)
  float* grad_delta;  // (slice, strides of delta); of the value before softplus
  // One plane per tile of channels:
  float* grad_B;  // (tile, batch, path, position, state)
  float* grad_C;
  float* grad_A;     // (batch, path, state, channel)
  float* grad_D;     // (batch, path, channel)
  float* grad_bias;  // (slice, batch, path, channel)
};

// Sums K values over the lanes: lane i ends with the sum of value i % K. Every
// exchange halves the values that a lane holds, so K values cost about K
// shuffles instead of 5 K. K is a power of two up to 32.
template <int K>
TINYVIM_DEVICE Float sum_over_lanes(Float v[K]) {
  const Int lane = lane_index();
  int held = K;
  for (int distance = K / 2; distance > 0; distance /= 2) {
    held /= 2;
    const Mask upper = Int(0) < (lane & Int(distance));
    for (int i = 0; i < K / 2; ++i) {
      if (i >= held) continue;
      const Float give = select(upper, v[i], v[i + held]);
      const Float keep = select(upper, v[i + held], v[i]);
      v[i] = keep + shuffle_xor(give, distance);
    }
  }
  Float total = v[0];
  for (int distance = K; distance < TINYVIM_WARP; distance *= 2) {
    total = total + shuffle_xor(total, distance);
  }
  return total;
}

// Gradients of one path of one image for one tile of channels and one slice of
// states. `saved` holds kCudaSegment * NS * 32 floats of the warp's own memory.
// States are computed anew from a checkpoint at every segment's start; the
// recurrence is never inverted. With g_t = dL/dh_t:
//   g_t = C_t dy_t + exp(dt_{t+1} A) g_{t+1}.
template <int NS>
TINYVIM_DEVICE void backward_warp(const CudaBackwardArgs& a, const WarpTask& task, float* saved) {
  const WarpScan<NS, 0> scan(a, task);
  const Int lane = lane_index();
  const int64_t bk = task.batch * a.paths + task.path;
  const int64_t segments = (a.length + kCudaSegment - 1) / kCudaSegment;
  const int64_t slice = task.first_state / NS, tile = task.channel / TINYVIM_WARP;
  const int64_t rows = a.batch * a.paths * a.length;  // of one plane

  // The state at the start of each segment.
  Float h[NS];
  for (int n = 0; n < NS; ++n) h[n] = Float(0.0f);
  for (int64_t s = 0; s < segments; ++s) {
    for (int n = 0; n < NS; ++n) {
      if (task.first_state + n >= a.states) continue;
      const int64_t at = (bk * segments + s) * a.states + task.first_state + n;
      store(a.checkpoints, Int(at * a.channels) + scan.c, h[n], scan.inside);
    }
    if (s + 1 == segments) break;
    for (int64_t t = s * kCudaSegment; t < (s + 1) * kCudaSegment; ++t) {
      const int64_t p = scan.position(t);
      scan.advance(h, scan.step(p), scan.x(p), p);
    }
  }

  Float g[NS], dA[NS], dD(0.0f), dbias(0.0f);
  for (int n = 0; n < NS; ++n) {
    dA[n] = Float(0.0f);
    const bool given = a.grad_last_state != nullptr && task.first_state + n < a.states;
    g[n] = given ? load(a.grad_last_state,
                        Int((bk * a.states + task.first_state + n) * a.channels) + scan.c,
                        scan.inside)
                 : Float(0.0f);
  }
  for (int64_t s = segments - 1; s >= 0; --s) {
    const int64_t begin = s * kCudaSegment;
    const int64_t end = begin + kCudaSegment < a.length ? begin + kCudaSegment : a.length;
    // saved[i] is the state before position begin + i.
    for (int n = 0; n < NS; ++n) {
      const bool exists = task.first_state + n < a.states;
      const int64_t at = (bk * segments + s) * a.states + task.first_state + n;
      h[n] = exists ? reload(a.checkpoints, Int(at * a.channels) + scan.c, scan.inside)
                    : Float(0.0f);
    }
    for (int64_t t = begin; t < end; ++t) {
      for (int n = 0; n < NS; ++n) {
        store(saved, Int(((t - begin) * NS + n) * TINYVIM_WARP) + lane, h[n]);
      }
      const int64_t p = scan.position(t);
      scan.advance(h, scan.step(p), scan.x(p), p);
    }
    // h is now the state after the segment's last position.
    for (int64_t t = end - 1; t >= begin; --t) {
      const int64_t p = scan.position(t);
      const Float raw = scan.raw_step(p);
      const Float dt = a.softplus ? softplus(raw) : raw;
      const Float x = scan.x(p), dt_x = dt * x;
      const int64_t dy_at = task.batch * a.grad_y_strides.batch +
                            task.path * a.grad_y_strides.path + p * a.grad_y_strides.position;
      const Float dy = load(a.grad_y, Int(dy_at) + scan.c, scan.inside);
      Float B[NS], C[NS];
      scan.coefficients(a.B, p, B);
      scan.coefficients(a.C, p, C);
      Float grads[2 * NS];  // of B, then of C, of this lane's channel
      Float g_B(0.0f), ddt(0.0f);
      for (int n = 0; n < NS; ++n) {
        const Float before = reload(saved, Int(((t - begin) * NS + n) * TINYVIM_WARP) + lane);
        const Float decay = exp2(dt * scan.A[n]);
        g[n] = fma(dy, C[n], g[n]);
        grads[n] = g[n] * dt_x;
        grads[NS + n] = dy * h[n];
        g_B = fma(g[n], B[n], g_B);
        const Float q = g[n] * decay * before;
        ddt = fma(q, scan.A[n] * Float(0.6931471805599453f), ddt);
        dA[n] = fma(q, dt, dA[n]);
        g[n] = g[n] * decay;
        h[n] = before;
      }
      ddt = fma(g_B, x, ddt);
      if (a.softplus) ddt = ddt * sigmoid(raw);
      dbias = dbias + ddt;
      dD = fma(dy, x, dD);
      const Float skip = task.first_state == 0 ? scan.D * dy : Float(0.0f);
      const int64_t row = slice * rows + bk * a.length + p;
      store(a.grad_x, Int(row * a.channels) + scan.c, fma(dt, g_B, skip), scan.inside);
      const int64_t delta_row = slice * rows * a.channels +
                                task.batch * a.delta_strides.batch +
                                task.path * a.delta_strides.path + p * a.delta_strides.position;
      store(a.grad_delta, Int(delta_row) + scan.c, ddt, scan.inside);

      // Lanes outside hold zeros: x, dy and so all their products are zero.
      const Float total = sum_over_lanes<2 * NS>(grads);
      const Int n = lane % Int(NS);
      const Mask exists = Int(task.first_state) + n < Int(a.states);
      const int64_t BC_row = (tile * rows + bk * a.length + p) * a.states + task.first_state;
      store(a.grad_B, Int(BC_row) + n, total, lane < Int(NS) && exists);
      store(a.grad_C, Int(BC_row) + n, total,
            Int(NS - 1) < lane && lane < Int(2 * NS) && exists);
    }
  }
  for (int n = 0; n < NS; ++n) {
    if (task.first_state + n >= a.states) continue;
    const int64_t row = (bk * a.states + task.first_state + n) * a.channels;
    store(a.grad_A, Int(row) + scan.c, dA[n], scan.inside);
  }
  const Int at = Int(bk * a.channels) + scan.c;
  if (task.first_state == 0) store(a.grad_D, at, dD, scan.inside);
  store(a.grad_bias, Int(slice * a.batch * a.paths * a.channels) + at, dbias, scan.inside);
}

// ---------------------------------------------------------------------------
// Division of the work; the same on a GPU and in the emulation
// ---------------------------------------------------------------------------

// States in registers for N states: the smallest of 1, 4, 8, 16 that holds them,
// else slices of 16.
TINYVIM_HD int register_states(int64_t states) {
  return states <= 1 ? 1 : states <= 4 ? 4 : states <= 8 ? 8 : 16;
}
TINYVIM_HD int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
TINYVIM_HD int64_t state_slices(int64_t states) {
  return ceil_div(states, register_states(states));
}
TINYVIM_HD int64_t channel_tiles(int64_t channels) { return ceil_div(channels, TINYVIM_WARP); }
// Ranks up to this one are multiplied inside the kernel, from registers.
constexpr int kMaxRank = 32;
TINYVIM_HD int register_rank(int rank) {
  return rank <= 0 ? 0 : rank <= 4 ? 4 : rank <= 8 ? 8 : rank <= 16 ? 16 : 32;
}

// Fused forward, one block per (batch, tile): warp `plane` scans its path and
// slice into shared memory ...
template <int NS, int RANK>
TINYVIM_DEVICE void fused_scan(const CudaScanArgs& a, int64_t batch, int64_t tile, int64_t plane,
                               float* shared) {
  const int64_t slices = state_slices(a.states);
  const WarpTask task{batch, plane / slices, tile * TINYVIM_WARP, plane % slices * NS,
                      0,     a.length};
  const WarpScan<NS, RANK> scan(a, task);
  Float h[NS];
  for (int n = 0; n < NS; ++n) h[n] = Float(0.0f);
  forward_warp(scan, h,
               ForwardOut{shared + plane * a.length * TINYVIM_WARP, TINYVIM_WARP, true, nullptr,
                          nullptr});
}

// ... and, when all warps of the block have, the planes are summed in order.
TINYVIM_DEVICE void fused_merge(const CudaScanArgs& a, int64_t batch, int64_t tile, int64_t warp,
                                int64_t warps, const float* shared, float* y) {
  const Int lane = lane_index(), c = Int(tile * TINYVIM_WARP) + lane;
  const Mask inside = c < Int(a.channels);
  for (int64_t p = warp; p < a.length; p += warps) {
    Float sum(0.0f);
    for (int64_t plane = 0; plane < warps; ++plane) {
      sum = sum + reload(shared, Int((plane * a.length + p) * TINYVIM_WARP) + lane);
    }
    store(y, Int((batch * a.length + p) * a.channels) + c, sum, inside);
  }
}

// Warps of an unfused forward scan: (batch, path, slice, chunk, tile).
TINYVIM_HD int64_t forward_warps(const CudaScanArgs& a, int64_t chunks) {
  return a.batch * a.paths * state_slices(a.states) * chunks * channel_tiles(a.channels);
}

enum class Pass { kWhole, kChunkEnds, kChunks };

// One of those warps. kWhole: no chunks. kChunkEnds: each chunk from a zero
// state, keeping only where it ends. kChunks: each from its true state.
template <int NS, int RANK>
TINYVIM_DEVICE void forward_task(const CudaScanArgs& a, Pass pass, int64_t id, int64_t chunk_size,
                                 int64_t chunks, float* planes, float* last_state,
                                 float* chunk_states, float* chunk_dt) {
  const int64_t tiles = channel_tiles(a.channels), slices = state_slices(a.states);
  const int64_t tile = id % tiles, chunk = id / tiles % chunks;
  const int64_t slice = id / tiles / chunks % slices, bk = id / tiles / chunks / slices;
  const int64_t begin = chunk * chunk_size;
  const int64_t end = begin + chunk_size < a.length ? begin + chunk_size : a.length;
  const WarpTask task{bk / a.paths, bk % a.paths, tile * TINYVIM_WARP, slice * NS, begin, end};
  const WarpScan<NS, RANK> scan(a, task);
  float* const states = chunk_states + bk * chunks * a.channels * a.states;
  float* const dt_sums =
      chunk_dt + (slice * a.batch * a.paths + bk) * chunks * a.channels;
  Float h[NS];
  for (int n = 0; n < NS; ++n) h[n] = Float(0.0f);
  ForwardOut out{nullptr, a.channels, false, nullptr, nullptr};
  if (pass == Pass::kChunkEnds) {
    if (chunk + 1 == chunks) return;  // nobody starts from its end
    out.state = states + chunk * a.channels * a.states;
    out.dt_sum = dt_sums + chunk * a.channels;
  } else {
    if (pass == Pass::kChunks) state_before_chunk(scan, chunk, states, dt_sums, h);
    out.y = planes + (slice * a.batch * a.paths + bk) * a.length * a.channels;
    if (last_state != nullptr && chunk + 1 == chunks) {
      out.state = last_state + bk * a.channels * a.states;
    }
  }
  forward_warp(scan, h, out);
}

// Warps of a backward scan: (batch, path, slice, tile).
TINYVIM_HD int64_t backward_warps(const CudaScanArgs& a) { return forward_warps(a, 1); }

template <int NS>
TINYVIM_DEVICE void backward_task(const CudaBackwardArgs& a, int64_t id, float* saved) {
  const int64_t tiles = channel_tiles(a.channels), slices = state_slices(a.states);
  const int64_t tile = id % tiles, slice = id / tiles % slices, bk = id / tiles / slices;
  backward_warp<NS>(a,
                    WarpTask{bk / a.paths, bk % a.paths, tile * TINYVIM_WARP, slice * NS, 0,
                             a.length},
                    saved);
}

// Calls f with the numbers of states and rank in registers as types.
template <int N>
struct Constant {
  static constexpr int value = N;
};
template <typename F>
void with_states(int64_t states, const F& f) {
  switch (register_states(states)) {
    case 1: return f(Constant<1>());
    case 4: return f(Constant<4>());
    case 8: return f(Constant<8>());
    default: return f(Constant<16>());
  }
}
template <typename F>
void with_rank(int rank, const F& f) {
  switch (register_rank(rank)) {
    case 0: return f(Constant<0>());
    case 4: return f(Constant<4>());
    case 8: return f(Constant<8>());
    case 16: return f(Constant<16>());
    default: return f(Constant<32>());
  }
}

}  // namespace tinyvim
