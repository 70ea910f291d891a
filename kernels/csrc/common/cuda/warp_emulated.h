// The types of warp.cuh, which includes this, without a GPU.
#pragma once

namespace tinyvim {

inline float to_float(float v) { return v; }
inline float to_float(BFloat16 v) {
  const uint32_t bits = uint32_t{v.bits} << 16;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}
inline float to_float(Half v) {
  const int exponent = v.bits >> 10 & 31, fraction = v.bits & 1023;
  const float size = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(1024.0f + fraction, exponent - 25);
  return v.bits & 0x8000 ? -size : size;
}
inline void from_float(float v, float* to) { *to = v; }
inline void from_float(float v, BFloat16* to) {
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  // To nearest, ties to even; NaN stays one.
  bits = v != v ? 0x7fc00000u : bits + 0x7fffu + (bits >> 16 & 1);
  to->bits = static_cast<uint16_t>(bits >> 16);
}
inline void from_float(float v, Half* to) {
  const uint16_t sign = std::signbit(v) ? 0x8000 : 0;
  const float size = std::fabs(v);
  if (v != v) {
    to->bits = 0x7e00;
  } else if (size >= 65520.0f) {
    to->bits = sign | 0x7c00;
  } else {
    int exponent = -14;
    if (size >= 6.103515625e-5f) exponent = std::ilogb(size);
    // Rounds to nearest, ties to even; a carry into the exponent is what it should be.
    const int units = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));
    to->bits = static_cast<uint16_t>(sign | ((exponent + 14) * 1024 + units));
  }
}

template <typename T>
struct Lanes {
  T v[TINYVIM_WARP];
  Lanes() : v{} {}
  Lanes(T s) {  // NOLINT: a scalar is the same in every lane
    for (T& e : v) e = s;
  }
  template <typename F>
  static Lanes make(const F& f) {
    Lanes r;
    for (int i = 0; i < TINYVIM_WARP; ++i) r.v[i] = f(i);
    return r;
  }
  friend Lanes operator+(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] + b.v[i]; });
  }
  friend Lanes operator*(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] * b.v[i]; });
  }
  friend Lanes<bool> operator>(const Lanes& a, const Lanes& b) {
    return Lanes<bool>::make([&](int i) { return a.v[i] > b.v[i]; });
  }
  friend Lanes operator&&(const Lanes& a, const Lanes& b) {
    return make([&](int i) { return a.v[i] && b.v[i]; });
  }
};

using Float = Lanes<float>;
using Mask = Lanes<bool>;

inline int kept(int v) { return v; }

template <typename F>
void each_lane(const F& f) {
  for (int lane = 0; lane < TINYVIM_WARP; ++lane) f(lane);
}
template <typename T>
T read_only(const T* p) {
  return *p;
}
template <typename P>
P* at_lane(P* p) {
  return p;
}
inline Mask lanes_below(int64_t n) {
  return Mask::make([&](int i) { return i < n; });
}
inline Mask lanes_with(int bit) {
  return Mask::make([&](int i) { return (i & bit) != 0; });
}
inline Float select(const Mask& m, const Float& a, const Float& b) {
  return Float::make([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; });
}
inline Float fma(const Float& a, const Float& b, const Float& c) {
  return Float::make([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
}
inline Float abs(const Float& x) {
  return Float::make([&](int i) { return std::fabs(x.v[i]); });
}
inline Float positive(const Float& x) {
  return Float::make([&](int i) { return std::fmax(x.v[i], 0.0f); });
}
inline Float exp2(const Float& x) {
  return Float::make([&](int i) { return std::exp2(x.v[i]); });
}
inline Float reciprocal(const Float& x) {
  return Float::make([&](int i) { return 1.0f / x.v[i]; });
}
template <typename T>
void store(T* p, const Float& v, const Mask& m) {
  for (int i = 0; i < TINYVIM_WARP; ++i) {
    if (m.v[i]) from_float(v.v[i], p + i);
  }
}
struct Columns {
  Mask inside;
  int count;

  Columns() = default;
  explicit Columns(int64_t n)
      : inside(lanes_below(n)), count(n < TINYVIM_WARP ? static_cast<int>(n) : TINYVIM_WARP) {}
  template <typename P>
  P* at(P* p) const {
    return p;
  }
  template <typename T>
  Float load(const T* p) const {
    return Float::make([&](int i) { return to_float(p[i < count ? i : count - 1]); });
  }
  template <typename T>
  void store(T* p, const Float& v) const {
    tinyvim::store(p, v, inside);
  }
};
inline Float load_shared(const float* p) {
  return Float::make([&](int i) { return p[i]; });
}
inline void store_shared(float* p, const Float& v) { store(p, v, Mask(true)); }
template <typename T, typename S>
void broadcast4(const T* p, S out[4]) {
  for (int i = 0; i < 4; ++i) out[i] = p[i];
}
inline Float shuffle_xor(const Float& v, int lanes) {
  return Float::make([&](int i) { return v.v[i ^ lanes]; });
}

template <int NS>
struct PairOfRows {
  float* first;
  float* second;
  Mask exists;

  PairOfRows() = default;
  PairOfRows(float* a, float* b, int64_t count) : first(a), second(b - NS) {
    exists = Mask::make([&](int i) { return i % NS < count && i < 2 * NS; });
  }
  void store(int index, int row_bytes, const Float& v) const {
    const Mask lower = lanes_below(NS);
    const Mask upper = Mask::make([&](int i) { return i >= NS; });
    tinyvim::store(row_of(first, index, row_bytes), v, exists && lower);
    tinyvim::store(row_of(second, index, row_bytes), v, exists && upper);
  }
};

}  // namespace tinyvim
