// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// The page: an editor for a grid, and the steps of the model's attempts. The model itself runs in worker.js.
import { Processor, TILES } from "./puzzles.js";
import { choose, mostAttempts, nextRound } from "./solving.js";
import { FILES, UserError, isSupported } from "./trm.js";

const HUB = "https://huggingface.co", LARGEST = 400e6, LOGITS = 12;  // bars show logits from -12 to 12
const $ = (id) => document.getElementById(id);
const page = {
  models: [], model: null,  // the opened one: { name, config, processor, files }
  opening: null,  // the next one, and the worker that is loading it
  question: [], cell: 0,
  attempts: [],  // frames of each attempt, of solving.js
  shown: { attempt: 0, step: 0 },  // step 0 is the puzzle itself
  run: null, workers: [], timer: null,
};

const make = (tag, fields) => Object.assign(document.createElement(tag), fields);
const cells = () => $("grid").querySelectorAll("[role=gridcell]");
const percent = (logit) => `${(100 / (1 + Math.exp(-logit))).toFixed(1)} %`;
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
function say(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

// Drawing

function build() {
  const { processor: p, config } = page.model, [h, w] = p.box ?? [p.height, p.width];
  $("grid").style.cssText = `grid-template: repeat(${p.height}, 1fr) / repeat(${p.width}, 1fr); --ratio: ${p.width / p.height}; --size: ${50 / p.width}vw`;
  $("grid").replaceChildren(...Array.from({ length: p.height }, (_, row) => {
    const line = make("div", { role: "row" });
    line.append(...Array.from({ length: p.width }, (_, column) => {
      const cell = make("button", { role: "gridcell", onclick: () => focusOn(row * p.width + column) });
      cell.dataset.edges = `${(column + 1) % w === 0 && column + 1 < p.width ? "right" : ""} ${(row + 1) % h === 0 && row + 1 < p.height ? "bottom" : ""}`;
      return cell;
    }));
    return line;
  }));
  $("keys").replaceChildren(...p.vocabulary.slice(1).map((symbol, i) => {
    const [textContent, ariaLabel] = { ".": ["⌫", "blank"], " ": ["␣", "free"] }[symbol] ?? [symbol, symbol];
    return make("button", { textContent, ariaLabel, onclick: () => write(i + 1) });
  }));
  $("rules").hidden = p.rule === null;
  $("puzzles").hidden = !(config.num_puzzle_tokens && config.num_puzzles > 1);
  $("puzzle").max = config.num_puzzles - 1;
}

const frames = () => page.attempts[page.shown.attempt] ?? [];
const frameAt = (step) => frames()[step - 1];
const answerAt = (step) => frameAt(step)?.answer ?? page.question;
const changedAt = (step) => (step ? answerAt(step).filter((token, i) => token !== answerAt(step - 1)[i]).length : 0);

function draw() {
  const { question, shown: { step } } = page, p = page.model.processor, frame = frameAt(step), tokens = answerAt(step), before = answerAt(step - 1);
  const clashing = p.clashes(tokens);
  cells().forEach((cell, i) => {
    const symbol = p.symbol(tokens[i]), isBlank = symbol === "." || (symbol === " " && !p.isTiled), isGiven = p.isGiven(question[i]) && tokens[i] === question[i];
    const isWrong = clashing.has(i) || (p.box && p.isGiven(question[i]) && !isGiven), isNew = frame && tokens[i] !== before[i];
    const sure = frame && !isGiven ? frame.certainty[i] : 1;
    cell.className = `cell ${cell.dataset.edges} ${isGiven ? "given" : "own"} ${isWrong ? "wrong" : ""} ${isNew ? "new" : ""} ${p.isTiled ? "tile" : ""}`;
    cell.style.cssText = p.isTiled ? `--tile: #${TILES[symbol] ?? "fff"}` : `--sure: ${(0.25 + 0.75 * sure).toFixed(2)}`;
    cell.textContent = p.isTiled || isBlank ? "" : symbol;
    cell.tabIndex = i === page.cell ? 0 : -1;
    const facts = [isBlank ? "blank" : symbol, isGiven ? "given" : frame && !isBlank ? `the model’s, ${Math.round(100 * sure)} % sure` : "", isNew ? "changed" : "", isWrong ? "breaks a rule" : ""];
    cell.ariaLabel = `row ${Math.floor(i / p.width) + 1}, column ${(i % p.width) + 1}: ${facts.filter(Boolean).join(", ")}`;
  });
  $("timeline").hidden = !frames().length;
  if (frames().length) drawTimeline();
}

function drawTimeline() {
  const { attempts, shown: { attempt, step } } = page, all = frames(), frame = frameAt(step), height = (logit) => `${Math.min(100, Math.max(0, 50 + (50 * logit) / LOGITS))}%`;
  Object.assign($("step"), { max: all.length, value: step });
  Object.assign($("attempt"), { max: attempts.length, value: attempt + 1 });
  $("choice").hidden = attempts.length < 2;
  $("which").textContent = `${attempt + 1} of ${attempts.length}${all.at(-1).accepted ? ", accepted" : ""}`;
  $("where").textContent = frame ? `step ${step} of ${all.length}: ${count(changedAt(step), "cell")} changed, ${percent(frame.halt)} sure, state moved by ${Math.round(100 * frame.moved)} %` : "the puzzle";
  $("step").setAttribute("aria-valuetext", $("where").textContent);
  $("bars").style.setProperty("--threshold", height(Number($("threshold").value)));
  $("bars").ariaLabel = `How sure the model is after each step: ${all.map((one) => percent(one.halt)).join(", ")}`;
  $("bars").replaceChildren(...all.map((one, i) => {
    const className = `${i + 1 === step ? "at" : ""} ${one.accepted ? "good" : ""}`, title = `step ${i + 1}: halting logit ${one.halt.toFixed(2)}, ${percent(one.halt)}`;
    const bar = make("i", { title, className, onclick: () => show({ step: i + 1 }) });
    bar.style.setProperty("--sure", height(one.halt));
    return bar;
  }));
}

function show(shown) {
  pause();
  Object.assign(page.shown, shown);
  draw();
}
function pause() {
  clearInterval(page.timer);
  page.timer = null;
  Object.assign($("play"), { textContent: "▶", ariaLabel: "Play the steps" });
}
$("step").oninput = () => show({ step: Number($("step").value) });
$("attempt").oninput = () => {
  const attempt = Number($("attempt").value) - 1;
  show({ attempt, step: page.attempts[attempt]?.length ?? 0 });
};
$("play").onclick = () => {
  if (page.timer) return pause();
  if (page.shown.step >= frames().length) show({ step: 0 });
  Object.assign($("play"), { textContent: "❚❚", ariaLabel: "Pause" });
  page.timer = setInterval(() => {
    if (page.shown.step >= frames().length) return pause();
    page.shown.step += 1;
    draw();
  }, 600);
};

// Editing

function pose(tokens) {
  stop();
  Object.assign(page, { question: tokens, attempts: [], shown: { attempt: 0, step: 0 } });
  draw();
  const p = page.model.processor, text = p.text(tokens), clues = tokens.filter((token) => p.isGiven(token)).length;
  $("paste").value = text;
  history.replaceState(null, "", `#${new URLSearchParams({ puzzle: text, model: page.model.name })}`);
  if (p.clashes(tokens).size) say("A digit occurs twice in a row, column or box: there is no solution.", "bad");
  else if (p.box) say(clues ? `${count(clues, "clue")}. Press “Solve”.` : "Type digits, paste a puzzle, or take an example.");
  else say("Press “Solve”.");
}
function read(text) {
  try { pose(page.model.processor.encode(text)); } catch (error) { say(error instanceof UserError ? `No puzzle: ${error.message}.` : String(error), "bad"); }
}
function focusOn(cell) {
  page.cell = cell;
  draw();
  cells()[cell].focus();
}
function write(token) {
  const tokens = [...page.question];
  tokens[page.cell] = token;
  pose(tokens);
}
$("grid").onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const p = page.model.processor, at = page.cell, column = at % p.width, last = p.width - 1;
  const moves = { ArrowUp: -p.width, ArrowDown: p.width, ArrowLeft: column && -1, ArrowRight: column < last && 1, Home: -column, End: last - column };
  const symbol = event.key === "Backspace" || event.key === "Delete" ? p.vocabulary[p.blank] : event.key, token = p.tokenOf.get(symbol);
  if (event.key in moves) {
    const to = at + moves[event.key];
    if (to >= 0 && to < p.cells) focusOn(to);
  } else if (token !== undefined) {
    write(token);
    focusOn(event.key.length === 1 && at + 1 < p.cells ? at + 1 : at);
  } else return;
  event.preventDefault();
};
$("paste").oninput = () => {
  const text = $("paste").value;
  if (!text.trim()) return;
  read(text);
  $("paste").value = text;  // as the person wrote it
};
document.onpaste = (event) => {
  if (!event.target.closest("textarea, input")) read(event.clipboardData.getData("text"));
};
$("clear").onclick = () => pose(Array(page.model.processor.cells).fill(page.model.processor.blank));
$("share").onclick = async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
  } catch { say(location.href); }
};

// Solving: rounds of attempts, each on a worker that is free

function newWorker(model) {
  const { trmWorker: source } = globalThis;  // of the page that is a single file
  const worker = source ? new Worker(URL.createObjectURL(new Blob([source]))) : new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => (data.error ? fail(data.error) : data.frame ? take(data, worker) : free(worker));
  worker.onerror = (event) => fail(event.message || "the browser started no worker");
  worker.postMessage({ load: model.files });
  return worker;
}
function free(worker) {
  worker.isReady = true;
  delete worker.attempt;
  if (page.opening?.worker === worker) opened();
  assign();
}
function assign() {
  const { run } = page;
  if (!run) return;
  while (run.waiting.length) {
    const worker = page.workers.find((one) => one.isReady && one.attempt === undefined);
    if (!worker) {
      const most = Math.max(1, Math.min((navigator.hardwareConcurrency || 2) - 1, 8, run.most));
      if (page.workers.every((one) => one.isReady) && page.workers.length < most && run.ends.length) page.workers.push(newWorker(page.model));
      return;
    }
    worker.attempt = run.waiting.shift();
    page.attempts[worker.attempt] = [];
    worker.postMessage({ run: { id: run.id, question: page.question, number: worker.attempt, options: run.options, puzzle: run.puzzle } });
  }
}
function take({ id, frame }, worker) {
  const { run } = page;
  if (run?.id !== id) return;
  page.attempts[frame.number].push(frame);
  run.steps += 1;
  const first = page.workers.map((one) => one.attempt).filter((one) => one !== undefined).sort((a, b) => a - b)[0];
  if (frame.number === first && !page.timer) {
    page.shown = { attempt: first, step: page.attempts[first].length };
    draw();
    say(`Thinking … ${first ? `attempt ${first + 1}, ` : ""}step ${frame.step}: ${percent(frame.halt)} sure.`);
  }
  if (!frame.done) return;
  run.ends.push(frame);
  if (frame.accepted && frame.verified && run.options.byRules) return finish();
  const isRoundOver = run.ends.length === run.begun;
  if (isRoundOver && run.ends.some((end) => end.accepted)) return finish();
  if (isRoundOver) {
    run.waiting = nextRound(run.begun, run.most);
    run.begun += run.waiting.length;
    if (!run.waiting.length) return finish();
  }
  free(worker);
}
function finish() {
  const { run } = page, chosen = choose(run.ends);
  stop();
  page.attempts = Array.from(page.attempts, (one) => one ?? []);
  show({ attempt: chosen.number, step: chosen.step });
  const effort = `${count(run.steps, "step")}${run.ends.length > 1 ? ` in ${run.ends.length} attempts` : ""}, ${((performance.now() - run.began) / 1000).toFixed(1)} s; the model is ${percent(chosen.halt)} sure`;
  if (chosen.verified) say(`Solved: the answer keeps the rules (${effort}).`, "good");
  else if (chosen.verified === false) say(`Not solved: the answer breaks the rules (${effort}). More attempts or steps may help.`, "bad");
  else say(chosen.accepted ? `The model believes its answer (${effort}).` : `The model is not sure of its answer (${effort}). More steps may help.`);
}
function stop() {
  pause();
  page.run = null;
  for (const worker of page.workers) {
    worker.postMessage({ stop: true });
    delete worker.attempt;
  }
  $("solve").textContent = "Solve";
}
function fail(message) {
  page.opening?.worker?.terminate();
  page.opening = null;  // the model that was there stays
  stop();
  say(`Sorry: ${message}.`, "bad");
}
let runs = 0;
$("solve").onclick = () => {
  if (page.run) {
    stop();
    return say("Stopped.");
  }
  const number = (id) => Number($(id).value), { config, processor } = page.model;
  const options = { attempts: number("attempts"), maxSteps: Math.max(1, number("steps")), noise: number("noise"), threshold: number("threshold"), byRules: processor.rule !== null && $("judge").checked };
  const puzzle = Math.min(Math.max(0, number("puzzle")), config.num_puzzles - 1);
  page.run = { id: ++runs, options, puzzle, most: mostAttempts(config, processor, options), waiting: [0], begun: 1, ends: [], steps: 0, began: performance.now() };
  Object.assign(page, { attempts: [], shown: { attempt: 0, step: 0 } });
  draw();
  $("solve").textContent = "Stop";
  say("Thinking …");
  assign();
};

// Models

async function get(url, report) {
  const embedded = globalThis.trmFiles?.[url];
  if (embedded) return Uint8Array.from(atob(embedded), (c) => c.charCodeAt(0)).buffer;
  const response = await fetch(url).catch(() => { throw new UserError(`${url} cannot be reached`); });
  if (!response.ok) throw new UserError([401, 403, 404].includes(response.status) ? `there is no ${url}, or it is private` : `${url} answers ${response.status}`);
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read().catch(() => { throw new UserError(`the connection broke while ${url} was loading`); });
    if (done) return new Blob(parts).arrayBuffer();
    parts.push(value);
    size += value.length;
    if (size > LARGEST) throw new UserError(`${url} is larger than ${LARGEST / 1e6} MB`);
    report?.(size);
  }
}
const parse = (buffer, name) => {
  try { return JSON.parse(new TextDecoder().decode(buffer)); } catch { throw new UserError(`${name} is no JSON`); }
};

async function open({ name, base }, question = "") {
  const opening = (page.opening = { question }), report = (size) => page.opening === opening && say(`Loading ${name}: ${(size / 1e6).toFixed(1)} MB …`);
  stop();
  say(`Loading ${name} …`);
  try {
    const [config, settings, weights] = await Promise.all(FILES.map((file) => get(base + file, file.endsWith("safetensors") ? report : undefined)));
    if (page.opening !== opening) return;
    const files = { config: parse(config, FILES[0]), processor: parse(settings, FILES[1]), weights }, { vocabulary } = files.processor;
    if (files.config.model_type !== "trm") throw new UserError(`${name} is a model of type ${files.config.model_type}, not trm`);
    if (!Array.isArray(vocabulary)) throw new UserError(`${name} has no vocabulary in ${FILES[1]}, which says what its tokens mean`);
    opening.model = { name, config: files.config, processor: new Processor(files.processor), files, began: performance.now() };
    opening.worker = newWorker(opening.model);
  } catch (error) {
    if (page.opening === opening) fail(error instanceof UserError ? error.message : String(error));
  }
}
function opened() {
  const { model, worker, question } = page.opening, { config, processor: p, name, files, began } = model;
  for (const old of page.workers) old.terminate();
  Object.assign(page, { model, opening: null, workers: [worker], cell: 0, question: Array(p.cells).fill(p.blank), attempts: [] });
  for (const id of ["solve", "clear", "share"]) $(id).disabled = false;
  $("steps").value = config.max_supervision_steps;
  $("threshold").value = config.halt_threshold;
  $("about").textContent = `${name}: ${(files.weights.byteLength / 1e6).toFixed(1)} MB, ready ${((performance.now() - began) / 1000).toFixed(1)} s after loading. TRM is arXiv 2510.04871.`;
  const examples = page.models.find((one) => one.name === name)?.examples ?? [];
  $("examples").replaceChildren(...examples.map((one) => make("button", { textContent: one.name, onclick: () => read(one.puzzle) })));
  build();
  pose(page.question);
  if (question || examples.length) read(question || examples[0].puzzle);
}
function openByName(name, question) {
  const listed = page.models.find((one) => one.name === name);
  $("model").value = listed ? name : "";
  $("hub").value = listed ? "" : name;
  if (listed) return open({ name, base: listed.base }, question);
  if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(name)) return fail(`“${name}” is no model of the Hub: it should read like ORG/NAME`);
  return open({ name, base: `${HUB}/${name}/resolve/main/` }, question);
}
function openLink() {
  const asked = new URLSearchParams(location.hash.slice(1));
  return openByName(asked.get("model") || page.models[0].name, asked.get("puzzle") ?? "");
}
$("model").onchange = () => openByName($("model").value);
$("hub").onchange = () => $("hub").value.trim() && openByName($("hub").value.trim());
addEventListener("hashchange", openLink);

if (!isSupported()) fail("this browser cannot run the model: it needs WebAssembly with SIMD, as Chrome 91, Firefox 114 or Safari 16.4 have it");
else {
  try {
    page.models = parse(await get("models.json"), "models.json");
    $("model").append(...page.models.map(({ name, label }) => new Option(label, name)));
    await openLink();
  } catch (error) { fail(error.message); }
}
