// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// The arithmetic of TRM in float32 for WebAssembly with SIMD. `make web-kernels` builds it.
//
// Every product is one of weights as they lie in the file, rows of k numbers, with a panel: 8 columns of k numbers, side by
// side. A panel is gathered from the states by two strides, so one function mixes positions as well as channels, no
// weight is rearranged, and what is computed between two products stays in the first-level cache.
#include <wasm_simd128.h>
#define EXPORT(name) __attribute__((export_name(#name)))
enum { COLUMNS = 8, ROWS = 4 };
typedef float v4 __attribute__((vector_size(16), aligned(4)));
typedef unsigned long long u64;
#define SHARED static __attribute__((noinline))
extern unsigned char __heap_base;
__attribute__((import_module("math"), import_name("log"))) double natural_log(double);

EXPORT(heap_base) unsigned heap_base(void) { return (unsigned)&__heap_base; }

static inline v4 all(float x) { return (v4){x, x, x, x}; }
static inline v4 load(const float *p) { return *(const v4 *)p; }
static inline void store(float *p, v4 x) { *(v4 *)p = x; }
static inline v4 root(v4 x) { return (v4)wasm_f32x4_sqrt((v128_t)x); }

// e to the x: 2^n times the Taylor series of what is left, between -ln(2)/2 and ln(2)/2.
static inline v4 exponential(v4 x) {
  x = (v4)wasm_f32x4_min(wasm_f32x4_max((v128_t)x, wasm_f32x4_splat(-87)), wasm_f32x4_splat(88));
  v4 n = (v4)wasm_f32x4_nearest((v128_t)(x * all(1.44269504f)));
  x = x - n * all(0.693145752f) - n * all(1.42860677e-6f);  // ln(2) in two parts, the first exact when multiplied
  v4 sum = all(1.f / 5040);
  const float terms[] = {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1, 1};
#pragma clang loop unroll(full)
  for (int i = 0; i < 7; i++) sum = sum * x + all(terms[i]);
  v128_t exponent = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4((v128_t)n), wasm_i32x4_splat(127));
  return sum * (v4)wasm_i32x4_shl(exponent, 23);
}
static inline v4 sigmoid(v4 x) { return all(1) / (all(1) + exponential(-x)); }

// panel[i][c] <- source[i * row + c * column] for c < count, 0 beyond
SHARED void gather(float *panel, const float *source, int k, int count, int row, int column) {
  for (int i = 0; i < k; i++, source += row, panel += COLUMNS) {
    if (column == 1 && count >= COLUMNS) {
      store(panel, load(source));
      store(panel + 4, load(source + 4));
    } else
      for (int c = 0; c < COLUMNS; c++) panel[c] = c < count ? source[c * column] : 0;
  }
}

SHARED void scatter(float *target, const float *panel, int n, int count, int row, int column) {
  for (int i = 0; i < n; i++, target += row, panel += COLUMNS) {
    if (column == 1 && count >= COLUMNS) {
      store(target, load(panel));
      store(target + 4, load(panel + 4));
    } else
      for (int c = 0; c < count && c < COLUMNS; c++) target[c * column] = panel[c];
  }
}

static inline __attribute__((always_inline)) void some_rows(
    float *out, int out_row, const float *weights, int row, const float *panel, int k, int rows) {
  v4 low[ROWS], high[ROWS];
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++) low[r] = high[r] = all(0);
  for (int i = 0; i < k; i++, panel += COLUMNS) {
    v4 first = load(panel), second = load(panel + 4);
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++) {
      v4 weight = (v4)wasm_v128_load32_splat(weights + r * row + i);
      low[r] += weight * first;
      high[r] += weight * second;
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < rows; r++) {
    store(out + r * out_row, low[r]);
    store(out + r * out_row + 4, high[r]);
  }
}

// out[n][8] <- weights[n][k] * panel[k][8]; the rows of out and weights are so many numbers apart
SHARED void multiply(float *out, int out_row, const float *weights, int row, const float *panel, int n, int k) {
  int i = 0;
  for (; i + ROWS <= n; i += ROWS) some_rows(out + i * out_row, out_row, weights + i * row, row, panel, k, ROWS);
  for (; i < n; i++) some_rows(out + i * out_row, out_row, weights + i * row, row, panel, k, 1);
}

// out[rows][n] <- x[rows][k] * weights[n][k], transposed; scratch holds 8 * (k + n) numbers
EXPORT(linear) void linear(float *out, const float *x, const float *weights, float *scratch, int rows, int k, int n) {
  float *product = scratch + COLUMNS * k;
  for (int j = 0; j < rows; j += COLUMNS) {
    gather(scratch, x + j * k, k, rows - j, 1, k);
    multiply(product, COLUMNS, weights, k, scratch, n, k);
    scatter(out + j * n, product, n, rows - j, 1, n);
  }
}

// Adds `delta` to the panel and divides each of its columns by its root mean square.
SHARED void add_and_norm(float *panel, const float *delta, int n, float eps) {
  v4 low = all(0), high = all(0);
  for (float *p = panel, *end = panel + n * COLUMNS; p < end; p += COLUMNS, delta += COLUMNS) {
    v4 first = load(p) + load(delta), second = load(p + 4) + load(delta + 4);
    store(p, first), store(p + 4, second);
    low += first * first, high += second * second;
  }
  low = all(1) / root(low / all(n) + all(eps)), high = all(1) / root(high / all(n) + all(eps));
  for (float *p = panel, *end = panel + n * COLUMNS; p < end; p += COLUMNS)
    store(p, load(p) * low), store(p + 4, load(p + 4) * high);
}

// x <- norm(x + down(glu(up(x)))) along one axis of x: `size` numbers that are `row` apart, in `count` places that are
// `column` apart. up[2 * inner][size] makes gate and value, down[size][inner] takes silu(gate) * value, or normalised
// sigmoid(gate) * norm(gate * value). scratch holds 16 * (size + inner) numbers.
EXPORT(mix)
void mix(float *x, const float *up, const float *down, float *scratch, int size, int count, int row, int column, int inner,
         int normalize, float eps) {
  float *panel = scratch, *delta = panel + COLUMNS * size, *gate = delta + COLUMNS * size;
  for (int j = 0; j < count; j += COLUMNS) {
    gather(panel, x + j * column, size, count - j, row, column);
    multiply(gate, COLUMNS, up, size, panel, 2 * inner, size);
    v4 low = all(0), high = all(0);
    for (float *g = gate, *end = gate + inner * COLUMNS; g < end; g += COLUMNS) {
      const float *value = g + inner * COLUMNS;
      v4 first = load(g) * load(value), second = load(g + 4) * load(value + 4);
      low += first * first, high += second * second;
      store(g, first * sigmoid(load(g))), store(g + 4, second * sigmoid(load(g + 4)));
    }
    multiply(delta, COLUMNS, down, inner, gate, size, inner);
    if (normalize) {  // of the whole column, so it may come after the product
      low = all(1) / root(low / all(inner) + all(eps)), high = all(1) / root(high / all(inner) + all(eps));
      for (float *p = delta, *end = delta + size * COLUMNS; p < end; p += COLUMNS)
        store(p, load(p) * low), store(p + 4, load(p + 4) * high);
    }
    add_and_norm(panel, delta, size, eps);
    scatter(x + j * column, panel, size, count - j, row, column);
  }
}

// x[rows][n] <- norm(x + delta); without delta the norm alone
EXPORT(norm) void norm(float *x, const float *delta, int rows, int n, float eps) {
  for (; rows--; x += n) {
    float squares = 0;
    for (int i = 0; i < n; i++) {
      if (delta) x[i] += *delta++;
      squares += x[i] * x[i];
    }
    float scale = 1 / __builtin_sqrtf(squares / n + eps);
    for (int i = 0; i < n; i++) x[i] *= scale;
  }
}

EXPORT(add) void add(float *out, const float *a, const float *b, int n) {
  for (int i = 0; i < n; i++) out[i] = a[i] + b[i];
}

// out <- out + share * (old - out)
EXPORT(blend) void blend(float *out, const float *old, float share, int n) {
  for (int i = 0; i < n; i++) out[i] += share * (old[i] - out[i]);
}

// out[positions][symbols][size] <- the mean of the other symbols of the position
EXPORT(others) void others(float *out, const float *x, int positions, int symbols, int size) {
  for (; positions--; out += symbols * size, x += symbols * size)
    for (int i = 0; i < size; i++) {
      float sum = 0;
      for (int s = 0; s < symbols; s++) sum += x[s * size + i];
      for (int s = 0; s < symbols; s++) out[s * size + i] = (sum - x[s * size + i]) / (symbols - 1);
    }
}

// Turns pairs (i, i + size / 2) of each of `heads` heads by the angles of their place: x[length][row], angles[length][size / 2]
EXPORT(rotate)
void rotate(float *x, const float *cosine, const float *sine, int length, int row, int heads, int size) {
  for (; length--; x += row, cosine += size / 2, sine += size / 2)
    for (int h = 0; h < heads; h++)
      for (int i = 0; i < size / 2; i++) {
        float *first = x + h * size + i, *second = first + size / 2, a = *first, b = *second;
        *first = a * cosine[i] - b * sine[i];
        *second = b * cosine[i] + a * sine[i];
      }
}

// Self-attention of `length` places: queries, keys and values of all heads at qkv[place * row], the answer to
// out[place * out_row]. scratch holds (length + 8) * length + 16 * max(length, size) numbers.
EXPORT(attend)
void attend(float *out, const float *qkv, float *scratch, int length, int row, int out_row, int heads, int size) {
  int wide = (length + COLUMNS - 1) / COLUMNS * COLUMNS, whole = heads * size;
  float *panel = scratch + length * wide, *product = panel + COLUMNS * (length > size ? length : size);
  v4 scale = all(1 / __builtin_sqrtf(size));
  for (int h = 0; h < heads; h++, qkv += size, out += size) {
    for (int j = 0; j < length; j += COLUMNS) {
      gather(panel, qkv + whole + j * row, size, length - j, 1, row);
      multiply(scratch + j, wide, qkv, row, panel, length, size);
    }
    for (float *scores = scratch; scores < scratch + length * wide; scores += wide) {
      float top = scores[0];
      for (int i = 1; i < length; i++) top = scores[i] > top ? scores[i] : top;
      for (int i = length; i < wide; i++) scores[i] = -__builtin_inff();
      for (int i = 0; i < wide; i += 4) store(scores + i, exponential((load(scores + i) - all(top)) * scale));
      float total = 0;
      for (int i = 0; i < length; i++) total += scores[i];
      for (int i = 0; i < length; i++) scores[i] /= total;
    }
    for (int j = 0; j < size; j += COLUMNS) {
      gather(panel, qkv + 2 * whole + j, length, size - j, row, 1);
      multiply(product, COLUMNS, scratch, wide, panel, length, length);
      scatter(out + j, product, length, size - j, out_row, 1);
    }
  }
}

// Random numbers, as in randomness_trm.py

static inline u64 mixed(u64 x) {  // the splitmix64 finaliser
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

SHARED float inverse_erf(float x) {  // M. Giles, "Approximating the erfinv function", 2010
  static const float near_zero[] = {2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f,
                                    -0.00125372503f, -0.00417768164f, 0.246640727f, 1.50140941f},
                     near_one[] = {-0.000200214257f, 0.000100950558f, 0.00134934322f, -0.00367342844f, 0.00573950773f,
                                   -0.0076224613f, 0.00943887047f, 1.00167406f, 2.83297682f};
  float w = -natural_log((1 - x) * (1 + x)), at = w < 5 ? w - 2.5f : __builtin_sqrtf(w) - 3;
  const float *coefficients = w < 5 ? near_zero : near_one;
  float value = coefficients[0];
  for (int i = 1; i < 9; i++) value = value * at + coefficients[i];
  return x * value;
}

// x[i] <- keep * x[i] + deviation * a standard normal number. `key` names them all; they are cut where their distribution
// leaves `range` in the middle, so 1 for not at all. Half a word of random bits makes one.
EXPORT(normals) void normals(float *x, u64 key, int count, float keep, float deviation, float range) {
  u64 word = 0;
  for (int i = 0; i < count; i++) {
    if (!(i & 1)) word = mixed(key + (i / 2 + 1) * 0x9E3779B97F4A7C15u) >> 1;
    unsigned half = i & 1 ? word >> 16 & 0x7FFFFF : word >> 40;
    float symmetric = (half + 0.5f) * 0x1p-22f - 1;
    x[i] = keep * x[i] + deviation * (1.41421356f * inverse_erf(symmetric * range));
  }
}
