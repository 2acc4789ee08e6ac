// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// The page's engine under Node: reads a list of jobs (JSON) from standard input, writes the list of their results.
import { readFileSync } from "node:fs";
import { BLANK, Processor, TILES } from "../demos/web/puzzles.js";
import { fingerprint } from "../demos/web/random.js";
import { attempt, choose, mostAttempts, nextRound } from "../demos/web/solving.js";
import { Model, readSafetensors } from "../demos/web/trm.js";

const json = (path) => JSON.parse(readFileSync(path, "utf8"));
const bytes = (path) => new Uint8Array(readFileSync(path)).buffer;
const model = (folder) => Model.create(json(`${folder}/config.json`), readSafetensors(bytes(`${folder}/model.safetensors`)));

const jobs = {
  // Supervision steps, each from the states given for it: logits, halting logit and new answer state
  async steps({ folder, states, puzzles }) {
    const one = await model(folder), given = readSafetensors(bytes(states));
    return puzzles.map(({ tokens, puzzle }, row) => {
      one.begin(tokens, { puzzle });
      const steps = [];
      for (let step = 0; given[`${row}.${step}.answer`]; step++) {
        one.view(one.answerState).set(given[`${row}.${step}.answer`].data);
        one.view(one.latentState).set(given[`${row}.${step}.latent`].data);
        const { logits, halt, tokens: answer } = one.step();
        steps.push({ logits: [...logits], halt, answer, state: [...one.view(one.answerState)] });
      }
      return steps;
    });
  },
  // The states that an attempt begins with, and the answer state after a step of noise alone
  async states({ folder, tokens, number }) {
    const one = await model(folder);
    one.begin(tokens, { number });
    return { answer: [...one.view(one.answerState)], latent: [...one.view(one.latentState)], name: String(BigInt.asIntN(64, one.name)) };
  },
  async solve({ folder, puzzles, options, puzzle = 0 }) {
    const one = await model(folder), processor = new Processor(json(`${folder}/processor_config.json`)), { user: began } = process.cpuUsage();
    const results = puzzles.map((question) => {
      const ends = [], most = mostAttempts(one.config, processor, options);
      let steps = 0;
      while (ends.length < most && !ends.some((end) => end.accepted)) {
        for (const number of nextRound(ends.length, most)) {
          let end;
          for (end of attempt(one, processor, question, number, options, puzzle)) steps++;
          ends.push(end);
        }
      }
      return { ...choose(ends), attempts: ends.length, steps };
    });
    return { results, seconds: (process.cpuUsage().user - began) / 1e6 };
  },
  async views({ settings, names, number }) {
    const processor = new Processor(settings), cells = Array.from({ length: processor.cells }, (_, i) => i);
    return names.map((name) => {
      const { pose, back, move } = processor.view(number, BigInt(name));
      const tokens = cells.map((i) => i % settings.vocabulary.length);
      return { posed: pose(tokens), cells: move(cells), same: back(pose(tokens)) };
    });
  },
  async verify({ settings, pairs }) {
    const processor = new Processor(settings);
    return pairs.map(([question, answer]) => processor.verify(question, answer));
  },
  async encode({ settings, texts }) {
    const processor = new Processor(settings);
    return texts.map((text) => {
      try {
        const tokens = processor.encode(text);
        return { tokens, text: processor.text(tokens), again: processor.encode(processor.text(tokens)) };
      } catch (error) { return { error: error.message }; }
    });
  },
  async broken({ config, tensors }) {
    try { await Model.create(config, readSafetensors(bytes(tensors))); } catch (error) { return error.message; }
    return null;
  },
  async fingerprints({ puzzles }) { return puzzles.map(({ tokens, puzzle }) => String(BigInt.asIntN(64, fingerprint(tokens, puzzle)))); },
  async tables() { return { TILES, BLANK }; },
};

const results = [];
for (const { job, ...options } of JSON.parse(readFileSync(0, "utf8"))) results.push(await jobs[job](options));
process.stdout.write(JSON.stringify(results));
