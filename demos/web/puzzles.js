// Copyright 2026 The TRM authors. Licensed under the Apache License, Version 2.0.
// Puzzles as processing_trm.py, rules_trm.py and symmetries_trm.py know them: text and tokens, rules, views.
import { randomIntegers } from "./random.js";
import { UserError } from "./trm.js";

export const BLANK = 1;
const PAD = "<pad>", FIRST_DIGIT = 2;
const [FREE, START, GOAL, PATH] = [2, 3, 4, 5];  // tokens of mazes

// The colours of symbols in grids without boxes, as in rendering_trm.py.
export const TILES = {
  0: "000000", 1: "1e93ff", 2: "f93c31", 3: "4fcc30", 4: "ffdc00", 5: "999999", 6: "e53aa3", 7: "ff851b", 8: "87d8f1",
  9: "921231", "#": "39424e", " ": "f5f6f8", ".": "f5f6f8", S: "2fa866", G: "d64550", o: "f0a92e",
};

export class Processor {
  constructor(settings) {  // the parsed processor_config.json
    Object.assign(this, { aliases: {}, rule: null, end_marker: null }, settings);
    this.cells = this.height * this.width;
    this.box = this.box_height && this.box_width ? [this.box_height, this.box_width] : null;
    const symbols = this.vocabulary.filter((symbol) => symbol !== PAD);
    this.separator = symbols.every((symbol) => symbol.length === 1) ? "" : symbols.some((symbol) => symbol.includes(" ")) ? "\t" : " ";
    this.tokenOf = new Map(this.vocabulary.map((symbol, token) => [symbol, token]).filter(([symbol]) => symbol !== PAD));
    for (const [alias, symbol] of Object.entries(this.aliases)) this.tokenOf.set(alias, this.tokenOf.get(symbol));
  }

  get blank() { return this.tokenOf.get(".") ?? this.tokenOf.get(" ") ?? this.vocabulary.indexOf(PAD); }
  get isTiled() { return !this.box && this.vocabulary.every((symbol) => symbol === PAD || symbol in TILES || symbol === this.end_marker); }
  symbol(token) { return this.vocabulary[token] === PAD ? " " : this.vocabulary[token]; }
  isGiven(token) { return token > BLANK || (this.vocabulary[token] !== PAD && !this.box && this.symbol(token) !== "."); }

  // A text that `encode` reads back. Without a rule the padding is left out.
  text(tokens) {
    const rows = Array.from({ length: this.height }, (_, r) => tokens.slice(r * this.width, (r + 1) * this.width));
    if (this.rule) return tokens.map((token) => this.symbol(token)).join(this.separator);
    const outside = new Set([PAD, this.end_marker]), inside = rows.map((row) => row.filter((token) => !outside.has(this.vocabulary[token])));
    return inside.filter((row) => row.length).map((row) => row.map((token) => this.symbol(token)).join(this.separator)).join("\n");
  }

  // The tokens of a puzzle as a person writes it. Throws a `UserError` of one line.
  encode(text) {
    let rows = /^\s*[[{]/.test(text) && !this.tokenOf.has(text.trim()[0]) ? rowsOfJson(text) : this.lines(text);
    const isOneLine = rows.length === 1 && !this.end_marker && this.height > 1;
    const fits = (length, most) => length === most || (!this.rule && length < most);
    const isGrid = rows.length > 0 && rows.every((row) => row.length === rows[0].length) && fits(rows.length, this.height) && fits(rows[0].length, this.width);
    if (isOneLine || !isGrid) {
      const all = rows.flat();
      if (all.length !== this.cells) throw new UserError(`the puzzle has ${all.length} cells, but this model solves ${this.height}×${this.width} grids (${this.cells} cells)`);
      rows = Array.from({ length: this.height }, (_, r) => all.slice(r * this.width, (r + 1) * this.width));
    }
    rows.forEach((row, r) => row.forEach((symbol, c) => {
      if (!this.tokenOf.has(symbol)) throw new UserError(`the puzzle has “${symbol}” in row ${r + 1}, column ${c + 1}; the known symbols are ${[...this.tokenOf.keys()].join(" ")}`);
    }));
    if (this.end_marker) rows = [...rows.map((row) => [...row, this.end_marker]), rows[0].map(() => this.end_marker)];
    const token = (symbol) => (symbol === undefined ? this.vocabulary.indexOf(PAD) : this.tokenOf.get(symbol));
    return Array.from({ length: this.cells }, (_, i) => token(rows[Math.floor(i / this.width)]?.[i % this.width]));
  }

  lines(text) {
    if (this.box) {  // may be drawn with lines between the boxes, and with pencil marks
      text = text.split(/\r?\n/).filter((line) => !(/[-=]/.test(line) && /^[-|+*.:=' \t]*$/.test(line))).join("\n").replaceAll("|", " ");
      const words = text.split(/\s+/).filter(Boolean);
      if (!this.separator && words.length === this.cells) return [words.map((word) => (word.length === 1 ? word : "."))];
    }
    return text.split(/\r?\n/).map((line) => this.symbols(line)).filter((row) => row.length);
  }
  symbols(line) {
    if (!this.separator) return [...(this.tokenOf.has(" ") ? line : line.replace(/\s+/g, ""))];
    const isSeveral = (word) => !this.tokenOf.has(word) && [...word].every((symbol) => this.tokenOf.has(symbol));
    return line.split(this.separator === " " ? /\s+/ : this.separator).filter(Boolean).flatMap((word) => (isSeveral(word) ? [...word] : [word]));
  }

  // Cells of a Sudoku whose digit occurs again in a row, column or box.
  clashes(tokens) {
    const found = new Set();
    if (!this.box) return found;
    const [h, w] = this.box, n = this.width, unitsOf = (i) => {
      const row = Math.floor(i / n), column = i % n;
      return [row, n + column, 2 * n + Math.floor(row / h) * n + Math.floor(column / w)];
    };
    const seen = new Map();
    tokens.forEach((token, i) => {
      if (token < FIRST_DIGIT) return;
      for (const unit of unitsOf(i)) {
        const key = `${unit} ${token}`;
        if (seen.has(key)) found.add(i).add(seen.get(key));
        seen.set(key, i);
      }
    });
    return found;
  }

  // Whether an answer is right, by the rules; null for puzzles that have none.
  verify(question, answer) {
    if (this.rule === "sudoku") {
      const keeps = answer.every((token, i) => token >= FIRST_DIGIT && (question[i] <= BLANK || question[i] === token));
      return keeps && this.clashes(answer).size === 0;
    }
    return this.rule === "maze" ? isShortestPath(question, answer, this.width) : null;
  }

  get numViews() {  // different ones, the puzzle itself among them
    if (this.rule === "maze") return 8;
    return this.rule === "sudoku" && this.height <= 9 ? Infinity : 1;
  }

  // Attempt `number` looks at the puzzle so: `pose` makes the view, `back` its answer that of the puzzle, `move` carries
  // other values of cells back.
  view(number, name) {
    const isSame = number === 0 || this.numViews === 1;
    const [cells, rename] = isSame ? [null, null] : this.rule === "sudoku" ? sudokuView(this, number, name) : mazeView(this, number, name);
    if (isSame) return { pose: (tokens) => tokens, back: (tokens) => tokens, move: (values) => values };
    const names = rename.map((_, token) => rename.indexOf(token));
    const move = (values) => {
      const moved = [];
      cells.forEach((cell, i) => { moved[cell] = values[i]; });
      return moved;
    };
    return { pose: (tokens) => cells.map((cell) => rename[tokens[cell]]), back: (tokens) => move(tokens.map((token) => names[token])), move };
  }
}

function rowsOfJson(text) {
  let value;
  try { value = JSON.parse(text); } catch (error) { throw new UserError(`the puzzle begins like JSON, but is not: ${error.message}`); }
  const grid = value.test?.[0]?.input ?? value.input ?? value;
  if (!Array.isArray(grid) || !grid.length) throw new UserError('a puzzle in JSON must be a grid, or an ARC task {"test": [{"input": grid}, …]}');
  return Array.isArray(grid[0]) ? grid.map((row) => [row].flat().map(String)) : [grid.map(String)];
}

const factorial = (n) => (n < 2 ? 1 : n * factorial(n - 1));

function permutation(n, rank) {  // that of this rank in lexicographic order
  const left = Array.from({ length: n }, (_, i) => i);
  return Array.from({ length: n }, (_, i) => {
    const rest = factorial(n - 1 - i), [chosen] = left.splice(Math.floor(rank / rest), 1);
    rank %= rest;
    return chosen;
  });
}

function lineOrder(groups, size, rank) {  // of rows or columns, those of a band or stack staying together
  const orders = factorial(size), inside = [];
  for (let i = groups - 1; i >= 0; i--) {
    inside[i] = permutation(size, rank % orders);
    rank = Math.floor(rank / orders);
  }
  return permutation(groups, rank).flatMap((group, i) => inside[i].map((line) => group * size + line));
}

function sudokuView({ height: n, box: [h, w] }, number, name) {
  const orders = (groups, size) => factorial(groups) * factorial(size) ** groups;
  const [digits, row, column, turned] = randomIntegers("augmentation", number, name, factorial(n), orders(w, h), orders(h, w), h === w ? 2 : 1);
  const [down, across] = turned ? [1, n] : [n, 1], columns = lineOrder(h, w, column);
  const cells = lineOrder(w, h, row).flatMap((r) => columns.map((c) => r * down + c * across));
  return [cells, [0, BLANK, ...permutation(n, digits).map((digit) => digit + FIRST_DIGIT)]];
}

function mazeView({ width: n, vocabulary }, number, name) {
  const [first] = randomIntegers("views", 0, name, 7), place = number % 8, m = n - 1;
  const from = [
    (r, c) => [r, c], (r, c) => [c, m - r], (r, c) => [m - r, m - c], (r, c) => [m - c, r],
    (r, c) => [r, m - c], (r, c) => [m - r, c], (r, c) => [c, r], (r, c) => [m - c, m - r],
  ][place && ((place + first) % 7) + 1];
  const cells = Array.from({ length: n * n }, (_, i) => {
    const [row, column] = from(Math.floor(i / n), i % n);
    return row * n + column;
  });
  return [cells, vocabulary.map((_, token) => token)];
}

function isShortestPath(question, answer, n) {
  const only = (token) => question.filter((one) => one === token).length === 1;
  const keeps = answer.every((token, i) => (token === question[i] && token !== PATH) || (question[i] === FREE && token === PATH));
  if (!keeps || !only(START) || !only(GOAL)) return false;
  const goal = question.indexOf(GOAL), steps = (isOpen) => {
    let front = [question.indexOf(START)];
    const seen = new Set(front);
    for (let count = 0; front.length; count++) {
      if (front.includes(goal)) return count;
      const next = front.flatMap((i) => [i >= n ? i - n : -1, i + n < n * n ? i + n : -1, i % n ? i - 1 : -1, (i + 1) % n ? i + 1 : -1]);
      front = next.filter((i) => i >= 0 && isOpen(i) && !seen.has(i) && seen.add(i));
    }
    return -1;
  };
  const length = steps((i) => answer[i] === PATH || i === goal);
  return length > 0 && answer.filter((token) => token === PATH).length + 1 === steps((i) => question[i] === FREE || i === goal);
}
