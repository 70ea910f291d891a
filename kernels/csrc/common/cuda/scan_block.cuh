// What the scan kernels have in common: which part of the work a warp of a block does, the
// rows that its block brings into shared memory, and the step sizes.
//
// Lanes are 32 neighboring channels; each keeps its states in registers and walks along one
// path. Nothing is atomic and every sum has a fixed order: results repeat bit by bit.
#pragma once
#include "../scan_path.h"
#include "scan_plan.h"
#include "warp.cuh"

namespace tinyvim {

// NS floats that all lanes share.
template <int NS>
TINYVIM_DEVICE void broadcast(const float* p, float out[NS]) {
  if (NS % 4 == 0) {
    TINYVIM_UNROLL_ALL
    for (int n = 0; n + 4 <= NS; n += 4) broadcast4(p + n, out + n);
  } else {
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) out[n] = p[n];
  }
}

// Some times of a path, worked on together.
template <int G>
struct Times {
  int position[G];
  Float x[G], raw[G];  // raw: of the step size, before bias if it was read
};

// One warp of a block, see Division.
template <typename T, int NS>
struct BlockScan {
  const CudaScanArgs<T>& a;
  const Division& d;
  int batch, path, chunk, tile, slice, first_state;
  int states;         // of the slice
  int begin, end;     // of the chunk
  bool active;        // whether there is such a unit
  int local, member;  // path within the block, unit within the block
  Columns columns;
  float* shared;      // memory of the block, and what of it belongs to this warp's path:
  int positions_at, low_at, rows_at;
  int own_at;         // and to the warp alone
  // At the lane, for position 0.
  const T* x;
  const T* delta;
  const float* weight;
  int64_t channel;  // of lane 0
  Float A[NS];      // times log2(e): exp(dt A) = 2^(dt A log2(e))
  Float bias, D;

  TINYVIM_DEVICE BlockScan(const CudaScanArgs<T>& args, const Division& division, uint32_t block,
                           int warp, float* shared)
      : a(args), d(division), shared(shared) {
    // Neighboring blocks share an image and a path.
    const int first_unit = block % d.unit_groups * d.units;
    block /= d.unit_groups;
    const int first_path = block % d.path_groups * d.paths;
    block /= d.path_groups;
    chunk = block % d.chunks;
    batch = block / d.chunks;
    local = warp / d.units;
    member = warp % d.units;
    path = first_path + local;
    active = first_unit + member < d.all_units;
    const int unit = active ? first_unit + member : d.all_units - 1;
    tile = unit / d.slices;
    slice = unit % d.slices;
    first_state = slice * NS;
    states = a.states - first_state < NS ? static_cast<int>(a.states) - first_state : NS;
    begin = chunk * d.chunk;
    end = begin + d.chunk < a.length ? begin + d.chunk : static_cast<int>(a.length);

    // All in floats, and pieces are multiples of four times: aligned to 16 bytes.
    const int all = d.paths * d.piece, mine = local * d.piece;
    positions_at = kept(mine);
    low_at = kept(all + mine * d.rank);
    rows_at = kept(all * (1 + d.rank) + mine * d.row_floats);
    own_at = kept(own_of(warp));

    channel = int64_t{tile} * TINYVIM_WARP;
    columns = Columns(a.channels - channel);
    x = columns.at(a.x + batch * a.x_strides.batch + path * a.x_strides.path + channel);
    delta = nullptr;
    if (a.delta != nullptr) {
      delta = columns.at(a.delta + batch * a.step_strides.batch + path * a.step_strides.path +
                         channel);
    }
    weight = columns.at(a.dt_weight + path * a.rank * a.channels + channel);
    const int64_t row = path * a.channels + channel;
    bias = a.bias != nullptr ? columns.load(columns.at(a.bias + row)) : Float(0.0f);
    // The skip belongs to one slice of states only.
    D = a.D != nullptr && slice == 0 ? columns.load(columns.at(a.D + row)) : Float(0.0f);
    load_states(a.A, path, A);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) A[n] = A[n] * Float(kLog2e);
  }

  // Where this warp's states are in a tensor (index, state, channel), and how far apart.
  template <typename P>
  TINYVIM_DEVICE P* states_of(P* p, int64_t index) const {
    return columns.at(p + (index * a.states + first_state) * a.channels + channel);
  }
  TINYVIM_DEVICE int state_bytes() const { return static_cast<int>(a.channels * sizeof(float)); }
  TINYVIM_DEVICE int64_t batch_path() const { return batch * a.paths + path; }
  TINYVIM_DEVICE int own_of(int warp) const {
    return d.paths * d.piece * (1 + d.rank + d.row_floats) + warp * d.own_floats;
  }
  TINYVIM_DEVICE int32_t* positions() const {
    return reinterpret_cast<int32_t*>(shared + positions_at);
  }
  // dt_low from time i of the piece on: kGroup times of the first rank, then of the next ...
  TINYVIM_DEVICE const float* low(int i) const {
    return shared + low_at + i / kGroup * kGroup * d.rank + i % kGroup;
  }
  // B of this slice at time i of the piece, followed by C; the next time is row_floats on.
  TINYVIM_DEVICE const float* coefficients(int i) const {
    return shared + rows_at + i * d.row_floats + slice * 2 * NS;
  }

  TINYVIM_DEVICE int pieces() const { return (end - begin + d.piece - 1) / d.piece; }
  TINYVIM_DEVICE int piece_begin(int piece) const { return begin + piece * d.piece; }
  TINYVIM_DEVICE int piece_end(int piece) const {
    const int e = begin + (piece + 1) * d.piece;
    return e < end ? e : end;
  }

  // Shared memory gets the positions of a piece of each path, ...
  TINYVIM_DEVICE void stage_positions(int piece) {
    const int first = piece_begin(piece), count = piece_end(piece) - first;
    const int code = a.ordered ? a.codes[path] : 0;
    int32_t* to = positions();
    each_lane([&](int lane) {
      for (int i = member * TINYVIM_WARP + lane; i < count; i += d.units * TINYVIM_WARP) {
        int p;
        if (a.positions != nullptr) {
          p = read_only(a.positions + path * a.length + first + i);
          // Nobody has looked into the table: the results of a wrong one are wrong, but
          // nothing outside of the map is touched.
          if (p < 0 || p >= a.length) p = 0;
        } else {
          p = path_position(code, first + i, a.height, a.width);
        }
        to[i] = p;
      }
    });
  }
  // ... then, when all warps have done that, what all channels need, in the order of time: a
  // lane copies one column of dt_low, B or C.
  TINYVIM_DEVICE void stage_rows(int piece) {
    const int count = piece_end(piece) - piece_begin(piece);
    const int32_t* position = positions();
    each_lane([&](int lane) {
      for (int column = lane; column < d.rank + d.row_floats; column += TINYVIM_WARP) {
        const float* from = nullptr;  // of a column that is nothing but padding
        float* to;
        int bytes = 0, step, steps;  // from time to time in shared memory, and kGroup times
        if (column < d.rank) {
          from = at(a.dt_low, a.step_strides, column);
          bytes = a.step_row;
          to = shared + low_at + column * kGroup;
          step = 1;
          steps = kGroup * d.rank;
        } else {
          const int i = column - d.rank, of_slice = i % (2 * NS);
          const int state = i / (2 * NS) * NS + of_slice % NS;
          if (i < d.slices * 2 * NS && state < a.states) {
            const bool is_B = of_slice < NS;
            from = is_B ? at(a.B, a.B_strides, state) : at(a.C, a.C_strides, state);
            bytes = is_B ? a.B_row : a.C_row;
          }
          to = shared + rows_at + i;
          step = d.row_floats;
          steps = kGroup * step;
        }
        // Warps take turns with kGroup rows, whose loads overlap.
        for (int r = member * kGroup; r < count; r += d.units * kGroup) {
          float* group = to + r / kGroup * steps;
          if (r + kGroup <= count) {
            float values[kGroup];
            TINYVIM_UNROLL_ALL
            for (int g = 0; g < kGroup; ++g) {
              values[g] =
                  from != nullptr ? read_only(row_of(from, position[r + g], bytes)) : 0.0f;
            }
            TINYVIM_UNROLL_ALL
            for (int g = 0; g < kGroup; ++g) group[g * step] = values[g];
          } else {
            TINYVIM_UNROLL_1
            for (int g = 0; r + g < count; ++g) {
              group[g * step] =
                  from != nullptr ? read_only(row_of(from, position[r + g], bytes)) : 0.0f;
            }
          }
        }
      }
    });
  }

  // Begins to read what times i to i + G of the piece need.
  template <int G>
  TINYVIM_DEVICE void fetch(int i, Times<G>& t) const {
    if (G % 4 == 0) {
      TINYVIM_UNROLL_ALL
      for (int g = 0; g + 4 <= G; g += 4) broadcast4(positions() + i + g, t.position + g);
    } else {
      TINYVIM_UNROLL_ALL
      for (int g = 0; g < G; ++g) t.position[g] = positions()[i + g];
    }
    TINYVIM_UNROLL_ALL
    for (int g = 0; g < G; ++g) t.x[g] = columns.load(row_of(x, t.position[g], a.x_row));
    if (delta == nullptr) return;
    TINYVIM_UNROLL_ALL
    for (int g = 0; g < G; ++g) t.raw[g] = columns.load(row_of(delta, t.position[g], a.step_row));
  }
  // Adds what some ranks contribute to the step sizes.
  template <int RANKS, int G>
  TINYVIM_DEVICE void add_ranks(int i, int r, Float dt[G]) const {
    const float* w = row_of(weight, r, state_bytes());
    Float factor[RANKS];
    TINYVIM_UNROLL_ALL
    for (int j = 0; j < RANKS; ++j) factor[j] = columns.load(row_of(w, j, state_bytes()));
    TINYVIM_UNROLL_ALL
    for (int j = 0; j < RANKS; ++j) {
      float values[G];
      broadcast<G>(low(i) + (r + j) * kGroup, values);
      TINYVIM_UNROLL_ALL
      for (int g = 0; g < G; ++g) dt[g] = fma(Float(values[g]), factor[j], dt[g]);
    }
  }
  // Their step sizes, and the derivatives by what softplus is taken of.
  template <int G>
  TINYVIM_DEVICE void steps(int i, const Times<G>& t, Float dt[G],
                            Float* derivative = nullptr) const {
    if (delta != nullptr) {
      TINYVIM_UNROLL_ALL
      for (int g = 0; g < G; ++g) dt[g] = t.raw[g] + bias;
    } else {
      TINYVIM_UNROLL_ALL
      for (int g = 0; g < G; ++g) dt[g] = bias;
      // Three ranks at once overlap their loads; ranks are often multiples of three.
      int r = 0;
      TINYVIM_UNROLL_1
      for (; r + 3 <= d.rank; r += 3) add_ranks<3, G>(i, r, dt);
      TINYVIM_UNROLL_1
      for (; r < d.rank; ++r) add_ranks<1, G>(i, r, dt);
    }
    if (a.softplus) {
      TINYVIM_UNROLL_ALL
      for (int g = 0; g < G; ++g) {
        dt[g] = softplus(dt[g], derivative == nullptr ? nullptr : derivative + g);
      }
    } else if (derivative != nullptr) {
      TINYVIM_UNROLL_ALL
      for (int g = 0; g < G; ++g) derivative[g] = Float(1.0f);
    }
  }
  // h becomes the state after a time with these coefficients().
  TINYVIM_DEVICE void advance(Float h[NS], const Float& dt, const Float& x_t,
                              const float* B) const {
    const Float dt_x = dt * x_t;
    float b[NS];
    broadcast<NS>(B, b);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) h[n] = fma(exp2(dt * A[n]), h[n], dt_x * Float(b[n]));
  }

  // What reaches a chunk from the chunks before it (first = 0) or behind it, each of which
  // left `values` and a sum of step sizes: H = exp(A S_i) H + h_i, in the order of i. Their
  // values (slice, batch, path, chunk, NS + 1, channel) end with the sum.
  TINYVIM_DEVICE void carry(const float* left, int first, int last, int direction,
                            Float h[NS]) const {
    const int bytes = state_bytes();
    TINYVIM_UNROLL_4
    for (int i = first; i != last; i += direction) {
      const float* p = chunk_of(left, i);
      const Float sum = columns.load(row_of(p, NS, bytes));
      TINYVIM_UNROLL_ALL
      for (int n = 0; n < NS; ++n) {
        h[n] = fma(exp2(sum * A[n]), h[n], columns.load(row_of(p, n, bytes)));
      }
    }
  }
  // What this chunk leaves for carry().
  TINYVIM_DEVICE void leave(float* left, const Float h[NS], const Float& dt_sum) const {
    float* p = chunk_of(left, chunk);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) columns.store(row_of(p, n, state_bytes()), h[n]);
    columns.store(row_of(p, NS, state_bytes()), dt_sum);
  }
  TINYVIM_DEVICE void store_states(float* to, int64_t index, const Float h[NS]) const {
    float* p = states_of(to, index);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) {
      if (n < states) columns.store(row_of(p, n, state_bytes()), h[n]);
    }
  }
  // Zero where there is no such state.
  TINYVIM_DEVICE void load_states(const float* from, int64_t index, Float h[NS]) const {
    const float* p = states_of(from, index);
    TINYVIM_UNROLL_ALL
    for (int n = 0; n < NS; ++n) {
      const bool exists = n < states;
      const Float value = columns.load(row_of(p, exists ? n : 0, state_bytes()));
      h[n] = exists ? value : Float(0.0f);
    }
  }

 private:
  template <typename P>
  TINYVIM_DEVICE P* chunk_of(P* left, int i) const {
    const int64_t index = (slice * a.batch * a.paths + batch_path()) * d.chunks + i;
    return columns.at(left + index * (NS + 1) * a.channels + channel);
  }
  TINYVIM_DEVICE const float* at(const float* p, const Strides& s, int column) const {
    return p + batch * s.batch + path * s.path + column;
  }
};

}  // namespace tinyvim
