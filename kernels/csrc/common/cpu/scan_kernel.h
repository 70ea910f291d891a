// The selective scan on a CPU: lanes are channels, states stay in registers.
//
// Per channel and state, with dt = softplus(delta + bias):
//   h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,   y_t = sum_n C_t h_t + D x_t.
#pragma once
#include <vector>

#include "cpu_args.h"
#include "vector_math.h"

namespace {

using tinyvim::BackwardArgs;
using tinyvim::CpuScanArgs;
using tinyvim::ForwardArgs;
using tinyvim::kCheckpoint;
using tinyvim::kGroupChannels;
using tinyvim::Strides;

static_assert(tinyvim::kChannelPad % W == 0 && kGroupChannels % W == 0, "width");

// States are a compile-time constant where the loops over them shall unroll
// (N > 0), else N = 0 and the number is read from the arguments.
template <int N>
inline int states(const CpuScanArgs& a) {
  return N > 0 ? N : static_cast<int>(a.states);
}

// Storage for one value per state: registers if the number is known.
template <int N>
struct PerState {
  Vec v[N];
  explicit PerState(int) : v{} {}
  Vec& operator[](int n) { return v[n]; }
};
template <>
struct PerState<0> {
  std::vector<Vec> v;
  explicit PerState(int n) : v(n, Vec{}) {}
  Vec& operator[](int n) { return v[n]; }
};

// Everything of one task that does not change with time.
struct Task {
  const CpuScanArgs& a;
  int64_t b, k, c_begin, c_end;
  const int32_t* positions;
  const float *x, *step, *B, *C;  // step: delta or dt_low

  Task(const CpuScanArgs& args, int64_t batch, int64_t path, int64_t group)
      : a(args), b(batch), k(path) {
    c_begin = group * kGroupChannels;
    c_end = c_begin + kGroupChannels < a.channels ? c_begin + kGroupChannels : a.channels;
    positions = a.positions == nullptr ? nullptr : a.positions + k * a.length;
    x = at(a.x, a.x_strides);
    step = at(a.delta != nullptr ? a.delta : a.dt_low, a.step_strides);
    B = at(a.B, a.B_strides);
    C = at(a.C, a.C_strides);
  }
  template <typename T>
  T* at(T* p, const Strides& s) const {
    return p + b * s.batch + k * s.path;
  }
  // Where the state at the start of a segment stands in the tensor of checkpoints.
  int64_t checkpoint(int64_t segment) const {
    const int64_t segments = (a.length + kCheckpoint - 1) / kCheckpoint;
    return ((b * a.paths + k) * segments + segment) * a.states * a.channels;
  }
  int64_t position(int64_t t) const { return positions == nullptr ? t : positions[t]; }
  Vec per_channel(const float* p, int64_t c) const {
    return p == nullptr ? Vec{} : load(p + k * a.channels + c);
  }
};

// Positions whose step sizes are computed together, so that each row of
// dt_weight is loaded once for all of them.
constexpr int kBlock = 8;
static_assert(kCheckpoint % kBlock == 0, "blocks must not cross checkpoints");

// Step sizes of the positions at times begin ... begin + kBlock - 1 (past the
// path's end, of its last position), and what softplus's derivative is there.
inline void step_sizes(const Task& task, int64_t begin, int64_t c, Vec bias, Vec dt[kBlock],
                       Vec* derivatives) {
  const CpuScanArgs& a = task.a;
  int64_t p[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    p[i] = task.position(begin + i < a.length ? begin + i : a.length - 1);
  }
  Vec raw[kBlock];
  if (a.delta != nullptr) {
    for (int i = 0; i < kBlock; ++i) {
      raw[i] = load(task.step + p[i] * a.step_strides.position + c) + bias;
    }
  } else {
    const float* weight = a.dt_weight + task.k * a.rank * a.channels + c;
    TINYVIM_UNROLL
    for (int i = 0; i < kBlock; ++i) raw[i] = bias;
    for (int64_t r = 0; r < a.rank; ++r) {
      const Vec w = load(weight + r * a.channels);
      TINYVIM_UNROLL
      for (int i = 0; i < kBlock; ++i) {
        raw[i] += w * task.step[p[i] * a.step_strides.position + r];
      }
    }
  }
  for (int i = 0; i < kBlock; ++i) {
    Vec* derivative = derivatives == nullptr ? nullptr : derivatives + i;
    if (a.softplus) {
      dt[i] = softplus(raw[i], derivative);
    } else {
      dt[i] = raw[i];
      if (derivative != nullptr) *derivative = splat(1.0f);
    }
  }
}

template <int N>
void forward(const ForwardArgs& a, int64_t batch, int64_t path, int64_t group) {
  const Task task(a, batch, path, group);
  const int n_states = states<N>(a);
  float* y = task.at(a.y, a.y_strides);
  PerState<N> A(n_states), h(n_states);
  for (int64_t c = task.c_begin; c < task.c_end; c += W) {
    TINYVIM_UNROLL
    for (int n = 0; n < n_states; ++n) {
      A[n] = kLog2e * load(a.A + (path * a.states + n) * a.channels + c);
      h[n] = Vec{};
    }
    const Vec bias = task.per_channel(a.bias, c), D = task.per_channel(a.D, c);
    for (int64_t begin = 0; begin < a.length; begin += kBlock) {
      if (a.checkpoints != nullptr && begin % kCheckpoint == 0) {
        float* to = a.checkpoints + task.checkpoint(begin / kCheckpoint) + c;
        TINYVIM_UNROLL
        for (int n = 0; n < n_states; ++n) store(to + n * a.channels, h[n]);
      }
      Vec dt[kBlock];
      step_sizes(task, begin, c, bias, dt, nullptr);
      const int64_t end = begin + kBlock < a.length ? begin + kBlock : a.length;
      for (int64_t t = begin; t < end; ++t) {
        const int64_t p = task.position(t);
        const Vec x = load(task.x + p * a.x_strides.position + c);
        const float* B = task.B + p * a.B_strides.position;
        const float* C = task.C + p * a.C_strides.position;
        const Vec step = dt[t - begin], dt_x = step * x;
        Vec out = D * x;
        TINYVIM_UNROLL
        for (int n = 0; n < n_states; ++n) {
          h[n] = exp2(step * A[n]) * h[n] + dt_x * B[n];
          out += h[n] * C[n];
        }
        store(y + p * a.y_strides.position + c, out);
      }
    }
    if (a.last_state != nullptr) {
      float* last = a.last_state + (batch * a.paths + path) * a.states * a.channels + c;
      TINYVIM_UNROLL
      for (int n = 0; n < n_states; ++n) store(last + n * a.channels, h[n]);
    }
  }
}

// Gradients of a task, segment by segment from the end. Inside a segment the state is
// computed anew from the checkpoint at its start; the recurrence is never inverted. With
// g_t = dL/dh_t:
//   g_t = C_t dy_t + exp(dt_{t+1} A) g_{t+1}.
template <int N>
class Backward {
 public:
  Backward(const BackwardArgs& args, int64_t batch, int64_t path, int64_t group)
      : a(args),
        task(args, batch, path, group),
        group_index(group),
        n_states(states<N>(args)),
        tiles((task.c_end - task.c_begin) / W),
        segments((args.length + kCheckpoint - 1) / kCheckpoint),
        carried(tiles * n_states, Vec{}),
        decay(kCheckpoint * n_states),
        state((kCheckpoint + 1) * n_states),
        dt(kCheckpoint),
        slope(kCheckpoint),
        sums(kCheckpoint * 2 * n_states) {}

  void run() {
    for (int64_t tile = 0; tile < tiles; ++tile) start_tile(tile);
    for (int64_t segment = segments - 1; segment >= 0; --segment) {
      const int64_t begin = segment * kCheckpoint;
      const int64_t end = begin + kCheckpoint < a.length ? begin + kCheckpoint : a.length;
      for (Vec& v : sums) v = Vec{};
      for (int64_t tile = 0; tile < tiles; ++tile) {
        recompute(tile, segment, begin, end);
        sweep(tile, begin, end);
      }
      write_B_and_C(begin, end);
    }
  }

 private:
  int64_t channel(int64_t tile) const { return task.c_begin + tile * W; }
  int64_t bk() const { return task.b * a.paths + task.k; }
  // Times log2(e): exp(dt A) = 2^(dt A log2(e)).
  Vec load_A(int n, int64_t c) const {
    return kLog2e * load(a.A + (task.k * a.states + n) * a.channels + c);
  }
  float* grad_A(int n, int64_t c) const {
    return a.grad_A + (bk() * a.states + n) * a.channels + c;
  }

  // Where the gradients that are sums over time begin.
  void start_tile(int64_t tile) {
    const int64_t c = channel(tile);
    TINYVIM_UNROLL
    for (int n = 0; n < n_states; ++n) {
      store(grad_A(n, c), Vec{});
      if (a.grad_last_state != nullptr) {
        carried[tile * n_states + n] =
            load(a.grad_last_state + (bk() * a.states + n) * a.channels + c);
      }
    }
    store(a.grad_D + bk() * a.channels + c, Vec{});
    store(a.grad_bias + bk() * a.channels + c, Vec{});
  }

  // State, decay and step size at every position of a segment.
  void recompute(int64_t tile, int64_t segment, int64_t begin, int64_t end) {
    const int64_t c = channel(tile);
    const Vec bias = task.per_channel(a.bias, c);
    PerState<N> A(n_states), h(n_states);
    const float* from = a.checkpoints + task.checkpoint(segment) + c;
    TINYVIM_UNROLL
    for (int n = 0; n < n_states; ++n) {
      A[n] = load_A(n, c);
      h[n] = state[n] = load(from + n * a.channels);
    }
    for (int64_t t = begin; t < end; t += kBlock) {
      step_sizes(task, t, c, bias, &dt[t - begin], &slope[t - begin]);
    }
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t - begin, p = task.position(t);
      const Vec dt_x = dt[i] * load(task.x + p * a.x_strides.position + c);
      const float* B = task.B + p * a.B_strides.position;
      TINYVIM_UNROLL
      for (int n = 0; n < n_states; ++n) {
        const Vec e = exp2(dt[i] * A[n]);
        h[n] = e * h[n] + dt_x * B[n];
        decay[i * n_states + n] = e;
        state[(i + 1) * n_states + n] = h[n];
      }
    }
  }

  void sweep(int64_t tile, int64_t begin, int64_t end) {
    const int64_t c = channel(tile);
    const Vec D = task.per_channel(a.D, c);
    float* grad_D = a.grad_D + bk() * a.channels + c;
    float* grad_bias = a.grad_bias + bk() * a.channels + c;
    const float* grad_y = task.at(a.grad_y, a.grad_y_strides);
    float* grad_delta = a.grad_delta + (task.k * a.batch + task.b) * a.length * a.channels + c;
    float* grad_x = a.grad_x + bk() * a.length * a.channels + c;
    PerState<N> A(n_states), g(n_states), dA(n_states);
    TINYVIM_UNROLL
    for (int n = 0; n < n_states; ++n) {
      A[n] = load_A(n, c);
      g[n] = carried[tile * n_states + n];
      dA[n] = load(this->grad_A(n, c));
    }
    Vec dD = load(grad_D), dbias = load(grad_bias);
    for (int64_t t = end - 1; t >= begin; --t) {
      const int64_t i = t - begin, p = task.position(t);
      const Vec dy = load(grad_y + p * a.grad_y_strides.position + c);
      const Vec x = load(task.x + p * a.x_strides.position + c);
      const float* B = task.B + p * a.B_strides.position;
      const float* C = task.C + p * a.C_strides.position;
      const Vec dt_x = dt[i] * x;
      Vec g_B{}, ddt{};  // sums over states of g B and of g A decay h
      TINYVIM_UNROLL
      for (int n = 0; n < n_states; ++n) {
        const Vec decayed = decay[i * n_states + n] * state[i * n_states + n];
        g[n] += dy * C[n];
        sums[i * 2 * n_states + n] += g[n] * dt_x;
        sums[(i * 2 + 1) * n_states + n] += dy * state[(i + 1) * n_states + n];
        g_B += g[n] * B[n];
        const Vec q = g[n] * decayed;
        ddt += q * A[n];  // times log2(e)
        dA[n] += q * dt[i];
        g[n] *= decay[i * n_states + n];
      }
      ddt = (ddt * kLn2 + g_B * x) * slope[i];
      dbias += ddt;
      dD += dy * x;
      store(grad_delta + p * a.channels, ddt);
      store(grad_x + p * a.channels, dy * D + dt[i] * g_B);
    }
    TINYVIM_UNROLL
    for (int n = 0; n < n_states; ++n) {
      carried[tile * n_states + n] = g[n];
      store(this->grad_A(n, c), dA[n]);
    }
    store(grad_D, dD);
    store(grad_bias, dbias);
  }

  void write_B_and_C(int64_t begin, int64_t end) {
    const int64_t row = (group_index * a.batch * a.paths + bk()) * a.length;
    std::vector<float> totals(2 * n_states + W);
    for (int64_t t = begin; t < end; ++t) {
      const Vec* from = &sums[(t - begin) * 2 * n_states];
      for (int first = 0; first < 2 * n_states; first += W) {
        Vec v[W];
        for (int i = 0; i < W; ++i) v[i] = first + i < 2 * n_states ? from[first + i] : Vec{};
        sum_lanes(v);
        store(&totals[first], v[0]);
      }
      const int64_t to = (row + task.position(t)) * a.states;
      std::memcpy(a.grad_B + to, &totals[0], n_states * sizeof(float));
      std::memcpy(a.grad_C + to, &totals[n_states], n_states * sizeof(float));
    }
  }

  const BackwardArgs& a;
  const Task task;
  const int64_t group_index;
  const int n_states;
  const int64_t tiles, segments;
  std::vector<Vec> carried, decay, state, dt, slope;
  std::vector<Vec> sums;  // over channels, per position: those for B, then those for C
};

template <int N>
void backward(const BackwardArgs& a, int64_t batch, int64_t path, int64_t group) {
  Backward<N>(a, batch, path, group).run();
}

void forward_any(const ForwardArgs& a, int64_t batch, int64_t path, int64_t group) {
  switch (a.states) {
    case 1: return forward<1>(a, batch, path, group);
    case 4: return forward<4>(a, batch, path, group);
    case 8: return forward<8>(a, batch, path, group);
    case 16: return forward<16>(a, batch, path, group);
    default: return forward<0>(a, batch, path, group);
  }
}

void backward_any(const BackwardArgs& a, int64_t batch, int64_t path, int64_t group) {
  switch (a.states) {
    case 1: return backward<1>(a, batch, path, group);
    case 4: return backward<4>(a, batch, path, group);
    case 8: return backward<8>(a, batch, path, group);
    case 16: return backward<16>(a, batch, path, group);
    default: return backward<0>(a, batch, path, group);
  }
}

void sum_tensors(const float* in, int64_t count, int64_t stride, int64_t size, float* out) {
  for (int64_t i = 0; i < size; i += W) {  // size is padded
    Vec total = load(in + i);
    for (int64_t k = 1; k < count; ++k) total += load(in + k * stride + i);
    store(out + i, total);
  }
}

}  // namespace
