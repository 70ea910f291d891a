// How a scan is divided among the blocks of a GPU: data, decided from shapes and the size
// of the GPU alone, never from values. The same for a GPU and for the emulation.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda_args.h"

namespace tinyvim {

// Times that are worked on together, so that their loads and exponentials overlap.
constexpr int kGroup = 8;
constexpr int kWarpLanes = 32;

// What the plans need to know of a GPU.
struct Gpu {
  int64_t multiprocessors;
  int64_t shared_bytes;  // that one block may have
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// States in registers for N states: the smallest of 1, 4, 8, 16 that holds them, else
// slices of 16.
inline int register_states(int64_t states) {
  return states <= 1 ? 1 : states <= 4 ? 4 : states <= 8 ? 8 : 16;
}
inline int64_t state_slices(int64_t states) { return ceil_div(states, register_states(states)); }
inline int64_t channel_tiles(int64_t channels) { return ceil_div(channels, kWarpLanes); }

// Shared memory that every GPU gives without being asked.
constexpr int64_t kPlainSharedBytes = 48 * 1024;
constexpr int kMaxWarps = 16;  // of a block of the forward pass
constexpr int kMaxBackwardWarps = 4;
constexpr int kMaxPiece = 64;
constexpr int kMinChunk = 2 * kCheckpoint;

inline void complete(Division& d, int64_t batch, int64_t units) {
  d.unit_groups = static_cast<int>(ceil_div(d.all_units, units));
  d.units = static_cast<int>(units);
  d.warps = d.paths * d.units;
  d.blocks = batch * d.path_groups * d.chunks * d.unit_groups;
  const int64_t rows = int64_t{d.paths} * d.piece;
  d.shared_bytes =
      4 * (rows * (1 + d.rank + d.row_floats) + int64_t{d.warps} * d.own_floats);
}

// One path and some units to a block, in chunks if whole paths were too few warps: beyond
// `busy` a multiprocessor, chunks cost more than they give.
template <typename T>
Division divide_paths(const CudaScanArgs<T>& a, const Gpu& gpu, int64_t busy, int max_warps,
                      int64_t own_floats) {
  Division d{};
  const int registers = register_states(a.states);
  d.slices = static_cast<int>(state_slices(a.states));
  d.all_units = static_cast<int>(channel_tiles(a.channels)) * d.slices;
  d.rank = a.delta != nullptr ? 0 : static_cast<int>(a.rank);
  d.row_floats = static_cast<int>(round_up(2 * d.slices * registers, 4));
  d.own_floats = static_cast<int>(own_floats);
  d.paths = 1;
  d.path_groups = static_cast<int>(a.paths);

  const int64_t warps = a.batch * a.paths * d.all_units;
  int64_t chunk = round_up(a.length, kCheckpoint);
  if (warps < busy * gpu.multiprocessors && a.length >= 2 * kMinChunk) {
    // As many as fill the GPU. A warp looks at all chunks before its own, so that chunks
    // far shorter than the square root of the length cost more than they save.
    const int64_t wanted = ceil_div(12 * gpu.multiprocessors, warps);
    const int64_t shortest = static_cast<int64_t>(std::sqrt(a.length / 4.0));
    const int64_t wish = std::max({ceil_div(a.length, wanted), shortest, int64_t{kMinChunk}});
    chunk = std::min(round_up(wish, kCheckpoint), chunk);
  }
  d.chunk = static_cast<int>(chunk);
  d.chunks = static_cast<int>(ceil_div(a.length, chunk));

  // Units of a block share its rows; but blocks shall be enough for all multiprocessors.
  int64_t groups = ceil_div(d.all_units, max_warps);
  const int64_t others = a.batch * a.paths * d.chunks;
  while (groups < d.all_units && others * groups < 2 * gpu.multiprocessors) ++groups;
  int64_t units = ceil_div(d.all_units, groups);
  d.piece = static_cast<int>(std::min<int64_t>(chunk, kMaxPiece));
  complete(d, a.batch, units);
  // What every GPU has leaves room for several blocks on a larger one.
  while (d.shared_bytes > std::min(kPlainSharedBytes, gpu.shared_bytes) &&
         d.piece > kCheckpoint) {
    d.piece -= kCheckpoint;
    complete(d, a.batch, units);
  }
  while (d.shared_bytes > gpu.shared_bytes && units > 1) complete(d, a.batch, --units);
  return d;
}

struct ForwardPlan {
  // Blocks have all paths, which are summed in shared memory. Else each plane (slice,
  // batch, path) is written out, and the planes are summed afterwards if there are several.
  bool fused;
  bool planes;
  Division division;
};

// `with_y`: whether y is computed, or states alone.
template <typename T>
ForwardPlan plan_forward(const CudaScanArgs<T>& a, const Gpu& gpu, bool with_y) {
  Division d = divide_paths(a, gpu, 3, kMaxWarps / 2, 0);
  const int64_t planes = a.paths * d.slices;
  const ForwardPlan apart{false, a.sum_paths ? planes > 1 : d.slices > 1, d};
  if (!with_y || !a.sum_paths || planes > kMaxWarps || a.length > 1024) return apart;
  // A fused block keeps planes of whole paths. It pays where a multiprocessor then still
  // holds enough warps to be busy; with several tiles to a block they share its rows.
  const int64_t all_tiles = d.all_units / d.slices;
  d.chunk = static_cast<int>(round_up(a.length, kCheckpoint));
  d.chunks = 1;
  d.paths = static_cast<int>(a.paths);
  d.path_groups = 1;
  d.own_floats = static_cast<int>(a.length * kWarpLanes);
  d.piece = std::min(d.chunk, kMaxPiece);
  Division best{};
  int64_t best_warps = 0;
  for (int64_t tiles = 1; tiles * planes <= kMaxWarps && tiles <= all_tiles; ++tiles) {
    if (tiles > 1 && a.batch * ceil_div(all_tiles, tiles) < 2 * gpu.multiprocessors) break;
    complete(d, a.batch, tiles * d.slices);
    if (d.shared_bytes > gpu.shared_bytes) break;
    const int64_t resident = std::min<int64_t>(gpu.shared_bytes / d.shared_bytes * d.warps, 16);
    // Idle warps of the last group of tiles do not count.
    const int64_t warps = resident * d.all_units / (d.unit_groups * d.units);
    if (warps >= best_warps) {
      best = d;
      best_warps = warps;
    }
  }
  const bool pays = best_warps >= 8 || (best_warps > 0 && a.length < 2 * kMinChunk);
  return pays ? ForwardPlan{true, false, best} : apart;
}

// States that a warp of the backward pass holds at once, in shared memory.
inline int64_t saved_floats(int64_t states) {
  return int64_t{kGroup} * register_states(states) * kWarpLanes;
}

template <typename T>
Division plan_backward(const CudaScanArgs<T>& a, const Gpu& gpu) {
  return divide_paths(a, gpu, 6, kMaxBackwardWarps, saved_floats(a.states));
}

}  // namespace tinyvim
