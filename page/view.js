// Zoom and pan: one CSS transform moves the sheet of stacked canvases inside the stage.

const MAX_ZOOM = 16;
const NO_MARGINS = { left: 0, right: 0, top: 0, bottom: 0 };

class View {
  moved = () => {}; // called when the picture lies elsewhere on the stage

  constructor(stage, sheet) {
    this.stage = stage;
    this.sheet = sheet;
    this.width = this.height = 1;
    this.margins = NO_MARGINS; // px of the picture's canvas that are shown around it, too
    this.room = 1; // how much further away all of it is seen
    this.fit();
    new ResizeObserver(() => this.resized()).observe(stage);
  }

  setPicture(width, height) {
    this.width = width;
    this.height = height;
    this.margins = NO_MARGINS;
    this.sheet.style.width = width + 'px';
    this.sheet.style.height = height + 'px';
    document.documentElement.style.setProperty('--s-ratio', width / height);
    this.fit();
  }

  setMargins(margins, room) {
    this.margins = margins;
    this.room = room;
    this.apply();
  }

  // Of the picture with its margins, px of its canvas
  get whole() {
    const { left, right, top, bottom } = this.margins;
    return { width: left + this.width + right, height: top + this.height + bottom };
  }

  fitScale() {
    const { clientWidth, clientHeight } = this.stage;
    return Math.min(clientWidth / this.whole.width, clientHeight / this.whole.height) / this.room || 1;
  }

  fit() {
    this.zoom = 1; // relative to the whole picture being visible
    this.x = this.y = 0; // offset of the picture's centre from the stage's, in CSS px
    this.apply();
  }

  resized() {
    this.apply();
  }

  get scale() {
    return this.fitScale() * this.zoom;
  }

  zoomAt(factor, clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const x = (clientX ?? box.x + box.width / 2) - box.x - box.width / 2;
    const y = (clientY ?? box.y + box.height / 2) - box.y - box.height / 2;
    const zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    const ratio = zoom / this.zoom;
    this.zoom = zoom;
    this.x = x - (x - this.x) * ratio;
    this.y = y - (y - this.y) * ratio;
    this.apply();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.apply();
  }

  // The picture never leaves the stage: no gap opens on one side while it overflows on the other.
  clamp() {
    const spareX = Math.max(0, (this.whole.width * this.scale - this.stage.clientWidth) / 2);
    const spareY = Math.max(0, (this.whole.height * this.scale - this.stage.clientHeight) / 2);
    this.x = Math.min(spareX, Math.max(-spareX, this.x));
    this.y = Math.min(spareY, Math.max(-spareY, this.y));
  }

  apply() {
    this.clamp();
    const { left, top } = this.corner;
    this.sheet.style.transform = `translate(${left}px, ${top}px) scale(${this.scale})`;
    this.sheet.classList.toggle('close', this.scale > 3);
    this.moved();
  }

  // Where on the stage the picture begins, in CSS px.
  get corner() {
    const { width, height } = this.whole;
    const left = (this.stage.clientWidth - width * this.scale) / 2 + this.x + this.margins.left * this.scale;
    const top = (this.stage.clientHeight - height * this.scale) / 2 + this.y + this.margins.top * this.scale;
    return { left, top };
  }

  // Where on the stage, in CSS px from its left edge, a column of the picture begins.
  toStage(x) {
    return this.corner.left + x * this.scale;
  }

  toPicture(clientX, clientY) {
    const box = this.sheet.getBoundingClientRect();
    return { x: (clientX - box.x) / this.scale, y: (clientY - box.y) / this.scale };
  }
}
