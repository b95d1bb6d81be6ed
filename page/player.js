// The player: the original below, the hole's frames above, drawn in the order they were sent, every one; over both a
// chequered veil where the picture is transparent.

const THUMB = 132; // px of a candidate's thumbnail, before the screen's own scale
const SQUARES = 64; // of the veil's, along the longer side of a picture
const HIDDEN_PAUSE = 30; // ms between frames in a hidden tab, where animation frames do not come

class Player {
  constructor(base, result, veil, changed) {
    this.base = base;
    this.result = result;
    this.veil = veil;
    this.changed = changed; // called after anything visible changed
    this.run = null;
    this.finished = null;
    this.queue = Promise.resolve();
  }

  async setPicture(url, veil, width, height) {
    const [picture, transparent] = await Promise.all([loadImage(url), veil && loadImage(veil)]);
    for (const canvas of [this.base, this.result]) {
      canvas.width = width;
      canvas.height = height;
    }
    this.base.getContext('2d').drawImage(picture, 0, 0, width, height);
    this.setVeil(transparent, width, height);
    this.run = this.finished = null;
  }

  // ``transparent``: an image that is opaque where the picture is not, if it is transparent anywhere.
  setVeil(transparent, width, height) {
    this.veil.hidden = !transparent;
    Object.assign(this.veil, transparent ? { width, height } : { width: 1, height: 1 });
    if (!transparent) return;
    const pen = this.veil.getContext('2d');
    pen.fillStyle = pen.createPattern(chequers(Math.max(4, Math.round(Math.max(width, height) / SQUARES))), 'repeat');
    pen.fillRect(0, 0, width, height);
    pen.globalCompositeOperation = 'destination-in';
    pen.drawImage(transparent, 0, 0, width, height);
  }

  // ``asked``: the mask, the model and the settings.
  start(asked, job, candidates, total) {
    this.run = { ...asked, job, candidates, total, frames: [], choice: 0, step: 0 };
  }

  // Frames wait for each other, not only for their own decoding: none is skipped and none overtakes.
  // Returns a promise that settles once this frame has been on the screen.
  add(frame) {
    const run = this.run;
    this.queue = this.queue.then(() => this.show(run, frame)).catch((error) => console.error(error));
    return this.queue;
  }

  async show(run, frame) {
    if (run !== this.run || !run) return;
    const crops = await Promise.all(frame.crops.map(loadImage));
    if (run !== this.run) return;
    run.frames.push({ box: frame.box, crops, index: frame.index, total: frame.total, heat: frame.heat });
    run.step = run.frames.length;
    this.draw(run);
    this.changed('frame', run);
    await nextFrame();
  }

  // Back to what was on the canvas before the job that has just stopped.
  stop() {
    this.restore(this.finished);
    this.changed('stopped', this.run);
  }

  // Show the result of a finished run.
  restore(run) {
    this.run = this.finished = run;
    if (run) run.step = run.frames.length;
    this.draw(run);
  }

  finish() {
    this.finished = this.run;
  }

  // The last frame of a candidate, whatever step was looked back at: that is what is chosen.
  choose(index) {
    if (!this.run) return;
    this.run.choice = index;
    this.run.step = this.run.frames.length;
    this.draw(this.run);
    this.changed('choice', this.run);
  }

  look(step) {
    if (!this.run) return;
    this.run.step = step;
    this.draw(this.run);
    this.changed('look', this.run);
  }

  draw(run) {
    const pen = this.result.getContext('2d');
    pen.clearRect(0, 0, this.result.width, this.result.height);
    if (!run || !run.step) return;
    const frame = run.frames[run.step - 1];
    pen.drawImage(clipped(frame.crops[run.choice], frame.box, run.hard), frame.box[0], frame.box[1]);
  }

  // The picture with a candidate in it, at the step that is looked at; before the first there is only the picture.
  drawWhole(canvas, index) {
    const frame = this.run.frames[this.run.step - 1];
    canvas.width = this.base.width;
    canvas.height = this.base.height;
    const pen = canvas.getContext('2d');
    pen.drawImage(this.base, 0, 0);
    if (frame) pen.drawImage(clipped(frame.crops[index], frame.box, this.run.hard), frame.box[0], frame.box[1]);
    if (!this.veil.hidden) pen.drawImage(this.veil, 0, 0);
  }

  drawThumb(canvas, index, size = THUMB, step = this.run?.frames.length) {
    const frame = this.run && this.run.frames[step - 1];
    if (!frame || !frame.crops[index]) return;
    const area = around(frame.box, this.base.width, this.base.height);
    const side = Math.round(size * (window.devicePixelRatio || 1));
    const scale = side / area[2];
    canvas.width = canvas.height = side;
    const pen = canvas.getContext('2d');
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(this.base, ...area, 0, 0, side, side);
    const [x, y, width, height] = frame.box;
    const patch = clipped(frame.crops[index], frame.box, this.run.hard);
    pen.drawImage(patch, (x - area[0]) * scale, (y - area[1]) * scale, width * scale, height * scale);
    if (!this.veil.hidden) pen.drawImage(this.veil, ...area, 0, 0, side, side);
  }
}

// Two by two squares, as programs that show pictures put behind what is transparent.
function chequers(side) {
  const canvas = newCanvas(2 * side, 2 * side);
  const pen = canvas.getContext('2d');
  for (const [colour, x] of [['#fff', 0], ['#dedbd8', 1]]) {
    pen.fillStyle = colour;
    for (const y of [0, 1]) pen.fillRect(((x + y) % 2) * side, y * side, side, side);
  }
  return canvas;
}

function loadImage(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error('a picture from the server could not be read'));
    image.src = url;
  });
}

function nextFrame() {
  if (document.hidden) return new Promise((resolve) => setTimeout(resolve, HIDDEN_PAUSE));
  return new Promise((resolve) => {
    requestAnimationFrame(resolve);
    setTimeout(resolve, 250); // the tab may be hidden while we wait
  });
}

// The crop, kept only where the mask is: JPEG noise must not touch what was not painted.
function clipped(crop, box, hard) {
  const [x, y, width, height] = box;
  const canvas = newCanvas(Math.ceil(width), Math.ceil(height));
  const pen = canvas.getContext('2d');
  pen.drawImage(crop, 0, 0, width, height);
  pen.globalCompositeOperation = 'destination-in';
  pen.drawImage(hard, -x, -y);
  return canvas;
}

// A square around the box with some surroundings, inside the picture where it fits.
function around(box, width, height) {
  const side = Math.min(Math.max(box[2], box[3]) * 1.5, Math.min(width, height));
  const left = Math.min(Math.max(0, box[0] + box[2] / 2 - side / 2), width - side);
  const top = Math.min(Math.max(0, box[1] + box[3] / 2 - side / 2), height - side);
  return [left, top, side, side];
}
