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

inline void complete(Division& d, int64_t batch) {
  d.warps = d.paths * d.slices * d.tiles;
  d.blocks = batch * d.path_groups * d.chunks * d.tile_groups;
  const int64_t rows = int64_t{d.paths} * d.piece;
  d.shared_bytes = 4 * (round_up(rows, 4) + rows * d.row_floats + d.warps * d.own_floats);
}

// One path and some tiles to a block, in chunks if whole paths were too few warps: up to
// `busy` a multiprocessor, chunks cost more than they give.
template <typename T>
Division divide_paths(const CudaScanArgs<T>& a, const Gpu& gpu, int64_t busy, int max_warps,
                      int64_t own_floats) {
  Division d{};
  d.slices = static_cast<int>(state_slices(a.states));
  d.all_tiles = static_cast<int>(channel_tiles(a.channels));
  d.low_floats = a.delta != nullptr ? 0 : static_cast<int>(round_up(a.rank, 4));
  d.state_floats = d.slices * register_states(a.states);
  d.row_floats = static_cast<int>(round_up(d.low_floats + 2 * d.state_floats, 4));
  d.own_floats = own_floats;
  d.paths = 1;
  d.path_groups = static_cast<int>(a.paths);

  const int64_t warps = a.batch * a.paths * d.slices * d.all_tiles;
  int64_t chunk = round_up(a.length, kCheckpoint);
  if (warps < busy * gpu.multiprocessors && a.length >= 2 * kMinChunk) {
    // As many as fill the GPU. A warp looks at all chunks before its own, so that chunks
    // far shorter than the square root of the length cost more than they save.
    const int64_t wanted = ceil_div(12 * gpu.multiprocessors, warps);
    const int64_t shortest = static_cast<int64_t>(std::sqrt(a.length / 4.0));
    chunk = std::max({ceil_div(a.length, wanted), shortest, int64_t{kMinChunk}});
    chunk = std::min(round_up(chunk, kCheckpoint), round_up(a.length, kCheckpoint));
  }
  d.chunk = static_cast<int>(chunk);
  d.chunks = static_cast<int>(ceil_div(a.length, chunk));

  // Tiles of a block share its rows; but blocks shall be enough for all multiprocessors,
  // and slices of the same tile stay together.
  int64_t together = std::max(1, max_warps / d.slices);
  together = std::min<int64_t>(together, d.all_tiles);
  while (together > 1 && a.batch * a.paths * d.chunks * ceil_div(d.all_tiles, together) <
                             2 * gpu.multiprocessors) {
    together = ceil_div(together, 2);
  }
  d.tile_groups = static_cast<int>(ceil_div(d.all_tiles, together));
  d.tiles = static_cast<int>(ceil_div(d.all_tiles, d.tile_groups));
  d.piece = static_cast<int>(std::min<int64_t>(chunk, kMaxPiece));
  complete(d, a.batch);
  while (d.shared_bytes > std::min(kPlainSharedBytes, gpu.shared_bytes) &&
         d.piece > kCheckpoint) {
    d.piece -= kCheckpoint;
    complete(d, a.batch);
  }
  return d;
}

struct ForwardPlan {
  // Blocks have all paths, which are summed in shared memory. Else each plane (slice,
  // batch, path) is written out, and the planes are summed afterwards if there are several.
  bool fused;
  bool planes;
  Division division;
};

template <typename T>
ForwardPlan plan_forward(const CudaScanArgs<T>& a, const Gpu& gpu) {
  Division d = divide_paths(a, gpu, 3, kMaxWarps / 2, 0);
  const int64_t planes = a.paths * d.slices;
  const ForwardPlan apart{false, a.sum_paths ? planes > 1 : d.slices > 1, d};
  if (!a.sum_paths || a.paths == 1 || planes > kMaxWarps) return apart;
  // A fused block keeps planes of whole paths. It pays where a multiprocessor then still
  // holds enough warps to be busy; with several tiles to a block they share its rows.
  d.chunk = static_cast<int>(round_up(a.length, kCheckpoint));
  d.chunks = 1;
  d.paths = static_cast<int>(a.paths);
  d.path_groups = 1;
  d.own_floats = a.length * kWarpLanes;
  d.piece = static_cast<int>(std::min<int64_t>(d.chunk, kMaxPiece));
  Division best{};
  int64_t best_warps = 0;
  for (int64_t tiles = 1; tiles * planes <= kMaxWarps && tiles <= d.all_tiles; ++tiles) {
    if (tiles > 1 && a.batch * ceil_div(d.all_tiles, tiles) < 2 * gpu.multiprocessors) break;
    d.tile_groups = static_cast<int>(ceil_div(d.all_tiles, tiles));
    d.tiles = static_cast<int>(ceil_div(d.all_tiles, d.tile_groups));
    complete(d, a.batch);
    if (d.shared_bytes > gpu.shared_bytes) break;
    const int64_t resident = std::min<int64_t>(gpu.shared_bytes / d.shared_bytes * d.warps, 24);
    // Idle warps of the last group of tiles do not count.
    const int64_t busy = resident * d.all_tiles / (d.tile_groups * d.tiles);
    if (busy > best_warps || (busy == best_warps && d.tiles > best.tiles)) {
      best = d;
      best_warps = busy;
    }
  }
  return best_warps >= 8 || (best_warps > 0 && a.length < 2 * kMinChunk)
             ? ForwardPlan{true, false, best}
             : apart;
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
