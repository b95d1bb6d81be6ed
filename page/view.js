// Zoom and pan: one CSS transform moves the sheet of stacked canvases inside the stage.

const MAX_ZOOM = 16;

class View {
  constructor(stage, sheet) {
    this.stage = stage;
    this.sheet = sheet;
    this.width = this.height = 1;
    this.fit();
    new ResizeObserver(() => this.resized()).observe(stage);
  }

  setPicture(width, height) {
    this.width = width;
    this.height = height;
    this.sheet.style.width = width + 'px';
    this.sheet.style.height = height + 'px';
    document.documentElement.style.setProperty('--s-ratio', width / height);
    this.fit();
  }

  fitScale() {
    const { clientWidth, clientHeight } = this.stage;
    return Math.min(clientWidth / this.width, clientHeight / this.height) || 1;
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
    const spareX = Math.max(0, (this.width * this.scale - this.stage.clientWidth) / 2);
    const spareY = Math.max(0, (this.height * this.scale - this.stage.clientHeight) / 2);
    this.x = Math.min(spareX, Math.max(-spareX, this.x));
    this.y = Math.min(spareY, Math.max(-spareY, this.y));
  }

  apply() {
    this.clamp();
    const left = (this.stage.clientWidth - this.width * this.scale) / 2 + this.x;
    const top = (this.stage.clientHeight - this.height * this.scale) / 2 + this.y;
    this.sheet.style.transform = `translate(${left}px, ${top}px) scale(${this.scale})`;
    this.sheet.classList.toggle('close', this.scale > 3);
  }

  toPicture(clientX, clientY) {
    const box = this.sheet.getBoundingClientRect();
    return { x: (clientX - box.x) / this.scale, y: (clientY - box.y) / this.scale };
  }
}
