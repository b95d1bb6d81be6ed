// The mask: a list of operations drawn on one canvas. Undo replays the list, so history costs a few points
// per stroke and not a copy of the canvas; operations older than KEEP are baked into a second canvas.

const TINT = '#3f6bff';
const STRIPE = '#c9d6ff'; // so that the mask also shows on a picture of the tint's own colour
const KEEP = 120;

class Mask {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.baked = document.createElement('canvas');
    this.reset(1, 1);
  }

  reset(width, height) {
    for (const canvas of [this.canvas, this.baked]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.paint = stripes(this.context, Math.max(width, height) / 64);
    this.done = [];
    this.undone = [];
    this.stroke = null;
  }

  // What there is to undo and redo, for ``restore``. To be followed by ``reset``.
  take() {
    this.end();
    const { baked, done, undone } = this;
    Object.assign(this, { baked: document.createElement('canvas'), done: [], undone: [] });
    return { baked, done, undone };
  }

  restore(taken) {
    Object.assign(this, taken);
    this.replay();
  }

  // A point has x and y, and where a pen presses lightly a share of the size.
  begin(erase, size, point) {
    this.stroke = { kind: 'stroke', erase, size, points: [point, point] };
    this.segment(this.stroke, 1);
  }

  extend(point) {
    this.stroke.points.push(point);
    this.segment(this.stroke, this.stroke.points.length - 1);
  }

  end() {
    if (this.stroke) this.record(this.stroke);
    this.stroke = null;
  }

  abandon() {
    if (!this.stroke) return;
    this.stroke = null;
    this.replay();
  }

  apply(operation) {
    this.draw(operation);
    this.record(operation);
  }

  // Fill what a closed line of points surrounds, or take it away.
  fill(points, erase) {
    this.apply({ kind: 'shape', points, erase });
  }

  // Another mask in the place of this one, a byte for each pixel: made of this one, or with nothing of it (``anew``).
  set(bits, anew = false) {
    this.apply({ kind: 'bits', packed: pack(bits), anew });
  }

  // Whether all that was painted at that operation, if it is still known, has been cleared or replaced since.
  begunSince(operation) {
    const since = this.done.slice(this.done.lastIndexOf(operation) + 1);
    return this.done.includes(operation) && since.some(({ kind, anew }) => kind === 'clear' || anew);
  }

  // What is painted now: a byte for each pixel.
  bits() {
    return bitsOf(this.canvas);
  }

  record(operation) {
    this.done.push(operation);
    this.undone = [];
    if (this.done.length > KEEP) this.bake(this.done.splice(0, KEEP / 2));
  }

  undo() {
    if (!this.done.length) return;
    this.undone.push(this.done.pop());
    this.replay();
  }

  redo() {
    if (!this.undone.length) return;
    const operation = this.undone.pop();
    this.draw(operation);
    this.done.push(operation);
  }

  replay() {
    this.wipe();
    this.context.drawImage(this.baked, 0, 0);
    for (const operation of this.done) this.draw(operation);
  }

  bake(operations) {
    const live = this.context;
    this.context = this.baked.getContext('2d');
    for (const operation of operations) this.draw(operation);
    this.context = live;
  }

  draw(operation) {
    if (operation.kind === 'clear') this.wipe();
    else if (operation.kind === 'invert') this.invert();
    else if (operation.kind === 'shape') this.shape(operation);
    else if (operation.kind === 'bits') this.replace(operation);
    else for (let i = 1; i < operation.points.length; i++) this.segment(operation, i);
  }

  wipe() {
    this.context.globalCompositeOperation = 'source-over';
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  invert() {
    this.context.globalCompositeOperation = 'xor';
    this.context.fillStyle = this.paint;
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }

  // With hard edges: a pixel belongs to the shape if its middle does.
  shape({ points, erase }) {
    const { width, height } = this.canvas;
    const path = new Path2D();
    points.forEach(({ x, y }, i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
    path.closePath();
    const filled = newCanvas(width, height);
    filled.getContext('2d').fill(path);
    this.stamp(canvasOf(bitsOf(filled), width, height), erase);
  }

  replace({ packed }) {
    const { width, height } = this.canvas;
    this.wipe();
    this.stamp(canvasOf(unpack(packed, width * height), width, height), false);
  }

  // Paint, or rub out, where a canvas is opaque.
  stamp(hard, erase) {
    const { width, height } = this.canvas;
    const painted = newCanvas(width, height);
    const pen = painted.getContext('2d');
    pen.drawImage(hard, 0, 0);
    pen.globalCompositeOperation = 'source-in';
    pen.fillStyle = this.paint;
    pen.fillRect(0, 0, width, height);
    this.context.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
    this.context.drawImage(painted, 0, 0);
  }

  segment(stroke, index) {
    const [from, to] = [stroke.points[index - 1], stroke.points[index]];
    const pen = this.context;
    pen.globalCompositeOperation = stroke.erase ? 'destination-out' : 'source-over';
    pen.strokeStyle = this.paint;
    pen.lineWidth = stroke.size * (to.share ?? 1);
    pen.lineCap = pen.lineJoin = 'round';
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.001, to.y);
    pen.stroke();
  }

  // A canvas with hard edges: opaque white where the mask covers at least half a pixel. Null if nothing does.
  hard() {
    const bits = this.bits();
    return bits.includes(1) ? canvasOf(bits, this.canvas.width, this.canvas.height) : null;
  }
}

// Diagonal stripes, opaque everywhere, that repeat every ``period`` px.
function stripes(context, period) {
  const side = Math.max(8, Math.round(period));
  const tile = newCanvas(side, side);
  const pen = tile.getContext('2d');
  pen.fillStyle = TINT;
  pen.fillRect(0, 0, side, side);
  pen.strokeStyle = STRIPE;
  pen.lineWidth = side / 10;
  for (const shift of [-side, 0, side]) {
    pen.moveTo(shift - 1, side + 1);
    pen.lineTo(shift + side + 1, -1);
  }
  pen.stroke();
  return context.createPattern(tile, 'repeat');
}

function newCanvas(width, height) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

// White on black, as the server expects it: white is repainted.
function maskPng(hard) {
  const canvas = newCanvas(hard.width, hard.height);
  const pen = canvas.getContext('2d');
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(hard, 0, 0);
  return canvas.toDataURL('image/png');
}

// Draw a thin contour of a hard mask: the mask shifted every way, less the mask itself.
function drawOutline(canvas, hard, width) {
  const pen = canvas.getContext('2d');
  canvas.width = hard.width;
  canvas.height = hard.height;
  for (let i = 0; i < 12; i++) {
    const angle = (i * Math.PI) / 6;
    pen.drawImage(hard, width * Math.cos(angle), width * Math.sin(angle));
  }
  pen.globalCompositeOperation = 'destination-out';
  pen.drawImage(hard, 0, 0);
}
