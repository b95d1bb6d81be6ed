// The cells of the model's grid: which of them the mask makes it redraw. As sundae/window.py and masks.token_mask.

const PAUSE = 120; // ms between two looks at the whole mask while the pointer is down
const FALLBACK = { resolution: 1024, cell: 32 }; // until the server has said what the model works with

// The region [left, top, width, height] of a picture of ``size`` that the model works on for a hole [left, top, right,
// bottom], and the rows and columns of its grid.
function workingWindow(size, hole, resolution, cell) {
  const [width, height] = size;
  const [across, down] = [hole[2] - hole[0], hole[3] - hole[1]];
  const [shorter, longer, needed] = [Math.min(width, height), Math.max(width, height), Math.max(across, down)];
  const square = (side) => ({ box: boxAround(hole, side, side, size), rows: resolution / cell, columns: resolution / cell });
  if (longer <= 1.1 * shorter && 0.75 * resolution <= longer && longer <= 1.5 * resolution) {
    return needed > shorter ? { ...square(shorter), box: [0, 0, width, height] } : square(shorter);
  }
  if (needed <= shorter) return square(Math.min(shorter, Math.max(2 * needed, Math.min(Math.floor(resolution / 2), shorter))));
  const length = Math.min(longer, Math.max(needed, Math.min(2 * needed, 4 * shorter)));
  const long = onGrid(Math.min(resolution * Math.sqrt(length / shorter), 2 * resolution), resolution, cell);
  const short = onGrid(long / (length / shorter), resolution, cell);
  return width >= height
    ? { box: boxAround(hole, length, shorter, size), rows: short / cell, columns: long / cell }
    : { box: boxAround(hole, shorter, length, size), rows: long / cell, columns: short / cell };
}

function boxAround(hole, width, height, size) {
  const place = (from, to, length, whole) => Math.min(Math.max(0, Math.floor((from + to - length) / 2)), whole - length);
  return [place(hole[0], hole[2], width, size[0]), place(hole[1], hole[3], height, size[1]), width, height];
}

function onGrid(side, resolution, cell) {
  return Math.min(Math.max(rounded(side / cell) * cell, Math.min(4 * cell, resolution)), 2 * resolution);
}

// Halves to even, as Python has it.
function rounded(number) {
  return number % 1 === 0.5 ? 2 * Math.round(number / 2) : Math.round(number);
}

// The same in a picture with margins around ``inner`` [left, top, right, bottom]: margin_window in sundae/window.py.
function marginWindow(size, hole, inner, resolution, cell) {
  const plain = workingWindow(size, hole, resolution, cell);
  const [left, top, width, height] = plain.box;
  if (!inner || within(hole, inner)) return plain;
  if (within(inner, [left, top, left + width, top + height]) && plain.columns * cell >= 0.75 * width) return plain;
  const nearly = resolution / Math.min(inner[2] - inner[0], inner[3] - inner[1]);
  const scale = nearly >= 1 / 1.1 && nearly <= 1.1 ? 1 : nearly;
  const [[x0, x1, columns], [y0, y1, rows]] = [0, 1].map((i) => canvasSide(hole[i], hole[i + 2], size[i], resolution, cell, scale));
  if (columns * rows * cell ** 2 > 8 * resolution ** 2) return plain;
  return { box: [x0, y0, x1 - x0, y1 - y0], rows, columns };
}

function within([left, top, right, bottom], outer) {
  return outer[0] <= left && right <= outer[2] && outer[1] <= top && bottom <= outer[3];
}

// One side of a canvas around a hole from ``first`` to ``end``: start, stop, and its cells.
function canvasSide(first, end, whole, own, cell, scale) {
  const context = Math.ceil(own / scale);
  let [start, stop] = [Math.max(0, first - context), Math.min(whole, end + context)];
  const [spare, before, after] = [(stop - start) % cell, first - start, stop - end];
  if (scale === 1 && spare <= Math.max(before, after) && stop - start - spare >= own) {
    if (before > after) start += spare;
    else stop -= spare;
  }
  return [start, stop, Math.max(own / cell, rounded(((stop - start) * scale) / cell))];
}

class Cells {
  constructor(canvas, mask) {
    this.canvas = canvas;
    this.mask = mask;
    this.shown = false;
    this.size = [1, 1];
    this.inner = null;
    this.timer = 0;
    this.forget();
  }

  // A picture of ``size`` px, painted on a canvas of the mask's size; with margins around ``inner`` if there are any.
  setPicture(size, inner) {
    this.size = size;
    this.inner = inner;
    this.canvas.width = this.mask.canvas.width;
    this.canvas.height = this.mask.canvas.height;
    this.forget();
  }

  forget() {
    this.clear();
    this.draw();
  }

  clear() {
    this.window = null;
    this.lit = new Uint8Array(0);
  }

  show(on) {
    this.shown = on;
    this.measure();
  }

  // From the mask as it is: the window, and every cell that is redrawn.
  measure() {
    if (this.shown) this.light();
    this.draw();
  }

  light() {
    const { width, height } = this.mask.canvas;
    const bits = this.mask.bits();
    const hole = extent(bits, width, height);
    if (!hole) return this.clear();
    this.window = this.windowOf(hole, width, height);
    this.lit = this.hidden(bits, width, height);
    return undefined;
  }

  // A byte for each cell of the window: 1 where it is redrawn.
  hidden(bits, width, height, rule = cellRule()) {
    if (rule === 'any') return touched(bits, width, this.edges(width, height));
    const { box, rows, columns, cell } = this.window;
    return covered(bits, width, this.edges(width, height, { box, rows: rows * cell, columns: columns * cell }), cell);
  }

  windowOf(hole, width, height) {
    const onPicture = hole.map((edge, i) => Math.ceil((edge * this.size[i % 2]) / [width, height][i % 2])); // exact
    const { resolution, cell } = picker.grid ?? FALLBACK;
    return { ...marginWindow(this.size, onPicture, this.inner, resolution, cell), cell };
  }

  // Where the cells begin and end on the canvas, as far as they reach into the picture: pairs for columns and for rows.
  edges(width, height, { box, rows, columns } = this.window) {
    const spans = (count, start, length, whole, side) =>
      [...Array(count).keys()].map((i) => {
        const from = start + Math.floor((i * length) / count);
        const to = start + Math.ceil(((i + 1) * length) / count);
        return [Math.floor((from * side) / whole), Math.floor(((to - 1) * side) / whole) + 1];
      });
    return {
      columns: spans(columns, box[0], box[2], this.size[0], width),
      rows: spans(rows, box[1], box[3], this.size[1], height),
    };
  }

  // The cells under a new piece of a stroke light up at once; the whole mask is looked at when the stroke ends. Most
  // pieces light none: then the canvas stays as it is, because to put a changed one on the screen costs a copy of it.
  // With the first piece of all, and one that leaves the window, there is another window. Which cells are painted all
  // over only the whole mask tells.
  brushed(from, to, radius) {
    if (!this.shown) return undefined;
    if (!this.window) return this.measure();
    if (cellRule() === 'all') return this.soon();
    const before = this.lit.slice();
    const { width, height } = this.canvas;
    const { columns, rows } = this.edges(width, height);
    const leaves = (spans, a, b, whole) =>
      Math.max(0, Math.min(a, b) - radius + 1) < spans[0][0] || Math.min(whole, Math.max(a, b) + radius - 1) > spans.at(-1)[1];
    if (leaves(columns, from.x, to.x, width) || leaves(rows, from.y, to.y, height)) return this.measure();
    const near = (spans, a, b) =>
      spans.flatMap(([start, end], i) => (start < Math.max(a, b) + radius && end > Math.min(a, b) - radius ? [i] : []));
    for (const row of near(rows, from.y, to.y)) {
      for (const column of near(columns, from.x, to.x)) {
        const [x, y] = [middle(columns[column]), middle(rows[row])];
        const away = nearest(from, to, x, y);
        const half = [columns[column], rows[row]].map(([start, end]) => (end - start) / 2);
        const [dx, dy] = [Math.max(0, Math.abs(away.x) - half[0]), Math.max(0, Math.abs(away.y) - half[1])];
        if (Math.hypot(dx, dy) <= radius) this.lit[row * columns.length + column] = 1;
      }
    }
    if (this.lit.some((bit, i) => bit !== before[i])) this.draw();
    return undefined;
  }

  // Which cells go dark only the whole mask tells, too.
  erased() {
    if (this.shown) this.soon();
  }

  // The whole mask is looked at now and then while the pointer is down.
  soon() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.measure();
    }, PAUSE);
  }

  draw() {
    const pen = this.canvas.getContext('2d');
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.shown || !this.window) return;
    const { columns, rows } = this.edges(this.canvas.width, this.canvas.height);
    const path = new Path2D();
    rows.forEach(([top, bottom], row) => columns.forEach(([left, right], column) => {
      if (this.lit[row * columns.length + column]) path.rect(left, top, right - left, bottom - top);
    }));
    const line = Math.max(1, this.canvas.width / 700);
    pen.fillStyle = 'rgb(255 255 255 / 0.14)';
    pen.fill(path);
    for (const [colour, width] of [['rgb(0 0 0 / 0.45)', 2.4 * line], ['rgb(255 255 255 / 0.9)', line]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.stroke(path);
    }
  }

  // The bits with so many rings of cells more, or below zero less: whole cells either way. Where a ring does not fit
  // into the window the rest is done in the larger one that there is then.
  stepped(bits, width, height, count) {
    const more = count > 0;
    const inside = more ? bits : opposite(bits);
    const hole = extent(bits, width, height);
    if (!hole || !count) return bits;
    this.window = this.windowOf(hole, width, height);
    const edges = this.edges(width, height);
    const across = edges.columns.length;
    const first = touched(grown(inside, width, height, 1), width, edges);
    const rings = more ? Math.min(count, 1 + this.room(first, across)) : -count;
    const lit = spread(first, across, rings - 1);
    const out = inside.slice(); // what lies outside the window has no cells
    edges.rows.forEach(([top, bottom], row) => edges.columns.forEach(([left, right], column) => {
      if (!lit[row * across + column]) return;
      for (let y = top; y < bottom; y++) out.fill(1, y * width + left, y * width + right);
    }));
    return more ? this.stepped(out, width, height, count - rings) : opposite(out);
  }

  // How many rings fit into the window around the cells that are lit; where the picture ends they do so, too.
  room(lit, across) {
    const [left, top, right, bottom] = extent(lit, across, lit.length / across);
    const [x, y, width, height] = this.window.box;
    const sides = [
      [x, left], [y, top], [this.size[0] - x - width, across - right], [this.size[1] - y - height, lit.length / across - bottom],
    ];
    return Math.min(...sides.map(([beyond, free]) => (beyond ? free : Infinity)));
  }
}

// A grid of bytes with so many rings more: each reaches the cells to the left and right, above and below.
function spread(lit, across, rings) {
  let out = lit;
  for (let ring = 0; ring < rings; ring++) {
    out = out.map((bit, i, all) => {
      const beside = (i % across && all[i - 1]) || ((i + 1) % across && all[i + 1]);
      return bit || beside || all[i - across] || all[i + across] || 0;
    });
  }
  return out;
}

function middle([start, end]) {
  return (start + end) / 2;
}

// From a point to the nearest of a line.
function nearest(from, to, x, y) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const along = Math.min(1, Math.max(0, ((x - from.x) * dx + (y - from.y) * dy) / (dx * dx + dy * dy || 1)));
  return { x: from.x + along * dx - x, y: from.y + along * dy - y };
}

// A byte for each cell, row by row: 1 where any of its pixels is set.
function touched(bits, width, { columns, rows }) {
  const lit = new Uint8Array(rows.length * columns.length);
  rows.forEach(([top, bottom], row) => columns.forEach(([left, right], column) => {
    for (let y = top; y < bottom; y++) {
      if (bits.subarray(y * width + left, y * width + right).includes(1)) {
        lit[row * columns.length + column] = 1;
        return;
      }
    }
  }));
  return lit;
}

// The same where all of its pixels are, as the model sees them: of these the edges are. One that shows several of the
// canvas is painted if any of them is.
function covered(bits, width, { columns, rows }, cell) {
  const across = columns.length / cell;
  const lit = new Uint8Array(across * (rows.length / cell)).fill(1);
  const painted = ([top, bottom], [left, right]) => {
    for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) if (bits[y * width + x]) return true;
    return false;
  };
  rows.forEach((row, y) => columns.forEach((column, x) => {
    const at = Math.floor(y / cell) * across + Math.floor(x / cell);
    if (lit[at] && !painted(row, column)) lit[at] = 0;
  }));
  return lit;
}
