// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// TRM from the files that `save_pretrained` writes, one puzzle at a time. The names are those of modeling_trm.py.
import { KERNELS } from "./kernels.js";
import { fingerprint, normalsKey, randomBits } from "./random.js";

export const FILES = ["config.json", "processor_config.json", "model.safetensors"];
const TRUNCATED_DEVIATION = 0.8796256610342398, INSIDE_TWO_DEVIATIONS = 0.9544997361036416;
const ABSENT = { num_answer_layers: 0, num_symbols: 0, symbol_mixer: "mean" };  // what a config.json of before had no field for

// A puzzle or a model that is none: the message is for the person.
export class UserError extends Error {}

const kernelBytes = () => Uint8Array.from(atob(KERNELS), (c) => c.charCodeAt(0));
export const isSupported = () => typeof WebAssembly === "object" && WebAssembly.validate(kernelBytes());

export class Model {
  // config: the parsed config.json; weights: of `readSafetensors`.
  static async create(config, weights) {
    const { instance } = await WebAssembly.instantiate(kernelBytes(), { math: { log: Math.log } });
    return new Model(config, weights, instance.exports);
  }

  constructor(config, weights, kernels) {
    if (config.model_type !== "trm") throw new UserError(`this is a model of type ${config.model_type}, not trm`);
    const c = { ...ABSENT, ...config };
    Object.assign(this, { config: c, kernels, top: kernels.heap_base() });
    const H = c.hidden_size, S = c.num_symbols || 1, T = c.token_mixer_intermediate_size;
    const prefix = (this.prefix = c.num_puzzle_tokens + c.num_register_tokens), L = (this.length = prefix + c.seq_len);
    Object.assign(this, { H, S, size: L * S * H });  // of a state: [length, symbols, hidden]

    const tensor = (name, ...shape) => {
      const found = weights[name];
      if (!found) throw new UserError(`model.safetensors has no ${name}`);
      if (String(found.shape) !== String(shape)) throw new UserError(`${name} is [${found.shape}], but config.json asks for [${shape}]`);
      return found.data;
    };
    const weight = (name, ...shape) => this.put(tensor(`${name}.weight`, ...shape));
    const layer = (at) => {
      const of = { up: weight(`${at}.mlp.gate_up_proj`, 2 * c.intermediate_size, H), down: weight(`${at}.mlp.down_proj`, H, c.intermediate_size) };
      if (c.token_mixer === "mlp") {
        of.tokenUp = weight(`${at}.token_mixer.gate_up_proj`, 2 * T, L);
        of.tokenDown = weight(`${at}.token_mixer.down_proj`, L, T);
      }
      const attention = (name) => [weight(`${at}.${name}.qkv_proj`, 3 * H, H), weight(`${at}.${name}.o_proj`, H, H)];
      if (c.token_mixer === "attention") of.tokens = attention("token_mixer");
      if (c.num_symbols && c.symbol_mixer === "attention") of.symbols = attention("symbol_mixer");
      if (c.num_symbols && c.symbol_mixer === "mean") of.others = weight(`${at}.symbol_mixer.proj`, H, H);
      return of;
    };
    const layers = (name, count) => Array.from({ length: count }, (_, i) => layer(`model.${name}.layers.${i}`));
    this.network = layers("network", c.num_hidden_layers);
    this.answerNetwork = c.num_answer_layers ? layers("answer_network", c.num_answer_layers) : this.network;

    const roles = c.num_symbols ? c.vocab_size - S + 2 : c.vocab_size;
    this.scores = c.num_symbols ? roles - 1 : roles;  // that the head gives for a vector
    this.head = weight("lm_head", this.scores, H);
    this.tokens = tensor("model.embed_tokens.weight", roles, H);
    this.registers = c.num_register_tokens ? tensor("model.registers.weight", c.num_register_tokens, H) : [];
    if (c.num_puzzle_tokens) this.puzzles = tensor("model.puzzle_embeddings.weight", c.num_puzzles, c.puzzle_embedding_size + c.num_symbols);
    if (c.num_puzzle_tokens && c.num_symbols) this.direction = tensor("model.symbol_direction.weight", 1, H);
    if (c.position_embedding_type === "learned") this.positions = tensor("model.embed_positions.weight", L, H);
    this.initial = ["answer", "latent"].map((name) => tensor(`model.initial_${name}_state`, H));
    this.halt = { weight: tensor("halt_head.weight", 2, H), bias: tensor("halt_head.bias", 2) };

    const state = () => this.allocate(this.size);
    Object.assign(this, { embeds: state(), answerState: state(), latentState: state(), injection: state(), hidden: state(), delta: state() });
    this.wide = this.allocate(3 * this.size);
    const places = Math.max(L, S), widest = Math.max(places, 3 * H, this.scores, c.intermediate_size, T || 0);
    this.scratch = this.allocate((places + 8) * places + 32 * widest);  // enough for each of the kernels
    this.logits = this.allocate(c.seq_len * S * this.scores);
    if (c.token_mixer === "attention" && /^rope/.test(c.position_embedding_type)) this.angles = this.rotaryAngles();
  }

  // Memory of the kernels: places for numbers, and their views, which are good until the next place is taken.

  allocate(count) {
    const at = (this.top + 15) & ~15, { memory } = this.kernels;
    this.top = at + 4 * count;
    const missing = this.top - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return at;
  }
  view(at, count = this.size) { return new Float32Array(this.kernels.memory.buffer, at, count); }
  put(numbers) {
    const at = this.allocate(numbers.length);
    this.view(at, numbers.length).set(numbers);
    return at;
  }

  rotaryAngles() {
    const c = this.config, head = c.hidden_size / c.num_attention_heads, half = head / 2, isGrid = c.position_embedding_type === "rope_2d";
    const share = isGrid ? half / 2 : half, angles = [];  // pairs that turn by one axis
    for (let place = 0; place < this.length; place++) {
      const cell = place - this.prefix, row = Math.floor(cell / c.grid_width), axes = isGrid ? [row, cell - row * c.grid_width] : [place];
      for (const at of axes) for (let i = 0; i < share; i++) angles.push(at * c.rope_theta ** (-i / share));
    }
    return [this.put(angles.map(Math.cos)), this.put(angles.map(Math.sin))];
  }

  embed(tokens, puzzle) {
    const { config: c, H, S } = this, x = this.view(this.embeds).fill(0);
    const others = this.tokens.length / H - 2;  // roles: tokens that are no symbols, "this symbol", "another symbol"
    const role = (token, symbol) => (!c.num_symbols || token < others ? token : token - others === symbol ? others : others + 1);
    const add = (vector, place, symbol, times = 1) => { for (let i = 0, at = (place * S + symbol) * H; i < H && i < vector.length; i++) x[at + i] += times * vector[i]; };
    const part = (vectors, i) => vectors.subarray(i * H, i * H + H);
    for (let s = 0; s < S; s++) {
      for (let i = 0; i < c.num_puzzle_tokens; i++) {
        const width = c.puzzle_embedding_size + c.num_symbols, of = this.puzzles.subarray(puzzle * width, (puzzle + 1) * width);
        add(part(of.subarray(0, c.puzzle_embedding_size), i), i, s);
        if (c.num_symbols) add(this.direction, i, s, of[c.puzzle_embedding_size + s]);
      }
      for (let i = 0; i < c.num_register_tokens; i++) add(part(this.registers, i), c.num_puzzle_tokens + i, s);
      tokens.forEach((token, i) => add(part(this.tokens, role(token, s)), this.prefix + i, s));
      if (this.positions) for (let i = 0; i < this.length; i++) add(part(this.positions, i), i, s);
    }
    const scale = Math.sqrt(this.positions ? H / 2 : H);
    for (let i = 0; i < x.length; i++) x[i] *= scale;
  }

  // Begins attempt `number` at a puzzle; `name` is the fingerprint of the puzzle that `tokens` are a view of.
  begin(tokens, { number = 0, name = fingerprint(tokens), puzzle = 0 } = {}) {
    this.embed(tokens, puzzle);
    Object.assign(this, { number, name, steps: 0 });
    const [noise] = randomBits("initial states", number, name, 1), keys = randomBits("initial states", 0, noise, 2);
    [this.answerState, this.latentState].forEach((at, i) => {
      if (this.config.random_initial_states) this.kernels.normals(at, normalsKey(keys[i]), this.size, 0, 1 / TRUNCATED_DEVIATION, INSIDE_TWO_DEVIATIONS);
      else for (let to = 0, state = this.view(at); to < this.size; to += this.initial[i].length) state.set(this.initial[i], to);
    });
  }

  update(state, injection, layers) {  // state <- network(state + injection)
    const { config: c, kernels: k, length: L, H, S } = this, rows = L * S, { hidden, delta, wide, scratch } = this, eps = c.rms_norm_eps, heads = c.num_attention_heads, glu = +c.normalize_glu;
    k.add(hidden, state, injection, this.size);
    for (const layer of layers) {
      if (layer.tokens) {
        k.linear(wide, hidden, layer.tokens[0], scratch, rows, H, 3 * H);
        for (let s = 0; s < S; s++) {
          const qkv = wide + 12 * s * H;
          if (this.angles) k.rotate(qkv, ...this.angles, L, 3 * H * S, 2 * heads, H / heads);
          k.attend(delta + 4 * s * H, qkv, scratch, L, 3 * H * S, H * S, heads, H / heads);
        }
        if (c.normalize_attention) k.norm(delta, 0, rows, H, eps);
        k.linear(wide, delta, layer.tokens[1], scratch, rows, H, H);
        k.norm(hidden, wide, rows, H, eps);
      } else k.mix(hidden, layer.tokenUp, layer.tokenDown, scratch, L, H * S, H * S, 1, c.token_mixer_intermediate_size, glu, eps);
      if (layer.symbols) {
        k.linear(wide, hidden, layer.symbols[0], scratch, rows, H, 3 * H);
        for (let i = 0; i < L; i++) k.attend(delta + 4 * i * S * H, wide + 12 * i * S * H, scratch, S, 3 * H, H, heads, H / heads);
        k.linear(wide, delta, layer.symbols[1], scratch, rows, H, H);
        k.norm(hidden, wide, rows, H, eps);
      }
      if (layer.others) {
        k.others(wide, hidden, L, S, H);
        k.linear(delta, wide, layer.others, scratch, rows, H, H);
        k.norm(hidden, delta, rows, H, eps);
      }
      k.mix(hidden, layer.up, layer.down, scratch, H, rows, 1, H, c.intermediate_size, glu, eps);
    }
    if (c.state_damping > 0) k.blend(hidden, state, c.state_damping, this.size);
    this.view(state).set(this.view(hidden));
  }

  // One supervision step: { tokens, logits [cells * vocabulary], halt, moved }, the last the share by which y moved.
  step(noise = 0) {
    const c = this.config;
    this.steps += 1;
    if (noise > 0) {
      const keys = randomBits("noise", BigInt(this.number) * 2n ** 32n + BigInt(this.steps), this.name, 2);
      [this.answerState, this.latentState].forEach((at, i) => this.kernels.normals(at, normalsKey(keys[i]), this.size, 1, noise, 1));
    }
    const before = this.view(this.answerState).slice();
    for (let cycle = 0; cycle < c.deep_cycles; cycle++) {
      this.kernels.add(this.injection, this.answerState, this.embeds, this.size);
      for (let i = 0; i < c.latent_cycles; i++) this.update(this.latentState, this.injection, this.network);
      this.update(this.answerState, this.latentState, this.answerNetwork);
    }
    const logits = this.answerLogits(), halt = this.haltLogit();
    if (![halt, ...logits].every(Number.isFinite)) throw new UserError("the logits are not finite: the model’s weights hold NaN or infinite values, or the noise is too much");
    const after = this.view(this.answerState), length = (numbers) => Math.sqrt(numbers.reduce((sum, x) => sum + x * x, 0));
    return { tokens: bestTokens(logits, c.vocab_size), logits, halt, moved: length(after.map((x, i) => x - before[i])) / length(before) };
  }

  answerLogits() {
    const { config: c, scores, H, S } = this, V = c.vocab_size;
    this.kernels.linear(this.logits, this.answerState + 4 * this.prefix * S * H, this.head, this.scratch, c.seq_len * S, H, scores);
    const made = this.view(this.logits, c.seq_len * S * scores).slice();
    if (!c.num_symbols) return made;
    return Float32Array.from({ length: c.seq_len * V }, (_, i) => {
      const cell = Math.floor(i / V) * S, token = i % V, own = token - (scores - 1);
      if (own >= 0) return made[(cell + own) * scores + scores - 1];
      let sum = 0;
      for (let s = 0; s < S; s++) sum += made[(cell + s) * scores + token];
      return sum / S;
    });
  }

  haltLogit() {  // from the first position; with symbols from their mean, without a prefix that of all positions
    const { config: c, H, S } = this, vectors = S * (c.num_symbols && !this.prefix ? this.length : 1);
    return this.view(this.answerState, vectors * H).reduce((sum, x, i) => sum + (x * this.halt.weight[i % H]) / vectors, this.halt.bias[0]);
  }
}

function bestTokens(logits, size) {
  return Array.from({ length: logits.length / size }, (_, cell) => {
    const row = logits.subarray(cell * size, cell * size + size);
    return row.reduce((best, score, token) => (score > row[best] ? token : best), 0);
  });
}

// How probable the chosen token of each cell is, as the loss of the model reads the logits.
export function certainty(logits, tokens, config) {
  const V = config.vocab_size, isSoftmax = config.loss_type === "softmax";
  return tokens.map((token, cell) => {
    const row = logits.subarray(cell * V, cell * V + V), score = (x) => (isSoftmax ? Math.exp(x - row[token]) : x < 0 ? 1 / (1 - x) : x + 1);
    return score(row[token]) / row.reduce((sum, x) => sum + score(x), 0);
  });
}

const half = (bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : (sign * fraction) / 2 ** 24;
};
const READERS = {
  F32: (bytes) => new Float32Array(bytes),
  BF16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (bits) => bits << 16).buffer),
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), half),
};

// The tensors of a safetensors file (an ArrayBuffer) in float32: name -> { data, shape }.
export function readSafetensors(buffer) {
  const broken = new UserError("model.safetensors is broken or cut off");
  let header, start;
  try {
    start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  } catch { throw broken; }
  const { __metadata__, ...tensors } = header;
  return Object.fromEntries(Object.entries(tensors).map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
    if (!READERS[dtype]) throw new UserError(`${name} has the type ${dtype}; F32, BF16 and F16 can be read`);
    if (start + to > buffer.byteLength) throw broken;
    return [name, { data: READERS[dtype](buffer.slice(start + from, start + to)), shape }];
  }));
}
