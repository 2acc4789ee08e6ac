// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// Runs attempts beside the page. In: { load: { config, processor, weights } }, { run: { id, question, number, options, puzzle } },
// { stop }. Out: { ready }, { id, frame }, { error }.
import { Processor } from "./puzzles.js";
import { attempt } from "./solving.js";
import { Model, readSafetensors } from "./trm.js";

let model, processor, current;

const messages = {
  async load({ config, processor: settings, weights }) {
    model = await Model.create(config, readSafetensors(weights));
    processor = new Processor(settings);
    postMessage({ ready: true });
  },
  async run({ id, question, number, options, puzzle }) {
    current = id;
    for (const frame of attempt(model, processor, question, number, options, puzzle)) {
      if (current !== id) return;
      postMessage({ id, frame });
      await new Promise((resume) => setTimeout(resume));  // a stop may have come in
    }
  },
  async stop() { current = null; },
};

onmessage = ({ data }) => {
  for (const [name, argument] of Object.entries(data)) messages[name](argument).catch((error) => postMessage({ error: error.message }));
};
