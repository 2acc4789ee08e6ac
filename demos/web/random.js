// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// Keys of random numbers as randomness_trm.py makes them, with seed 0: the same key gives the same number there.
const WORD = 2n ** 64n - 1n, GAMMA = 0x9E3779B97F4A7C15n;
const STREAMS = {  // the BLAKE2b digest, 8 bytes, little-endian, of "purpose/0"
  "initial states": 2218341737625850662n,
  states: 7642200000421710628n,
  noise: 10167123882504193168n,
  augmentation: 5460137002289360378n,
  views: 7625917423343674527n,
};

function mixed(word) {
  let x = word & WORD;
  x = ((x ^ (x >> 30n)) * 0xBF58476D1CE4E5B9n) & WORD;
  x = ((x ^ (x >> 27n)) * 0x94D049BB133111EBn) & WORD;
  return x ^ (x >> 31n);
}

function key(purpose, epoch, index) {
  return mixed(mixed(STREAMS[purpose] + GAMMA * BigInt(epoch)) + GAMMA * BigInt(index));
}

export function randomBits(purpose, epoch, index, count) {
  const name = key(purpose, epoch, index);
  return Array.from({ length: count }, (_, i) => mixed(name + GAMMA * BigInt(i + 1)) >> 1n);
}

export const randomIntegers = (purpose, epoch, index, ...highs) =>
  randomBits(purpose, epoch, index, highs.length).map((bits, i) => Number(bits % BigInt(highs[i])));

// A name for a puzzle that depends on its content alone.
export function fingerprint(tokens, puzzle = 0) {
  const words = tokens.reduce((sum, token, i) => sum + mixed(BigInt(token) + GAMMA * BigInt(i + 1)), 0n);
  return mixed(words + mixed(BigInt(puzzle) + GAMMA));
}

// What the kernel `normals` takes to draw the numbers of `state_normals`.
export const normalsKey = (name) => key("states", 0, name);
