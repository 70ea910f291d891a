// The gradients of the selective scan. With g_t = dL/dh_t:
//   g_t = C_t dy_t + exp(dt_{t+1} A) g_{t+1}.
// States are computed anew from the checkpoints of the forward pass; the recurrence is
// never inverted.
#pragma once
#include "scan_block.cuh"

namespace tinyvim {

template <typename T, int NS>
struct BackwardBase : BlockScan<T, NS> {
  const BackwardArgs<T>& args;
  const T* grad_y;  // at the lane, for position 0

  TINYVIM_DEVICE BackwardBase(const BackwardArgs<T>& arguments, uint32_t block, int warp,
                              float* shared)
      : BlockScan<T, NS>(arguments.scan, arguments.division, block, warp, shared),
        args(arguments) {
    grad_y = this->columns.at(args.grad_y + this->batch * args.grad_y_strides.batch +
                              this->path * args.grad_y_strides.path + this->channel);
  }
  // Lanes that have no channel get zero, so all that is multiplied by it is zero there.
  template <int G>
  TINYVIM_DEVICE void fetch_dy(const int position[G], Float dy[G]) const {
    TINYVIM_UNROLL_ALL
    for (int g = 0; g < G; ++g) {
      dy[g] = this->columns.load(row_of(grad_y, position[g], args.grad_y_row));
    }
    TINYVIM_UNROLL_ALL
    for (int g = 0; g < G; ++g) dy[g] = select(this->columns.inside, dy[g], Float(0.0f));
  }
};

// What each chunk, alone, passes to the chunk before it: its dL/dh just before its first
// time, sum_t C_t dy_t prod_{s <= t} exp(dt_s A), gathered while walking forwards.
template <typename T, int NS>
struct BackwardEnds : BackwardBase<T, NS> {
  using Args = BackwardArgs<T>;
  using Base = BackwardBase<T, NS>;
  static constexpr int kMaxThreads = kMaxBackwardWarps * TINYVIM_WARP;
  static constexpr bool kMeets = false;  // of all warps before finish()

  Float product[NS], gathered[NS], dt_sum;

  TINYVIM_DEVICE BackwardEnds(const Args& arguments, uint32_t block, int warp, float* shared)
      : Base(arguments, block, warp, shared) {
    dt_sum = Float(0.0f);
    for (int n = 0; n < NS; ++n) {
      product[n] = Float(1.0f);
      gathered[n] = Float(0.0f);
    }
  }
  TINYVIM_DEVICE int pieces() const { return this->chunk == 0 ? 0 : Base::pieces(); }
  TINYVIM_DEVICE void walk(int piece) {
    if (!this->active) return;
    const int count = this->piece_end(piece) - this->piece_begin(piece);
    int i = 0;
    for (; i + kGroup <= count; i += kGroup) group<kGroup>(i);
    for (; i < count; ++i) group<1>(i);
  }
  TINYVIM_DEVICE void finish() {
    if (!this->active || this->chunk == 0) return;
    this->leave(this->args.chunk_ends, gathered, dt_sum);
  }

 private:
  template <int G>
  TINYVIM_DEVICE void group(int i) {
    Times<G> t;
    Float dt[G], dy[G];
    this->fetch(i, t);
    this->template fetch_dy<G>(t.position, dy);
    this->steps(i, t, dt);
    const float* B = this->coefficients(i);
    TINYVIM_UNROLL_ALL
    for (int g = 0; g < G; ++g, B += this->d.row_floats) {
      float c[NS];
      broadcast<NS>(B + NS, c);
      dt_sum = dt_sum + dt[g];
      TINYVIM_UNROLL_ALL
      for (int n = 0; n < NS; ++n) {
        product[n] = product[n] * exp2(dt[g] * this->A[n]);
        gathered[n] = fma(product[n], dy[g] * Float(c[n]), gathered[n]);
      }
    }
  }
};

template <typename T, int NS>
struct Backward : BackwardBase<T, NS> {
  using Args = BackwardArgs<T>;
  using Base = BackwardBase<T, NS>;
  static constexpr int kMaxThreads = kMaxBackwardWarps * TINYVIM_WARP;
  static constexpr bool kMeets = false;  // of all warps before finish()

  // Times that are worked on at once: more of them would not fit into the registers.
  static constexpr int kTogether = NS < 16 ? kGroup : kGroup / 2;

  Float h[NS], g[NS], dA[NS], dD, dbias;
  float* saved;  // at the lane: states before each of kGroup times
  float* grad_x;  // at the lane, for position 0
  float* grad_delta;
  PairOfRows<NS> grad_BC;

  TINYVIM_DEVICE Backward(const Args& arguments, uint32_t block, int warp, float* shared)
      : Base(arguments, block, warp, shared) {
    const auto& a = this->a;
    const auto& args = this->args;
    saved = at_lane(shared + this->own_at);
    dD = dbias = Float(0.0f);
    for (int n = 0; n < NS; ++n) dA[n] = Float(0.0f);
    const int64_t plane = int64_t{this->slice} * a.batch * a.paths;
    const int64_t map = a.length * a.channels;
    const int64_t bk = this->batch_path();
    grad_x = this->columns.at(args.grad_x + (plane + bk) * map + this->channel);
    const int64_t kb = this->path * a.batch + this->batch;
    grad_delta = this->columns.at(args.grad_delta + (plane + kb) * map + this->channel);
    const int64_t BC_row =
        (this->tile * a.batch * a.paths + bk) * a.length * a.states + this->first_state;
    grad_BC = PairOfRows<NS>(args.grad_B + BC_row, args.grad_C + BC_row,
                             a.states - this->first_state);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) g[n] = Float(0.0f);
    if (args.grad_last_state != nullptr) this->load_states(args.grad_last_state, bk, g);
    if (this->active && this->chunk + 1 < this->d.chunks) {
      this->carry(args.chunk_ends, this->d.chunks - 1, this->chunk, -1, g);
    }
    // Sums over the lanes must not count channels that do not exist.
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) g[n] = select(this->columns.inside, g[n], Float(0.0f));
  }

  // From the end to the beginning.
  TINYVIM_DEVICE void stage_positions(int piece) { Base::stage_positions(reversed(piece)); }
  TINYVIM_DEVICE void stage_rows(int piece) { Base::stage_rows(reversed(piece)); }

  TINYVIM_DEVICE void walk(int piece) {
    if (!this->active) return;
    piece = reversed(piece);
    const int first = this->piece_begin(piece), count = this->piece_end(piece) - first;
    for (int i = (count - 1) / kCheckpoint * kCheckpoint; i >= 0; i -= kCheckpoint) {
      segment(first + i, i, count - i < kCheckpoint ? count - i : kCheckpoint);
    }
  }

  TINYVIM_DEVICE void finish() {
    if (!this->active) return;
    const auto& a = this->a;
    const auto& args = this->args;
    const int64_t row =
        (int64_t{this->batch} * this->d.chunks + this->chunk) * a.paths + this->path;
    this->store_states(args.grad_A, row, dA);
    const int64_t at = row * a.channels + this->channel;
    if (this->slice == 0) this->columns.store(this->columns.at(args.grad_D + at), dD);
    const int64_t plane =
        this->slice * a.batch * this->d.chunks * a.paths * a.channels;
    this->columns.store(this->columns.at(args.grad_bias + plane + at), dbias);
  }

 private:
  TINYVIM_DEVICE int reversed(int piece) const { return this->pieces() - 1 - piece; }

  // kCheckpoint times, or what is left of them, from time `t` on, which is i of the piece:
  // in parts, the last one first.
  TINYVIM_DEVICE void segment(int t, int i, int count) {
    const auto& a = this->a;
    const int64_t all = (a.length + kCheckpoint - 1) / kCheckpoint;
    const int64_t checkpoint = this->batch_path() * all + t / kCheckpoint;
    for (int first = (count - 1) / kGroup * kGroup; first >= 0; first -= kGroup) {
      this->load_states(this->args.checkpoints, checkpoint, h);
      for (int j = 0; j < first; j += kTogether) {
        Times<kTogether> times;
        Float dt[kTogether];
        this->fetch(i + j, times);
        this->steps(i + j, times, dt);
        TINYVIM_UNROLL_ALL
        for (int g = 0; g < kTogether; ++g) {
          this->advance(h, dt[g], times.x[g], this->coefficients(i + j + g));
        }
      }
      const int size = count - first < kGroup ? count - first : kGroup;
      if (size == kGroup) {
        part<kTogether>(i + first, kGroup);
      } else {
        part<1>(i + first, size);
      }
    }
  }

  // Up to kGroup times from `h`, the state before them, G at once.
  template <int G>
  TINYVIM_DEVICE void part(int i, int count) {
    Group<G> group;
    for (int j = 0; j < count; j += G) {
      prepare(i + j, group);
      TINYVIM_UNROLL_ALL
      for (int k = 0; k < G; ++k) save_and_advance(i, j + k, group.dt[k], group.t.x[k]);
    }
    for (int j = count - G; j >= 0; j -= G) {
      if (j + G < count) prepare(i + j, group);
      TINYVIM_UNROLL_ALL
      for (int k = G - 1; k >= 0; --k) back(i + j + k, j + k, group, k);
    }
  }

  template <int G>
  struct Group {
    Times<G> t;
    Float dt[G], derivative[G], dy[G];
  };
  template <int G>
  TINYVIM_DEVICE void prepare(int i, Group<G>& group) const {
    this->fetch(i, group.t);
    this->template fetch_dy<G>(group.t.position, group.dy);
    this->steps(i, group.t, group.dt, group.derivative);
  }
  TINYVIM_DEVICE float* slot(int j, int n) const { return saved + (j * NS + n) * TINYVIM_WARP; }
  TINYVIM_DEVICE void save_and_advance(int i, int j, const Float& dt, const Float& x) {
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) store_shared(slot(j, n), h[n]);
    this->advance(h, dt, x, this->coefficients(i + j));
  }

  // One time back: `h` is the state after it, slot j the state before it.
  template <int G>
  TINYVIM_DEVICE void back(int i, int j, const Group<G>& group, int k) {
    const auto& a = this->a;
    const Float dt = group.dt[k], x = group.t.x[k], dy = group.dy[k];
    const int position = group.t.position[k];
    const Float dt_x = dt * x;
    float b[NS], c[NS];
    broadcast<NS>(this->coefficients(i), b);
    broadcast<NS>(this->coefficients(i) + NS, c);
    Float sums[2 * NS];  // of this lane's channel: for B, then for C
    Float g_B(0.0f), q_A(0.0f);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) {
      const Float before = load_shared(slot(j, n));
      g[n] = fma(dy, Float(c[n]), g[n]);
      sums[n] = g[n] * dt_x;
      sums[NS + n] = dy * h[n];
      g_B = fma(g[n], Float(b[n]), g_B);
      g[n] = g[n] * exp2(dt * this->A[n]);
      const Float q = g[n] * before;
      q_A = fma(q, this->A[n], q_A);
      dA[n] = fma(q, dt, dA[n]);
      h[n] = before;
    }
    const Float draw = fma(g_B, x, q_A * Float(kLn2)) * group.derivative[k];
    dbias = dbias + draw;
    dD = fma(dy, x, dD);
    const Float dx = fma(dt, g_B, this->D * dy);
    const int row_bytes = this->state_bytes();
    this->columns.store(row_of(grad_x, position, row_bytes), dx);
    this->columns.store(row_of(grad_delta, position, row_bytes), draw);
    grad_BC.store(position, static_cast<int>(a.states * sizeof(float)),
                  sum_over_lanes<2 * NS>(sums));
  }
};

}  // namespace tinyvim
