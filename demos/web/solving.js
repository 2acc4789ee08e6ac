// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// Attempts at a puzzle, as `solve` in solving_trm.py makes them with seed 0.
import { fingerprint } from "./random.js";
import { certainty } from "./trm.js";

const ESCALATION = 4;  // each round brings the number of attempts to so many times that of the round before

// options: attempts, maxSteps, noise, threshold (of the halting logit), byRules (the rules say what is solved, not the model)
// What an attempt comes to after each of its steps:
//   { number, step, answer, certainty (of each cell), halt (logit), moved, verified (by the rules), accepted, done }
export function* attempt(model, processor, question, number, options, puzzle = 0) {
  const name = fingerprint(question, puzzle), { pose, back, move } = processor.view(number, name);
  model.begin(pose(question), { number, name, puzzle });
  for (let step = 1, done = false; !done; step++) {
    const { tokens, logits, halt, moved } = model.step(options.noise), answer = back(tokens);
    const verified = processor.verify(question, answer);
    const accepted = options.byRules && verified !== null ? verified : halt > options.threshold;
    done = accepted || step >= options.maxSteps;
    yield { number, step, answer, certainty: move(certainty(logits, tokens, model.config)), halt, moved, verified, accepted, done };
  }
}

// How many attempts differ from each other.
export function mostAttempts(model, processor, options) {
  return options.noise > 0 || model.random_initial_states ? options.attempts : Math.min(options.attempts, processor.numViews);
}

// The numbers of the attempts of the round after `made` ones.
export function nextRound(made, attempts) {
  const end = Math.min(Math.max(1, ESCALATION * made), attempts);
  return Array.from({ length: Math.max(0, end - made) }, (_, i) => made + i);
}

// The last frames of all attempts -> the one that counts: accepted if any is, then the one the model trusts most.
export function choose(ends) {
  const better = (a, b) => b.accepted - a.accepted || b.halt - a.halt || a.number - b.number;
  return [...ends].sort(better)[0];
}
